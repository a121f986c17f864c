"""``mil train`` keeps the best, shows how it goes, and loses nothing when it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.data.dataset import DatasetInfo, load_info, save_info, save_task
from mil_ros.learning.checkpoint import load_checkpoint
from mil_ros.tools import train
from mil_ros.tools.cli import main
from mil_ros.tools.validation import Validation

PATIENCE_S = 300.0
OPTIONS = {
    'filters': [3, 4],
    'strides': [2, 1],
    'kernels': [3, 3],
    'hidden': [8],
    'context': 3,
    'frames': 3,
    'meta_batch': 2,
    'demo_frames': 4,
}


@pytest.fixture(scope='module')
def data(
    tiny_robot: RobotDescription, tiny_robot_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Demonstrations of the tiny arm, in which there is nothing to see."""
    directory, rng = tmp_path_factory.mktemp('train') / 'data', np.random.default_rng(3)
    info = DatasetInfo(
        task='reach',
        split='train',
        seed=0,
        tasks=3,
        demos=3,
        robot=str(tiny_robot_file),
        robot_sha256=tiny_robot.sha256,
        joint_names=tiny_robot.joint_names,
        rate_hz=10.0,
        image_height=12,
        image_width=16,
    )
    save_info(directory, info)
    for index in range(info.tasks):
        save_task(directory, index, [make_demo(rng) for _ in range(info.demos)])
    return directory


def to_words(data: Path, out: Path, steps: int, *words: str, **changes: Any) -> list[str]:
    command = ['train', '--data', str(data), '--out', str(out), '--steps', str(steps)]
    for name, value in {**OPTIONS, **changes}.items():
        command += ['--option', f'{name}={json.dumps(value)}']
    return [*command, *words]


def read_steps(out: Path) -> list[int]:
    return [int(row.partition(',')[0]) for row in (out / 'losses.csv').read_text().splitlines()]


def assert_on_record(out: Path, step: int) -> None:
    """All steps are on record, but perhaps the one that Ctrl-C ended."""
    assert read_steps(out)[: step - 1] == list(range(1, step))
    assert len(read_steps(out)) <= step


# --- What is shown ---------------------------------------------------------------------------


def test_progress_tells_losses_speed_and_the_time_left(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(to_words(data, tmp_path, 4)) == 0
    shown = capsys.readouterr()
    assert 'training' in shown.err
    assert '4/4 0:00:00 loss 0.' in shown.err  # no time is left at the end
    assert 'tasks/s' in shown.err
    summary = json.loads(shown.out)
    assert (summary['steps'], summary['best_success']) == (4, None)
    assert summary['checkpoint'] == str(tmp_path / 'last.safetensors')
    assert read_steps(tmp_path) == [1, 2, 3, 4]


def test_scalars_are_written_for_tensorboard(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    monkeypatch.setattr(train, '_FLUSH_EVERY', 2)
    monkeypatch.setattr(Validation, 'run', lambda _: 0.5)
    assert main(to_words(data, tmp_path, 6, '--validate-every', '3')) == 0
    events = reader.EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    assert set(events.Tags()['scalars']) == {'action', 'pre', 'tasks_per_s', 'success'}
    assert [event.step for event in events.Scalars('action')] == [2, 4, 6]
    assert all(event.value > 0.0 for event in events.Scalars('tasks_per_s'))
    assert [(event.step, event.value) for event in events.Scalars('success')] == [
        (3, 0.5),
        (6, 0.5),
    ]


# --- Success while training ------------------------------------------------------------------


@pytest.fixture
def successes(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the next validations shall give, from the first to the last."""
    found: list[float] = []
    monkeypatch.setattr(Validation, 'run', lambda _: found.pop(0))
    return found


def test_best_checkpoint_is_kept(
    data: Path, tmp_path: Path, successes: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    successes += [0.25, 0.75, 0.5]
    assert main(to_words(data, tmp_path, 6, '--validate-every', '2')) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)['best_success'] == 0.75
    assert 'step 4: success 75% on tasks not trained on, the best so far' in shown.err
    assert 'step 6: success 50% on tasks not trained on, no better' in shown.err
    best, last = (load_checkpoint(tmp_path / f'{n}.safetensors') for n in ('best', 'last'))
    assert (best.step, last.step) == (4, 6)
    assert json.loads((tmp_path / 'best.json').read_text()) == {'step': 4, 'success': 0.75}


def test_best_checkpoint_outlives_a_resumed_training(
    data: Path, tmp_path: Path, successes: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regressions pinned: the first validation after resuming replaced whatever was best."""
    words = to_words(data, tmp_path, 6, '--validate-every', '2')
    successes += [0.75]
    report = train._Monitor.report

    def interrupt(self: Any, measured: Any) -> None:
        report(self, measured)
        if measured.step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train._Monitor, 'report', interrupt)
        assert main(words) == 130
    assert load_checkpoint(tmp_path / 'last.safetensors').step == 3
    successes += [0.5, 0.5]
    assert main(words) == 0
    assert successes == []
    assert load_checkpoint(tmp_path / 'best.safetensors').step == 2
    assert read_steps(tmp_path) == [1, 2, 3, 4, 5, 6]


def test_damaged_note_of_the_best_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'best.json').write_text('{"step": 4}')
    assert main(to_words(data, tmp_path, 2)) == 2
    assert "best.json is damaged (KeyError: 'success'); expected" in capsys.readouterr().err


def test_validation_runs_trials_and_is_the_same_for_the_same_policy(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ('--validate-every', '2', '--validate-trials', '2')
    successes = []
    for name in ('one', 'other'):
        assert main(to_words(data, tmp_path / name, 2, *words)) == 0
        successes.append(json.loads(capsys.readouterr().out)['best_success'])
    assert successes[0] in (0.0, 0.5, 1.0)
    assert successes[0] == successes[1]


def test_validation_counts_what_succeeds(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int]] = []

    class Follower:
        """Knows where the target is; fails on the first task."""

        def adapt(self, *_: object) -> Follower:
            return self

        def act(self, _: object) -> Any:
            return (len(asked) > 1) * simulation.family.expert(simulation)

    dataset = train.open_datasets([data])
    trainer: Any = type('', (), {'dataset': dataset, 'config': None, 'state': lambda _: None})()
    trainer.config = type('', (), {'modality': 'full', 'shots': 1})
    validation = Validation(trainer, 4)
    simulation = validation._simulation
    sample = type(simulation.family).sample_task

    def note(self: Any, split: str, seed: int, index: int) -> Any:
        asked.append((split, seed))
        return sample(self, split, seed, index)

    monkeypatch.setattr(type(simulation.family), 'sample_task', note)
    monkeypatch.setattr('mil_ros.learning.torch_policy.TorchPolicy', lambda _: Follower())
    try:
        assert validation.run() == 0.75
    finally:
        validation.close()
    assert asked == [('train', 1)] * 4, 'neither the tasks of the dataset nor held-out colours'


@pytest.mark.parametrize(
    ('words', 'task', 'message'),
    [
        (['--validate-trials', '0'], 'reach', 'Got --validate-trials 0; expected at least 1.'),
        (
            [],
            'lab',
            "Got --validate-every for data of 'lab', which is not simulated; expected one of "
            'reach, push, place. Train without it.',
        ),
    ],
)
def test_validation_that_is_not_possible_is_refused_before_the_first_step(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    task: str,
    message: str,
) -> None:
    copy = tmp_path / 'data'
    save_info(copy, replace(load_info(data), task=task))
    for file in (data / 'tasks').iterdir():
        (copy / 'tasks' / file.name).symlink_to(file)
    assert main(to_words(copy, tmp_path / 'run', 2, '--validate-every', '1', *words)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'run' / 'last.safetensors').exists()


# --- Stopping and going on -------------------------------------------------------------------


def wait_for_steps(process: subprocess.Popen[str], out: Path) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not (out / 'losses.csv').is_file() or not (out / 'losses.csv').stat().st_size:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end_s, 'it has not begun to train'
        time.sleep(0.05)


def test_ctrl_c_saves_the_state_and_ends_in_one_line(data: Path, tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'mil_ros.tools.cli', *to_words(data, tmp_path, 10**6)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    wait_for_steps(process, tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert errors.endswith('mil train: stopped by Ctrl-C.\n')
    assert 'Traceback' not in errors
    step = load_checkpoint(tmp_path / 'last.safetensors').step
    assert step >= 50
    assert_on_record(tmp_path, step)


@pytest.mark.slow
def test_ctrl_c_of_a_shared_training_saves_the_state(data: Path, tmp_path: Path) -> None:
    launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node']
    command = [*launch, '2', '-m', 'mil_ros.tools.cli', *to_words(data, tmp_path, 10**6)]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for_steps(process, tmp_path)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    step = load_checkpoint(tmp_path / 'last.safetensors').step
    assert step >= 50
    assert_on_record(tmp_path, step)


def test_log_of_a_killed_training_is_cut_back_to_its_checkpoint(
    data: Path, tmp_path: Path
) -> None:
    words = to_words(data, tmp_path, 4)
    assert main(words) == 0
    whole = (tmp_path / 'losses.csv').read_bytes()
    with (tmp_path / 'losses.csv').open('ab') as file:
        file.write(b'5,0.25,0.25,0.25\r\n6,0.2')  # killed while writing
    assert main(words) == 0
    assert (tmp_path / 'losses.csv').read_bytes() == whole


def test_resuming_with_other_data_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(to_words(data, tmp_path / 'run', 2)) == 0
    before = (tmp_path / 'run' / 'last.safetensors').read_bytes()
    copy = tmp_path / 'data'
    save_info(copy, replace(load_info(data), seed=9, rate_hz=5.0))
    for file in (data / 'tasks').iterdir():
        (copy / 'tasks' / file.name).symlink_to(file)
    assert main(to_words(copy, tmp_path / 'run', 2)) == 2
    message = 'last.safetensors was trained on other data (seed 0 -> 9, rate_hz 10.0 -> 5.0); use'
    assert message in capsys.readouterr().err
    assert (tmp_path / 'run' / 'last.safetensors').read_bytes() == before


def test_starting_from_a_network_that_has_nothing_in_common_is_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(to_words(data, tmp_path / 'first', 2)) == 0
    path = tmp_path / 'first' / 'last.safetensors'
    other = {'filters': [5], 'strides': [2], 'kernels': [5], 'hidden': [7, 7], 'context': 2}
    words = ['--start-from', str(path)]
    # Biases of the heads are as long as there are joints, whatever the network.
    checkpoint = load_checkpoint(path)
    shared = {
        n: p for n, p in checkpoint.params.items() if not n.endswith(('head.bias', 'final.bias'))
    }
    from mil_ros.learning.checkpoint import save_checkpoint

    save_checkpoint(path, replace(checkpoint, params=shared, step_sizes={}))
    assert main(to_words(data, tmp_path / 'second', 2, *words, **other)) == 2
    message = 'has no tensor of a name and shape that this network has too; expected a checkpoint'
    assert message in capsys.readouterr().err


# --- Devices ---------------------------------------------------------------------------------


def test_gpu_that_is_not_there_is_a_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert main(to_words(data, tmp_path / 'run', 2, '--device', 'cuda')) == 2
    assert 'finds no GPU; expected cpu or auto, or a torch that was' in capsys.readouterr().err


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Two GPUs; returns which of them were chosen."""
    chosen: list[int] = []
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)
    monkeypatch.setattr('torch.cuda.device_count', lambda: 2)
    monkeypatch.setattr('torch.cuda.set_device', chosen.append)
    return chosen


@pytest.mark.parametrize(
    ('wish', 'local_rank', 'device'),
    [('cpu', '0', 'cpu'), ('auto', '0', 'cuda:0'), ('cuda', '1', 'cuda:1')],
)
def test_each_process_has_a_gpu_of_its_own(
    monkeypatch: pytest.MonkeyPatch, gpus: list[int], wish: str, local_rank: str, device: str
) -> None:
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '2')
    monkeypatch.setenv('LOCAL_RANK', local_rank)
    assert train._choose_device(wish) == device
    assert gpus == ([] if device == 'cpu' else [int(device[-1])])


@pytest.mark.usefixtures('gpus')
def test_more_processes_than_gpus_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '3')
    assert main(to_words(data, tmp_path / 'run', 2)) == 2
    message = 'Got 3 processes for 2 GPUs; expected one for each at most, start fewer (--nproc-per'
    assert message in capsys.readouterr().err


# --- Bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'got'),
    [({'image_height': 10}, '16x10 and 7'), ({'joints': 6}, '16x12 and 6')],
)
def test_network_of_another_size_than_the_data_is_refused(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, int],
    got: str,
) -> None:
    assert main(to_words(data, tmp_path / 'run', 2, **changes)) == 2
    message = f'has images of 16x12 and 7 joints, the configuration expects {got}; leave image_wid'
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'run').exists()


def test_data_that_do_not_go_together_are_refused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = asdict(load_info(data))
    other = DatasetInfo(**{**info, 'joint_names': tuple('abcdefg'), 'tasks': 1})
    save_info(tmp_path / 'other', other)
    rng = np.random.default_rng(0)
    save_task(tmp_path / 'other', 0, [make_demo(rng) for _ in range(3)])
    words = to_words(data, tmp_path / 'run', 2, '--data', str(tmp_path / 'other'))
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert f'{tmp_path}/other does not go with {data}: it has joint_names (' in shown
    assert shown.endswith('train on them apart or collect one anew.\n')


def test_folder_that_cannot_be_made_is_a_sentence(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert main(to_words(data, tmp_path / 'file' / 'run', 2)) == 2
    message = f'Cannot write to {tmp_path}/file/run (Not a directory), expected a writable folder'
    assert message in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of some kB, where one may be mounted."""
    place = tmp_path / 'disk'
    place.mkdir()

    def mount(kilobytes: int) -> Path:
        command = ['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs', str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip('only root may mount a small file system')
        return place

    yield mount
    if place.is_mount():
        subprocess.run(['umount', '-l', str(place)], check=True)


@pytest.mark.parametrize(
    ('free_kb', 'flush_every', 'message'),
    [
        (8, 1, 'mil train: Cannot write to DISK/run (No space left on device), expected a writ'),
        (
            24,
            99,
            'mil train: Cannot write DISK/run/last.safetensors (No space left on device); th',
        ),
    ],
    ids=['for the log', 'for the checkpoint'],
)
def test_full_disk_is_one_line_and_the_checkpoint_is_kept(
    data: Path,
    tmp_path: Path,
    small_disk: Callable[[int], Path],
    free_kb: int,
    flush_every: int,
    message: str,
) -> None:
    """Regressions pinned: a log that could not be closed ended in a traceback."""
    first = tmp_path / 'first'
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 2)
        assert main(to_words(data, first, 60)) == 130
    before = (first / 'last.safetensors').read_bytes()
    disk = small_disk(free_kb + 4 + len(before) // 1024)
    (disk / 'run').mkdir()
    (disk / 'run' / 'last.safetensors').write_bytes(before)
    code = (
        'import sys; from mil_ros.tools import cli, train; '
        f'train._FLUSH_EVERY = {flush_every}; sys.exit(cli.main(sys.argv[1:]))'
    )
    command = [sys.executable, '-c', code, *to_words(data, disk / 'run', 60)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(message.replace('DISK', str(disk)))
    assert 'Traceback' not in done.stderr
    assert (disk / 'run' / 'last.safetensors').read_bytes() == before


def stop_after(patch: pytest.MonkeyPatch, steps: int) -> None:
    """Let Ctrl-C come after a step."""
    report = train._Monitor.report

    def interrupt(self: Any, measured: Any) -> None:
        report(self, measured)
        if measured.step == steps:
            raise KeyboardInterrupt

    patch.setattr(train._Monitor, 'report', interrupt)
