"""Trials are counted as they went, and as their seed says, whoever runs them."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil
from typing import Any

import cv2
from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Observation
from mil_ros.inference.bundle import Bundle, load_bundle
from mil_ros.learning.checkpoint import Checkpoint, save_checkpoint
from mil_ros.tools import evaluate
from mil_ros.tools.cli import build_parser, main
from mil_ros.tools.contenders import describe
from mil_ros.tools.evaluate import TrialReport
from mil_ros.tools.statistics import wilson_interval

KEYS = {
    *('bundle', 'task', 'method', 'modality', 'shots', 'split', 'seed', 'options'),
    *('trials', 'successes', 'success', 'interval', 'wrong_object', 'chose_nothing'),
    *('seconds_per_trial', 'by_task'),
}


def run(policy: str, robot: Path, out: Path, *words: str) -> dict[str, Any]:
    """Return the result document of ``mil evaluate``."""
    command = ['evaluate', policy, '--robot', str(robot), '--json', str(out), *words]
    assert main(command) == 0
    document: dict[str, Any] = json.loads(out.read_text())
    return document


@pytest.fixture(scope='module')
def replayed(tiny_robot_file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Ten trials of one kind of policy, by one worker."""
    out = tmp_path_factory.mktemp('evaluate') / 'result.json'
    words = ['--task', 'reach', '--trials', '10', '--tasks', '4', '--seed', '5', '--workers', '1']
    return run('replay', tiny_robot_file, out, *words)


def test_document_says_who_did_what_and_how_it_went(replayed: dict[str, Any]) -> None:
    assert set(replayed) == KEYS
    assert (replayed['bundle'], replayed['method']) == ('replay', 'replay')
    assert (replayed['task'], replayed['modality'], replayed['shots']) == ('reach', 'full', 1)
    assert (replayed['split'], replayed['seed'], replayed['trials']) == ('test', 5, 10)
    assert replayed['options'] == {}
    assert replayed['success'] == replayed['successes'] / 10
    interval = wilson_interval(replayed['successes'], 10)
    assert replayed['interval'] == pytest.approx(interval, abs=1e-4)
    assert replayed['seconds_per_trial'] > 0.0


def test_tasks_take_turns_and_add_up(replayed: dict[str, Any]) -> None:
    shares = {task: share.split('/') for task, share in replayed['by_task'].items()}
    assert {task: int(total) for task, (_, total) in shares.items()} == {
        '0': 3,
        '1': 3,
        '2': 2,
        '3': 2,
    }
    assert sum(int(won) for won, _ in shares.values()) == replayed['successes']
    ended = (replayed['successes'], replayed['wrong_object'], replayed['chose_nothing'])
    assert sum(ended) == 10
    assert max(ended) < 10  # or nothing is compared below


def test_seed_decides_whatever_the_number_of_workers(
    replayed: dict[str, Any], tiny_robot_file: Path, tmp_path: Path
) -> None:
    words = ['--task', 'reach', '--trials', '10', '--tasks', '4', '--seed', '5', '--workers', '2']
    again = run('replay', tiny_robot_file, tmp_path / 'again.json', *words)
    del again['seconds_per_trial']
    assert again == {k: v for k, v in replayed.items() if k != 'seconds_per_trial'}


def test_document_of_a_checkpoint_says_how_it_was_trained(
    tiny_checkpoint: Checkpoint, tiny_robot_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'tiny.safetensors'
    save_checkpoint(path, replace(tiny_checkpoint, data={'task': 'reach', 'tasks': 321}))
    words = ['--trials', '1', '--workers', '1']
    result = run(str(path), tiny_robot_file, tmp_path / 'result.json', *words)
    assert set(result) == KEYS | {'training_tasks', 'training_steps', 'ablation'}
    assert result['training_tasks'] == 321
    assert result['training_steps'] == tiny_checkpoint.step
    assert result['ablation'] == tiny_checkpoint.config.describe_changes()
    assert 'context=3' in result['ablation']


def test_failures_are_filmed(tiny_robot_file: Path, tmp_path: Path) -> None:
    videos = tmp_path / 'videos'
    words = f'--task push --trials 2 --workers 1 --videos {videos}'.split()
    result = run('random', tiny_robot_file, tmp_path / 'result.json', *words)
    assert result['successes'] == 0  # it would take a wonder
    assert sorted(path.name for path in videos.iterdir()) == ['trial_000.mp4', 'trial_001.mp4']
    for path in videos.iterdir():
        clip = cv2.VideoCapture(str(path))
        frames = 0
        while clip.read()[0]:
            frames += 1
        assert frames == 60  # six seconds, longer than the demonstration beside them


# --- Learned policies ------------------------------------------------------------------------

FEW = ('--trials', '3', '--tasks', '2', '--workers', '1', '--seed', '2')


@pytest.fixture
def checkpoint_file(tiny_checkpoint: Checkpoint, tmp_path: Path) -> Path:
    path = tmp_path / 'last.safetensors'
    save_checkpoint(path, replace(tiny_checkpoint, data={**tiny_checkpoint.data, 'tasks': 5}))
    return path


def test_bundle_ends_every_trial_as_the_checkpoint_that_it_was_made_of(
    tiny_bundle: Bundle, checkpoint_file: Path, tiny_robot_file: Path, tmp_path: Path
) -> None:
    """The paper's evaluation of reaching ends in a NameError as it was released."""
    results = [
        run(str(path), tiny_robot_file, tmp_path / 'result.json', *FEW)
        for path in (tiny_bundle.path, checkpoint_file)
    ]
    for result in results:
        assert (result['task'], result['method'], result['modality']) == ('reach', 'mil', 'full')
        assert result['trials'] == 3
    for key in KEYS - {'bundle', 'seconds_per_trial'}:
        assert results[0][key] == results[1][key], key


@pytest.mark.parametrize(
    ('words', 'options'),
    [
        (['--step-scale', '0'], {'step_scale': 0.0}),
        (['--inner-steps', '3'], {'inner_steps': 3}),
    ],
)
def test_options_of_the_inner_step_reach_the_policy_and_are_on_record(
    checkpoint_file: Path,
    tiny_robot: RobotDescription,
    tiny_robot_file: Path,
    rng: np.random.Generator,
    words: list[str],
    options: dict[str, float],
) -> None:
    arguments = build_parser('evaluate').parse_args(['evaluate', str(checkpoint_file), *words])
    contender = describe(arguments, tiny_robot)
    assert contender.options() == options
    no_scene: Any = None
    policy: Any = contender.make(no_scene)
    plain: Any = replace(contender, step_scale=1.0, inner_steps=None).make(no_scene)
    demo = make_demo(rng)
    seen = Observation(demo.images[0], demo.joint_positions[0].astype(np.float64))
    adapted = policy.adapt(demo).act(seen)
    assert np.abs(adapted - plain.adapt(demo).act(seen)).max() > 1e-4
    assert np.allclose(adapted, policy.act(seen)) == (options == {'step_scale': 0.0})


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (
            ['--inner-steps', '2'],
            'Got --inner-steps or --finetune for the bundle BUNDLE, whose graph is fixed; exp',
        ),
        (['--robot', 'panda'], "Bundle 'tiny' was made for robot 'tiny' and does not fit 'panda'"),
    ],
)
def test_bundle_that_cannot_be_run_so_is_refused(
    tiny_bundle: Bundle,
    tiny_robot_file: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    command = ['evaluate', str(tiny_bundle.path), '--robot', str(tiny_robot_file), *FEW, *words]
    assert main(command) == 2
    assert message.replace('BUNDLE', str(tiny_bundle.path)) in capsys.readouterr().err


def test_recorded_figures_are_in_the_manifest_beside_those_without_the_step(
    tiny_bundle: Bundle, tiny_robot_file: Path, tmp_path: Path
) -> None:
    copy = tmp_path / 'tiny'
    shutil.copytree(tiny_bundle.path, copy)
    result = run(str(copy), tiny_robot_file, tmp_path / 'result.json', *FEW, '--record')
    control = result.pop('step_size_zero')
    assert control['options'] == {'step_scale': 0.0}
    bundle = load_bundle(copy)
    assert bundle.sha256 == tiny_bundle.sha256, 'results do not make it another policy'
    recorded = bundle.manifest['results']
    assert set(recorded) == {'adapted', 'step_size_zero'}
    for figures, document in (
        (recorded['adapted'], result),
        (recorded['step_size_zero'], control),
    ):
        assert figures == {key: document[key] for key in figures}
        assert figures['seed'] == 2
        assert figures['trials'] == 3


def test_trials_are_as_many_as_in_the_paper_by_default() -> None:
    args = build_parser('evaluate').parse_args(['evaluate', 'models/push'])
    assert (args.trials, args.tasks, args.split) == (444, 74, 'test')


# --- Videos and mistakes ---------------------------------------------------------------------


def test_frames_of_later_failures_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    demo: Demo = make_demo(np.random.default_rng(0))
    failed = [TrialReport(i, False, 1, demo, list(demo.images)) for i in range(4)]
    won = TrialReport(9, True, 0, None, [])
    monkeypatch.setattr(evaluate, '_MOST_VIDEOS', 2)
    kept = list(evaluate._drop_later_frames([failed[0], won, *failed[1:]]))
    assert [report.demo is not None for report in kept] == [True, False, True, False, False]
    assert [len(report.frames) for report in kept] == [9, 0, 9, 0, 0]
    assert [report.task for report in kept] == [0, 9, 1, 2, 3]


MISTAKES = {
    'no policy': (
        [],
        'No policy to evaluate; expected a bundle such as models/reach, a checkpoint, or one of '
        'expert, random, replay, align-and-replay.',
    ),
    'no task': (['replay'], "'replay' can do any task; say which with --task reach, push or"),
    'no trials': (
        ['replay', '--task', 'push', '--trials', '0'],
        'Got --trials 0 --tasks 74 --workers 2; expected at least 1 of each.',
    ),
    'no tasks': (
        ['replay', '--task', 'push', '--tasks', '0'],
        'Got --trials 444 --tasks 0 --workers 2; expected at least 1 of each.',
    ),
    'no manifest': (
        ['replay', '--task', 'push', '--record'],
        "Got --record for 'replay', which has no manifest; expected a bundle.",
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_a_sentence_before_anything_starts(
    mistake: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evaluate, 'multiprocessing', None)
    words, message = MISTAKES[mistake]
    assert main(['evaluate', *words]) == 2
    assert message in capsys.readouterr().err


def test_unknown_task_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(['evaluate', 'replay', '--task', 'juggle'])
    assert "invalid choice: 'juggle' (choose from" in capsys.readouterr().err


def test_mistake_that_a_worker_finds_ends_the_command(
    tmp_path: Path, tiny_robot_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A worker that fails while it starts would be replaced for ever."""
    other = tmp_path / 'other.yaml'
    other.write_text(tiny_robot_file.read_text().replace('panda_joint1', 'shoulder'))
    words = ['--task', 'reach', '--robot', str(other), '--trials', '1', '--workers', '1']
    assert main(['evaluate', 'replay', *words]) == 2
    assert "Robot 'other' has joints ['shoulder'," in capsys.readouterr().err
