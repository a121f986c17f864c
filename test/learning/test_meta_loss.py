"""Each option of the meta-objective does what it says, and only that."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import (
    draw_batch,
    draw_params,
    draw_step_sizes,
    FULL,
    gradient_of,
    TASKS,
    VIDEO,
)
import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import (
    Batch,
    imitation_loss,
    inner_step,
    meta_loss,
    pre_update_loss,
)
from mil_ros.learning.network import adapted_names, expand, forward, Params

MODALITIES = {'full': FULL, 'video': VIDEO}


@pytest.fixture
def demo() -> Batch:
    return draw_batch(1)


@pytest.fixture
def trial() -> Batch:
    return draw_batch(2)


def losses_step_by_step(
    params: Params, sizes: Params, demo: Batch, trial: Batch, config: MilConfig
) -> list[Tensor]:
    """Return the loss on the trial after one inner step, after two, and so on."""
    adapted, losses = expand(params, TASKS), []
    for _ in range(config.inner_steps):
        adapted, _ = inner_step(adapted, sizes, demo, config)
        losses.append(imitation_loss(adapted, trial, config)[0])
    return losses


def meta_gradient(
    params: Params, sizes: Params, demo: Batch, trial: Batch, config: MilConfig, step: int | None
) -> Params:
    leaves = {**params, **{f'step_size.{name}': size for name, size in sizes.items()}}
    return gradient_of(meta_loss(params, sizes, demo, trial, config, step).objective.sum(), leaves)


# --- Inner steps and the losses after each of them ---------------------------------------------


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
def test_three_inner_steps_are_three_single_steps(
    config: MilConfig, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    config = replace(config, inner_steps=3)
    expected = losses_step_by_step(params, sizes, demo, trial, config)
    got = meta_loss(params, sizes, demo, trial, config)
    torch.testing.assert_close(got.objective, expected[-1], rtol=1e-12, atol=0)
    assert (expected[0] - expected[-1]).abs().min() > 1e-6, 'the later steps change nothing'
    assert torch.equal(got.before, pre_update_loss(expand(params, TASKS), demo, config))


def test_what_is_reported_is_of_the_last_step_and_of_the_actions_alone(
    demo: Batch, trial: Batch
) -> None:
    config = replace(FULL, inner_steps=2, multi_step_share=1.0)
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    adapted = expand(params, TASKS)
    for _ in range(2):
        adapted, _ = inner_step(adapted, sizes, demo, config)
    whole, actions = imitation_loss(adapted, trial, config)
    got = meta_loss(params, sizes, demo, trial, config, step=0)
    torch.testing.assert_close(got.action, actions, rtol=1e-12, atol=0)
    assert (whole - actions > 1e-3).all()
    assert not got.action.requires_grad
    assert not got.before.requires_grad


@pytest.mark.parametrize(
    ('step', 'weights'),
    [
        (0, (1 / 3, 1 / 3, 1 / 3)),
        (2, (1 / 6, 1 / 6, 2 / 3)),  # half of the share is over
        (3, (1 / 12, 1 / 12, 5 / 6)),
        (4, (0.0, 0.0, 1.0)),
        (9, (0.0, 0.0, 1.0)),
        (None, (0.0, 0.0, 1.0)),
    ],
)
def test_losses_after_the_earlier_steps_fade_out(
    demo: Batch, trial: Batch, step: int | None, weights: tuple[float, ...]
) -> None:
    config = replace(FULL, inner_steps=3, multi_step_share=0.4, steps=10)
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    losses = losses_step_by_step(params, sizes, demo, trial, config)
    assert sum(weights) == pytest.approx(1.0)
    expected = sum(weight * loss for weight, loss in zip(weights, losses))
    got = meta_loss(params, sizes, demo, trial, config, step).objective
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)


def test_multi_step_share_of_zero_counts_the_last_step_alone(demo: Batch, trial: Batch) -> None:
    config = replace(FULL, inner_steps=3, multi_step_share=0.0)
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    losses = losses_step_by_step(params, sizes, demo, trial, config)
    got = meta_loss(params, sizes, demo, trial, config, step=0).objective
    torch.testing.assert_close(got, losses[-1], rtol=1e-12, atol=0)


# --- First order -------------------------------------------------------------------------------


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
@pytest.mark.parametrize('inner_steps', [1, 2])
def test_first_order_takes_the_inner_gradient_as_a_constant(
    config: MilConfig, demo: Batch, trial: Batch, inner_steps: int
) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    config = replace(config, inner_steps=inner_steps, first_order_share=0.5, steps=10)
    adapted = expand(params, TASKS)
    for _ in range(inner_steps):
        inner = {name: adapted[name] for name in sizes}
        gradient = gradient_of(pre_update_loss(adapted, demo, config).sum(), inner)
        constant = {name: tensor.detach() for name, tensor in gradient.items()}
        moved = {name: adapted[name] - sizes[name] * constant[name] for name in sizes}
        adapted = {**adapted, **moved}
    leaves = {**params, **{f'step_size.{name}': size for name, size in sizes.items()}}
    expected = gradient_of(imitation_loss(adapted, trial, config)[0].sum(), leaves)
    got = meta_gradient(params, sizes, demo, trial, config, step=4)
    second = meta_gradient(params, sizes, demo, trial, config, step=5)
    for name in leaves:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=1e-12)
    assert max(float((got[n] - second[n]).abs().max()) for n in params) > 1e-5


def test_first_order_share_ends_where_it_says(demo: Batch, trial: Batch) -> None:
    params = draw_params(FULL)
    sizes = draw_step_sizes(params, FULL)
    second = meta_gradient(params, sizes, demo, trial, FULL, step=0)
    config = replace(FULL, first_order_share=0.3, steps=10)
    for step in (0, 2, 3, 9, None):
        got = meta_gradient(params, sizes, demo, trial, config, step)
        is_second_order = all(torch.equal(got[name], second[name]) for name in second)
        assert is_second_order == (step not in (0, 2)), step


def test_first_order_changes_no_loss(demo: Batch, trial: Batch) -> None:
    params = draw_params(FULL)
    sizes = draw_step_sizes(params, FULL)
    config = replace(FULL, inner_steps=3, first_order_share=1.0)
    first = meta_loss(params, sizes, demo, trial, config, step=0)
    second = meta_loss(params, sizes, demo, trial, config, step=None)
    for name in ('objective', 'action', 'before'):
        torch.testing.assert_close(getattr(first, name), getattr(second, name))


# --- Masks, shots, weights ---------------------------------------------------------------------


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
@pytest.mark.parametrize(
    'frozen',
    [('conv',), ('context', 'image_context'), ('fc', 'pre_'), ('temperature', 'conv0.bias')],
)
def test_frozen_parameters_are_kept_and_the_others_adapted_as_ever(
    config: MilConfig, demo: Batch, frozen: tuple[str, ...]
) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    free, _ = inner_step(expand(params, TASKS), sizes, demo, config)
    config = replace(config, frozen=frozen)
    kept = {name for name in sizes if name.startswith(frozen)}
    assert kept
    assert set(adapted_names(params, config)) == set(sizes) - kept
    before = expand(params, TASKS)
    fewer = {name: size for name, size in sizes.items() if name not in kept}
    after, _ = inner_step(before, fewer, demo, config)
    for name in params:
        if name in kept:
            assert after[name] is before[name]
        else:
            torch.testing.assert_close(after[name], free[name], rtol=0, atol=1e-14)


def test_frozen_parameters_are_trained_all_the_same(demo: Batch, trial: Batch) -> None:
    config = replace(FULL, frozen=('conv', 'fc'))
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    assert not any(name.startswith(('conv', 'fc')) for name in sizes)
    gradient = meta_gradient(params, sizes, demo, trial, config, step=None)
    for name in ('conv0.weight', 'fc0.weight'):
        assert gradient[name].abs().max() > 1e-5


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
def test_every_shown_demonstration_counts(config: MilConfig) -> None:
    """The frames of K demonstrations lie one after the other."""
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    shown = draw_batch(1, frames=8)  # two demonstrations of four frames
    for first in (0, 4):
        changed = shown.images.clone()
        changed[:, first : first + 4] = draw_batch(3).images
        before, _ = inner_step(expand(params, TASKS), sizes, shown, config)
        other = replace(shown, images=changed)
        after, _ = inner_step(expand(params, TASKS), sizes, other, config)
        assert (before['conv0.weight'] - after['conv0.weight']).abs().amax() > 1e-6


@pytest.mark.parametrize('weight', [0.0, 0.5, 2.0])
def test_final_pose_weighs_what_it_should(demo: Batch, weight: float) -> None:
    params = expand(draw_params(FULL), TASKS)
    actions, final = forward(params, demo.images, demo.state, FULL)
    of_actions = (actions - demo.actions).square().mean(dim=(1, 2))
    of_final = (final - demo.final).square().mean(dim=(1, 2))
    whole, part = imitation_loss(params, demo, replace(FULL, final_pose_weight=weight))
    torch.testing.assert_close(whole, of_actions + weight * of_final)
    torch.testing.assert_close(part, of_actions)
    assert (of_final > 1e-3).all()


def test_step_size_scales_the_inner_step(demo: Batch) -> None:
    params = draw_params(FULL)
    sizes = draw_step_sizes(params, FULL)
    steps = []
    for factor in (1.0, 3.0):
        scaled = {name: factor * size for name, size in sizes.items()}
        adapted, _ = inner_step(expand(params, TASKS), scaled, demo, FULL)
        steps.append({name: params[name] - adapted[name] for name in sizes})
    for name in sizes:
        torch.testing.assert_close(steps[1][name], 3.0 * steps[0][name], rtol=0, atol=1e-13)
