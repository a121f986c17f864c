"""Training goes on where it stopped, to the last bit, and never saves what diverged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import signal
import subprocess
import sys

from helpers import make_demo
import numpy as np
import pytest
import torch

from mil_ros.core.errors import CheckpointError, MilError
from mil_ros.data.dataset import Dataset, DatasetInfo, save_info, save_task
from mil_ros.learning import trainer as trainer_module
from mil_ros.learning.batches import Normaliser, sample_meta_batch
from mil_ros.learning.checkpoint import load_checkpoint
from mil_ros.learning.config import MilConfig
from mil_ros.learning.trainer import DivergedError, StepReport, Trainer
from mil_ros.tools import cli

CONFIG = MilConfig(
    image_height=12,
    image_width=16,
    filters=(3, 4),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(8,),
    context=3,
    frames=4,
    meta_batch=2,
    learning_rate=1e-3,
    steps=4,
)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rng = np.random.default_rng(1)
    directory = tmp_path_factory.mktemp('dataset')
    info = DatasetInfo(
        task='reach',
        split='train',
        seed=0,
        tasks=5,
        demos=3,
        robot='tiny',
        robot_sha256='0' * 64,
        joint_names=tuple(f'joint{i}' for i in range(7)),
        rate_hz=10.0,
        image_height=12,
        image_width=16,
    )
    save_info(directory, info)
    for index in range(info.tasks):
        demos = [make_demo(rng) for _ in range(info.demos)]
        # Something to learn: every joint goes back to zero.
        save_task(
            directory, index, [replace(d, joint_velocities=-d.joint_positions) for d in demos]
        )
    return Dataset(directory)


def ignore(_: StepReport) -> None:
    pass


def interrupt_after(steps: int) -> Callable[[StepReport], None]:
    def report(measured: StepReport) -> None:
        if measured.step == steps:
            raise KeyboardInterrupt

    return report


# --- Batches ---------------------------------------------------------------------------------


def test_scales_are_those_of_the_data(dataset: Dataset) -> None:
    normaliser = Normaliser.from_dataset(dataset)
    states = np.concatenate([dataset.load(i).joint_positions.reshape(-1, 7) for i in range(5)])
    actions = np.concatenate([dataset.load(i).joint_velocities.reshape(-1, 7) for i in range(5)])
    np.testing.assert_allclose(normaliser.state_mean, states.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normaliser.state_std, states.std(axis=0), rtol=1e-5)
    rms = np.sqrt((actions.astype(np.float64) ** 2).mean(axis=0))
    np.testing.assert_allclose(normaliser.action_std, rms, rtol=1e-5)


def test_batch_depends_on_seed_and_step_alone(dataset: Dataset) -> None:
    normaliser = Normaliser.from_dataset(dataset)
    first, again = (sample_meta_batch(dataset, normaliser, CONFIG, 7) for _ in range(2))
    other = sample_meta_batch(dataset, normaliser, CONFIG, 8)
    for (demo, trial), (demo_again, trial_again) in zip(first, again):
        assert torch.equal(demo.images, demo_again.images)
        assert torch.equal(trial.actions, trial_again.actions)
    assert not torch.equal(first[0][0].images, other[0][0].images)


def test_demonstration_and_trial_are_different_ones_of_the_same_task(dataset: Dataset) -> None:
    normaliser = Normaliser.from_dataset(dataset)
    for step in range(10):
        for demo, trial in sample_meta_batch(dataset, normaliser, CONFIG, step):
            sources = [find_source(dataset, normaliser, b.actions) for b in (demo, trial)]
            assert sources[0][0] == sources[1][0]
            assert sources[0][1] != sources[1][1]


def find_source(
    dataset: Dataset, normaliser: Normaliser, actions: torch.Tensor
) -> tuple[int, int]:
    """Return the task and the demonstration that all rows of a batch come from."""
    for task in range(len(dataset)):
        for number, whole in enumerate(dataset.load(task).joint_velocities):
            scaled = torch.from_numpy(whole) / normaliser.action_std
            if all((scaled == row).all(dim=1).any() for row in actions):
                return task, number
    raise AssertionError('the batch is from no demonstration')


# --- Training --------------------------------------------------------------------------------


def test_training_lowers_the_loss_after_the_inner_step(dataset: Dataset, tmp_path: Path) -> None:
    reports: list[StepReport] = []
    config = replace(CONFIG, steps=40, learning_rate=5e-3, meta_batch=5)
    Trainer(dataset, config).run(tmp_path / 'last.safetensors', reports.append)
    assert [report.step for report in reports] == list(range(1, 41))
    early = np.mean([report.post_loss for report in reports[:10]])
    assert np.mean([report.post_loss for report in reports[-10:]]) < 0.9 * early


def test_interrupted_training_ends_in_the_same_bits(dataset: Dataset, tmp_path: Path) -> None:
    whole, parts = tmp_path / 'whole.safetensors', tmp_path / 'parts.safetensors'
    Trainer(dataset, CONFIG).run(whole, ignore)
    with pytest.raises(KeyboardInterrupt):
        Trainer(dataset, CONFIG).run(parts, interrupt_after(2))
    assert load_checkpoint(parts).step == 2
    trainer = Trainer(dataset, CONFIG)
    trainer.resume(parts)
    trainer.run(parts, ignore)
    assert_same(whole, parts)


def assert_same(first: Path, second: Path) -> None:
    old, new = load_checkpoint(first), load_checkpoint(second)
    assert old.step == new.step == CONFIG.steps
    for group in ('params', 'step_sizes', 'moments'):
        before, after = getattr(old, group), getattr(new, group)
        assert set(before) == set(after) != set()
        assert all(torch.equal(before[name], after[name]) for name in before), group


def test_interrupt_in_the_middle_of_a_step_saves_no_half_step(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / 'whole.safetensors', tmp_path / 'parts.safetensors'
    Trainer(dataset, CONFIG).run(whole, ignore)
    trainer = Trainer(dataset, CONFIG)
    update = trainer._optimiser.step

    def update_and_interrupt() -> None:
        update()
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C comes when it likes

    monkeypatch.setattr(trainer._optimiser, 'step', update_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(parts, ignore, save_every=1)
    resumed = Trainer(dataset, CONFIG)
    resumed.resume(parts)
    resumed.run(parts, ignore)
    assert_same(whole, parts)


def test_training_moves_parameters_and_step_sizes(dataset: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(dataset, CONFIG)
    before = {name: p.detach().clone() for name, p in trainer.params.items()}
    trainer.run(tmp_path / 'last.safetensors', ignore)
    after = load_checkpoint(tmp_path / 'last.safetensors')
    assert all(not torch.equal(before[name], after.params[name]) for name in before)
    moved = [n for n, s in after.step_sizes.items() if (s != CONFIG.step_size).any()]
    assert {'conv0.weight', 'context', 'fc0.weight'} <= set(moved)


def test_resuming_with_other_options_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, CONFIG).save(path)
    other = Trainer(dataset, replace(CONFIG, seed=3, learning_rate=0.5))
    message = (
        r'was trained with another configuration \(learning_rate 0\.001 -> 0\.5, seed 0 -> 3\); '
        r'use the same options to resume, or another --out to start anew\.'
    )
    with pytest.raises(CheckpointError, match=message):
        other.resume(path)


def spoil_after(
    monkeypatch: pytest.MonkeyPatch, steps: int, spoil: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Let the loss of every batch after the first ones be spoilt."""
    calls, real = [0], trainer_module.meta_loss

    def meta_loss(params, *rest):  # type: ignore[no-untyped-def]
        calls[0] += 1
        post, actions, pre = real(params, *rest)
        if calls[0] > steps * CONFIG.meta_batch:
            post = spoil(post + 0.0 * params['head.bias'].sum())
        return post, actions, pre

    monkeypatch.setattr(trainer_module, 'meta_loss', meta_loss)


@pytest.mark.parametrize('factor', [float('nan'), float('inf')])
def test_diverged_loss_keeps_the_last_good_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    path = tmp_path / 'last.safetensors'
    spoil_after(monkeypatch, 2, lambda loss: loss * factor)
    message = r'Loss is (nan|inf) at step 3, expected a finite number; the last good checkpoint'
    with pytest.raises(DivergedError, match=message):
        Trainer(dataset, CONFIG).run(path, ignore, save_every=1)
    kept = load_checkpoint(path)
    assert kept.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in kept.params.values())


def test_gradient_that_is_no_number_never_reaches_a_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'last.safetensors'
    # The root of zero is a number, its slope is not.
    spoil_after(monkeypatch, 2, lambda loss: loss + (loss * 0.0).sqrt())
    with pytest.raises(DivergedError):
        Trainer(dataset, CONFIG).run(path, ignore, save_every=1)
    kept = load_checkpoint(path)
    assert kept.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in kept.params.values())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({'meta_batch': 6}, r'5.*6'), ({'frames': 10}, r'9.*10')],
    ids=['too few tasks', 'too few frames'],
)
def test_dataset_that_is_too_small_is_refused_in_a_sentence(
    dataset: Dataset, tmp_path: Path, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(MilError, match=message):
        Trainer(dataset, replace(CONFIG, **changes)).run(tmp_path / 'last.safetensors', ignore)


def test_two_processes_train_as_one_does(dataset: Dataset, tmp_path: Path) -> None:
    options = [
        f'{name}={json.dumps(getattr(CONFIG, name))}'
        for name in ('filters', 'strides', 'kernels', 'hidden', 'context', 'frames')
    ]
    options += [f'{name}={getattr(CONFIG, name)}' for name in ('meta_batch', 'learning_rate')]
    common = ['--data', str(dataset.directory), '--steps', str(CONFIG.steps)]
    common += [word for option in options for word in ('--option', option)]
    single, shared = tmp_path / 'single', tmp_path / 'shared'
    assert cli.main(['train', *common, '--out', str(single)]) == 0
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    command = [sys.executable, *launch, '-m', 'mil_ros.tools.cli', 'train', *common]
    subprocess.run([*command, '--out', str(shared)], check=True, timeout=120, capture_output=True)
    one, two = (load_checkpoint(out / 'last.safetensors') for out in (single, shared))
    fresh = Trainer(dataset, CONFIG)
    assert two.step == CONFIG.steps
    for name, tensor in one.params.items():
        torch.testing.assert_close(two.params[name], tensor, rtol=0, atol=1e-6)
    moved = max(float((one.params[n] - p.detach()).abs().max()) for n, p in fresh.params.items())
    assert moved > 1e-3, 'training changed nothing, so the test shows nothing'
