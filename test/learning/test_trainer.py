"""Training goes on where it stopped, to the last bit, and never saves what diverged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
import signal
from types import SimpleNamespace

from helpers import largest_file
import numpy as np
import pytest
from tiny import TRAINED as CONFIG
import torch

from mil_ros.core.errors import CheckpointError, ConfigError, DatasetError
from mil_ros.data.dataset import Dataset
from mil_ros.learning import trainer as trainer_module
from mil_ros.learning.batches import sample_meta_batch
from mil_ros.learning.checkpoint import load_checkpoint
from mil_ros.learning.trainer import DivergedError, StepReport, Trainer

VARIANTS = {
    'full': {},
    'video': {'modality': 'video'},
    'annealed': {'inner_steps': 2, 'multi_step_share': 0.7, 'first_order_share': 0.5},
    'two shots': {'shots': 2, 'image_context': True, 'frozen': ('conv',)},
}


def ignore(_: StepReport) -> None:
    pass


def interrupt_after(steps: int) -> Callable[[StepReport], None]:
    def report(measured: StepReport) -> None:
        if measured.step == steps:
            signal.raise_signal(signal.SIGINT)  # Ctrl-C

    return report


def assert_same(first: Path, second: Path) -> None:
    old, new = load_checkpoint(first), load_checkpoint(second)
    assert old.step == new.step == CONFIG.steps
    for group in ('params', 'step_sizes', 'moments'):
        before, after = getattr(old, group), getattr(new, group)
        assert set(before) == set(after) != set()
        assert all(torch.equal(before[name], after[name]) for name in before), group


# --- Training --------------------------------------------------------------------------------


@pytest.mark.parametrize('modality', ['full', 'video'])
def test_training_lowers_the_loss_after_the_inner_step(
    dataset: Dataset, tmp_path: Path, modality: str
) -> None:
    reports: list[StepReport] = []
    config = replace(CONFIG, modality=modality, steps=40, learning_rate=5e-3, meta_batch=5)
    Trainer(dataset, config).run(tmp_path / 'last.safetensors', reports.append)
    assert [report.step for report in reports] == list(range(1, 41))
    early = np.mean([report.post_loss for report in reports[:10]])
    assert np.mean([report.post_loss for report in reports[-10:]]) < 0.9 * early


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_interrupted_training_ends_in_the_same_bits(
    dataset: Dataset, tmp_path: Path, changes: dict[str, object]
) -> None:
    config = replace(CONFIG, **changes)
    whole, parts = tmp_path / 'whole.safetensors', tmp_path / 'parts.safetensors'
    Trainer(dataset, config).run(whole, ignore)
    with pytest.raises(KeyboardInterrupt):
        Trainer(dataset, config).run(parts, interrupt_after(2))
    assert load_checkpoint(parts).step == 2
    trainer = Trainer(dataset, config)
    trainer.resume(parts)
    trainer.run(parts, ignore)
    assert_same(whole, parts)


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
        trainer.run(parts, ignore)
    resumed = Trainer(dataset, CONFIG)
    resumed.resume(parts)
    resumed.run(parts, ignore)
    assert_same(whole, parts)


def test_interrupt_in_the_middle_of_a_save_leaves_it_whole(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is impatient and presses Ctrl-C again."""
    path, save = tmp_path / 'last.safetensors', trainer_module.save_checkpoint

    def interrupt_and_save(*args: object) -> None:
        signal.raise_signal(signal.SIGINT)
        save(*args)

    monkeypatch.setattr(trainer_module, 'save_checkpoint', interrupt_and_save)
    with pytest.raises(KeyboardInterrupt):
        Trainer(dataset, CONFIG).run(path, interrupt_after(2))
    assert load_checkpoint(path).step == 2


def test_state_is_saved_once_a_minute(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(trainer_module, 'time', SimpleNamespace(monotonic=lambda: clock.now_s))
    path = tmp_path / 'last.safetensors'
    saved: list[int | None] = []

    def report(measured: StepReport) -> None:
        saved.append(load_checkpoint(path).step if path.exists() else None)
        clock.now_s += 25.0

    Trainer(dataset, replace(CONFIG, steps=8)).run(path, report)
    assert saved == [None, None, None, 3, 3, 3, 6, 6]
    assert load_checkpoint(path).step == 8


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_training_moves_parameters_and_step_sizes(
    dataset: Dataset, tmp_path: Path, changes: dict[str, object]
) -> None:
    trainer = Trainer(dataset, replace(CONFIG, **changes))
    before = {name: p.detach().clone() for name, p in trainer.params.items()}
    trainer.run(tmp_path / 'last.safetensors', ignore)
    after = load_checkpoint(tmp_path / 'last.safetensors')
    assert [n for n in before if torch.equal(before[n], after.params[n])] == []
    still = {n for n, s in after.step_sizes.items() if (s == CONFIG.step_size).all()}
    if trainer.config.inner_steps == 1:  # the second heads never see what the first ones became
        assert still == {n for n in after.step_sizes if n.startswith('pre_')}
    else:
        assert still == set()


DEVICES = {
    **VARIANTS,
    'lstm': {'method': 'lstm'},
    'contextual': {'method': 'contextual'},
    'bc': {'method': 'bc'},
}


@pytest.mark.parametrize('changes', DEVICES.values(), ids=DEVICES)
def test_step_stays_on_the_device_that_was_chosen(
    dataset: Dataset, changes: dict[str, object]
) -> None:
    """There need be no GPU: tensors without content refuse to meet those of the CPU as well."""
    trainer = Trainer(dataset, replace(CONFIG, **changes), 'meta')
    demos, trials = sample_meta_batch(dataset, trainer.normaliser, trainer.config, 0)
    losses = trainer._compute_losses(demos, trials)
    losses.objective.sum().backward()
    trainer._optimiser.step()
    reached = [*trainer._leaves, *(leaf.grad for leaf in trainer._leaves)]
    reached += [losses.objective, losses.action, losses.before, demos.images, trials.final]
    assert {tensor.device.type for tensor in reached if tensor is not None} == {'meta'}


def test_gpu_takes_all_tasks_of_a_step_at_once(dataset: Dataset) -> None:
    config = replace(CONFIG, meta_batch=5)
    assert Trainer(dataset, config, 'meta')._chunk == 5
    assert Trainer(dataset, config)._chunk == 12


@pytest.mark.parametrize('chunk', [1, 2, 5])
def test_number_of_tasks_in_one_graph_changes_nothing(
    dataset: Dataset, tmp_path: Path, chunk: int
) -> None:
    paths = [tmp_path / 'whole.safetensors', tmp_path / 'chunks.safetensors']
    for path, size in zip(paths, (5, chunk)):
        trainer = Trainer(dataset, replace(CONFIG, meta_batch=5, precision='float32'))
        trainer._chunk = size
        trainer.run(path, ignore)
    whole, chunks = map(load_checkpoint, paths)
    for name, tensor in whole.params.items():
        torch.testing.assert_close(chunks.params[name], tensor, rtol=0, atol=1e-5)


# --- Options of the outer step -----------------------------------------------------------------


def test_learning_rate_falls_to_zero_by_a_cosine(dataset: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(dataset, replace(CONFIG, step_size_rate=3.0))
    rates: list[list[float]] = []

    def report(_: StepReport) -> None:
        rates.append([group['lr'] for group in trainer._optimiser.param_groups])

    trainer.run(tmp_path / 'last.safetensors', report)
    params, sizes = zip(*rates)
    expected = [0.5e-3 * (1.0 + np.cos(np.pi * step / 4)) for step in range(4)]
    assert params == pytest.approx(expected)
    assert sizes == pytest.approx([3.0 * rate for rate in expected])


def test_step_size_rate_of_zero_trains_all_but_the_step_sizes(
    dataset: Dataset, tmp_path: Path
) -> None:
    paths = [tmp_path / 'learned.safetensors', tmp_path / 'fixed.safetensors']
    for path, rate in zip(paths, (1.0, 0.0)):
        Trainer(dataset, replace(CONFIG, steps=1, step_size_rate=rate)).run(path, ignore)
    learned, fixed = (load_checkpoint(path) for path in paths)
    assert all((size == CONFIG.step_size).all() for size in fixed.step_sizes.values())
    assert any((size != CONFIG.step_size).any() for size in learned.step_sizes.values())
    assert all(torch.equal(learned.params[name], fixed.params[name]) for name in fixed.params)


@pytest.mark.parametrize('clip', [1e-3, 1e3])
def test_outer_gradient_is_clipped_by_its_norm(
    dataset: Dataset, tmp_path: Path, clip: float
) -> None:
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, replace(CONFIG, steps=1, outer_clip=clip)).run(path, ignore)
    moments = load_checkpoint(path).moments
    first = torch.cat([m.flatten() for n, m in moments.items() if n.endswith(':exp_avg')])
    norm = 10.0 * float(first.norm())  # Adam keeps a tenth of the first gradient
    if clip < 1.0:
        assert norm == pytest.approx(clip, rel=1e-3)
    else:
        assert 1e-2 < norm < clip


# --- Resuming, and starting from another training ----------------------------------------------


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


def test_starting_from_the_same_network_takes_everything_but_the_progress(
    dataset: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, CONFIG).run(path, ignore)
    saved = load_checkpoint(path)
    trainer = Trainer(dataset, replace(CONFIG, seed=5, learning_rate=1e-4, steps=9))
    assert trainer.start_from(path) == len(saved.params) + len(saved.step_sizes)
    assert trainer.step == 0
    assert trainer.state().moments == {}
    for group in ('params', 'step_sizes'):
        own, known = getattr(trainer, group), getattr(saved, group)
        assert all(torch.equal(own[name], known[name]) for name in known)
        assert all(tensor.requires_grad for tensor in own.values())


@pytest.mark.parametrize(
    ('changes', 'fresh'),
    [
        ({'hidden': (9,)}, {'fc0.weight', 'fc0.bias', 'head.weight', 'pre_head.weight'}),
        (
            {'modality': 'video'},
            {'loss_conv0.weight', 'loss_conv0.bias', 'loss_out.weight'},
        ),
        ({'method': 'bc'}, set()),
    ],
    ids=['other width', 'video alone', 'baseline'],
)
def test_starting_from_another_network_takes_what_fits(
    dataset: Dataset, tmp_path: Path, changes: dict[str, object], fresh: set[str]
) -> None:
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, CONFIG).run(path, ignore)
    saved = load_checkpoint(path)
    config = replace(CONFIG, seed=5, **changes)
    trainer, untouched = Trainer(dataset, config), Trainer(dataset, config)
    taken = trainer.start_from(path)
    assert taken == len(trainer.params) + len(trainer.step_sizes) - len(fresh) - len(
        fresh & set(trainer.step_sizes)
    )
    for name, tensor in trainer.params.items():
        source = untouched.params if name in fresh else saved.params
        assert torch.equal(tensor, source[name]), name
    trainer.run(tmp_path / 'next.safetensors', ignore)
    assert load_checkpoint(tmp_path / 'next.safetensors').step == CONFIG.steps


def test_starting_from_nothing_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'^No checkpoint .*none\.safetensors; expected a'):
        Trainer(dataset, CONFIG).start_from(tmp_path / 'none.safetensors')


# --- What goes wrong ---------------------------------------------------------------------------


def test_full_disk_is_a_sentence_and_the_previous_checkpoint_is_kept(
    dataset: Dataset, tmp_path: Path
) -> None:
    whole, path = tmp_path / 'whole.safetensors', tmp_path / 'last.safetensors'
    Trainer(dataset, CONFIG).run(whole, ignore)
    with pytest.raises(KeyboardInterrupt):
        Trainer(dataset, CONFIG).run(path, interrupt_after(2))
    before = path.read_bytes()
    trainer = Trainer(dataset, CONFIG)
    trainer.resume(path)
    message = (
        r'^Cannot write .*last\.safetensors \(.*\); the previous checkpoint is whole\. Free some '
        r'space and run the same command again, it goes on from there\.$'
    )
    with largest_file(len(before) // 2), pytest.raises(CheckpointError, match=message):
        trainer.run(path, ignore, save_period_s=0.0)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ['last.safetensors', 'whole.safetensors']
    resumed = Trainer(dataset, CONFIG)
    resumed.resume(path)
    resumed.run(path, ignore)
    assert_same(whole, path)


def spoil_after(
    monkeypatch: pytest.MonkeyPatch, steps: int, spoil: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    """Let the loss of every step after the first ones be spoilt."""
    calls, real = [0], trainer_module.meta_loss

    def meta_loss(params, *rest):  # type: ignore[no-untyped-def]
        calls[0] += 1
        losses = real(params, *rest)
        if calls[0] > steps:
            spoilt = spoil(losses.objective + 0.0 * params['head.bias'].sum())
            losses = replace(losses, objective=spoilt)
        return losses

    monkeypatch.setattr(trainer_module, 'meta_loss', meta_loss)


@pytest.mark.parametrize('factor', [float('nan'), float('inf')])
def test_diverged_loss_keeps_the_last_good_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    path = tmp_path / 'last.safetensors'
    spoil_after(monkeypatch, 2, lambda loss: loss * factor)
    message = (
        r'^Loss is (nan|inf) at step 3, expected a finite number; the last good checkpoint is '
        r'kept\. Lower learning_rate or step_size and resume\.$'
    )
    with pytest.raises(DivergedError, match=message):
        Trainer(dataset, CONFIG).run(path, ignore, save_period_s=0.0)
    kept = load_checkpoint(path)
    assert kept.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in kept.params.values())


def test_gradient_that_is_no_number_never_reaches_a_checkpoint(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'last.safetensors'
    # The root of zero is a number, its slope is not.
    spoil_after(monkeypatch, 2, lambda loss: loss + (loss * 0.0).sqrt())
    message = r'^The gradient is nan at step 3, expected finite numbers; the last good checkpoint'
    with pytest.raises(DivergedError, match=message):
        Trainer(dataset, CONFIG).run(path, ignore, save_period_s=0.0)
    kept = load_checkpoint(path)
    assert kept.step == 2
    assert all(torch.isfinite(tensor).all() for tensor in kept.params.values())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'meta_batch': 6},
            r'has 5 tasks, a meta-batch needs 6; collect more tasks or lower meta_batch\.$',
        ),
        (
            {'frames': 10},
            r'has demonstrations of 9 frames, a training step draws 10; collect longer ones or '
            r'lower frames and trial_frames\.$',
        ),
        (
            {'trial_frames': 11},
            r'has demonstrations of 9 frames, a training step draws 11; collect longer ones',
        ),
        (
            {'shots': 4},
            r'has 4 demonstrations per task, a training step needs 5 \(shots to adapt to and one '
            r'to judge by\); collect more or lower shots\.$',
        ),
    ],
    ids=['too few tasks', 'too few frames', 'too few frames of a trial', 'too few demos'],
)
def test_dataset_that_is_too_small_is_refused_in_a_sentence(
    dataset: Dataset, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        Trainer(dataset, replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ('frozen', 'message'),
    [
        (('conv', 'cnov'), r"^frozen is \['conv', 'cnov'\], which names no parameter by 'cnov'; "),
        (('conv', 'fc', 'temperature', 'context', 'pre_'), r'\], which leaves none to adapt; exp'),
    ],
)
def test_mask_that_makes_no_sense_is_refused(
    dataset: Dataset, frozen: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(dataset, replace(CONFIG, frozen=frozen))


def test_more_processes_than_tasks_in_a_step_are_refused(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (('is_initialized', True), ('get_rank', 0), ('get_world_size', 3)):
        monkeypatch.setattr(f'torch.distributed.{name}', lambda value=value: value)
    message = (
        r'^meta_batch is 2; expected at least one task for each of the 3 processes, raise it or '
        r'start fewer\.$'
    )
    with pytest.raises(ConfigError, match=message):
        Trainer(dataset, CONFIG)
