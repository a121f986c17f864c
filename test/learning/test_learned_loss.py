"""The learned loss needs nothing but video, and learns what to make of it (section 4.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import (
    draw_batch,
    draw_params,
    draw_step_sizes,
    draw_task_params,
    FULL,
    gradient_of,
    TASKS,
    VIDEO,
)
import torch

from mil_ros.learning import network
from mil_ros.learning.baselines import baseline_loss
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, inner_step, meta_loss, pre_update_loss
from mil_ros.learning.network import expand, learned_loss, Params


@pytest.fixture
def params() -> Params:
    return draw_params(VIDEO)


@pytest.fixture
def demo() -> Batch:
    return draw_batch(1)


@pytest.fixture
def trial() -> Batch:
    return draw_batch(2)


def poison(demo: Batch) -> Batch:
    """Return the demonstration with all that a video does not show spoilt."""
    nothing = torch.full_like(demo.state, float('nan'))
    return Batch(demo.images, nothing, nothing, nothing)


def test_demonstration_needs_neither_states_nor_actions(
    params: Params, demo: Batch, trial: Batch
) -> None:
    sizes = draw_step_sizes(params, VIDEO)
    config = replace(VIDEO, inner_steps=2)
    leaves = {**params, **{f'step_size.{name}': size for name, size in sizes.items()}}
    seen = meta_loss(params, sizes, demo, trial, config)
    video = meta_loss(params, sizes, poison(demo), trial, config)
    for name in ('objective', 'action', 'before'):
        assert torch.equal(getattr(seen, name), getattr(video, name))
        assert torch.isfinite(getattr(video, name)).all()
    gradients = gradient_of(video.objective.sum(), leaves)
    for name, expected in gradient_of(seen.objective.sum(), leaves).items():
        assert torch.equal(gradients[name], expected), name


def test_demonstration_with_states_and_actions_is_read_in_full(demo: Batch, trial: Batch) -> None:
    params = draw_params(FULL)
    sizes = draw_step_sizes(params, FULL)
    for name in ('state', 'actions', 'final'):
        spoilt = replace(demo, **{name: torch.full_like(demo.state, float('nan'))})
        assert meta_loss(params, sizes, spoilt, trial, FULL).objective.isnan().all(), name


@pytest.mark.parametrize('method', ['bc', 'contextual', 'lstm'])
def test_no_baseline_of_modality_video_reads_states_or_actions(
    method: str, demo: Batch, trial: Batch
) -> None:
    config = replace(VIDEO, method=method)
    params = draw_params(config)
    expected = baseline_loss(params, demo, trial, config).objective
    got = baseline_loss(params, poison(demo), trial, config).objective
    assert torch.equal(got, expected)
    assert torch.isfinite(got).all()


@pytest.mark.parametrize(('kernel', 'layers'), [(1, 1), (2, 2), (3, 1), (4, 1), (2, 3)])
def test_learned_loss_is_a_temporal_convolution_and_a_squared_norm(
    demo: Batch, kernel: int, layers: int
) -> None:
    config = replace(VIDEO, loss_kernel=kernel, loss_layers=layers)
    params = draw_task_params(config)
    got = learned_loss(params, demo.images, config)
    points = network.features(params, demo.images, config)
    final = network.linear(params, 'pre_final', points)
    absent = torch.zeros_like(demo.state)
    hidden = network.hidden_layers(params, torch.cat([points, final, absent], dim=2), config)
    for task in range(TASKS):
        x = torch.cat([points[task], hidden[task]], dim=1).T  # (channels, T)
        for i in range(layers):
            weight = params[f'loss_conv{i}.weight'][task]  # (filters, kernel * channels)
            weight = weight.reshape(len(weight), kernel, -1).transpose(1, 2)
            bias = params[f'loss_conv{i}.bias'][task]
            x = torch.relu(torch.nn.functional.conv1d(x, weight, bias))
        assert x.shape[1] == 4 - layers * (kernel - 1)
        expected = (params['loss_out.weight'][task] @ x).square().mean()
        assert expected > 1e-6, 'everything is zero, so the test shows nothing'
        torch.testing.assert_close(got[task], expected, rtol=1e-12, atol=0)


def test_order_of_time_matters(params: Params, demo: Batch) -> None:
    shared = expand(params, TASKS)
    forwards = learned_loss(shared, demo.images, VIDEO)
    backwards = learned_loss(shared, demo.images.flip(1), VIDEO)
    assert ((forwards - backwards).abs() > 1e-6).all()


def test_order_of_time_does_not_matter_with_actions(demo: Batch) -> None:
    shared = expand(draw_params(FULL), TASKS)
    backwards = Batch(*(getattr(demo, name).flip(1) for name in demo.__slots__))
    forwards = pre_update_loss(shared, demo, FULL)
    torch.testing.assert_close(forwards, pre_update_loss(shared, backwards, FULL))


def test_second_derivatives_agree_with_finite_differences(params: Params, demo: Batch) -> None:
    names = network.adapted_names(params, VIDEO)
    generator = torch.Generator().manual_seed(4)
    along = {
        name: torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        for name, tensor in params.items()
    }

    def inner_gradient(offset: float) -> Params:
        """Return the inner gradient some way along a direction in all parameters."""
        moved = {
            name: (tensor.detach() + offset * along[name]).requires_grad_()
            for name, tensor in params.items()
        }
        loss = learned_loss(expand(moved, TASKS), demo.images, VIDEO).sum()
        return gradient_of(loss, {name: moved[name] for name in names})

    loss = learned_loss(expand(params, TASKS), demo.images, VIDEO).sum()
    gradient = gradient_of(loss, {name: params[name] for name in names}, graph=True)
    generator = torch.Generator().manual_seed(6)
    epsilon = 1e-6
    ahead, behind = inner_gradient(epsilon), inner_gradient(-epsilon)
    for name in names:
        across = torch.randn(params[name].shape, generator=generator, dtype=torch.float64)
        second = gradient_of((gradient[name] * across).sum(), params)
        curvature = sum(float((second[n] * along[n]).sum()) for n in params)
        measured = float(((ahead[name] - behind[name]) * across).sum()) / (2 * epsilon)
        assert abs(curvature) > 1e-6, f'{name} has no curvature, so the test shows nothing'
        assert curvature == pytest.approx(measured, rel=1e-4, abs=1e-8), name


def test_meta_gradient_reaches_the_learned_loss(params: Params, demo: Batch, trial: Batch) -> None:
    sizes = draw_step_sizes(params, VIDEO)
    learned = {name: tensor for name, tensor in params.items() if name.startswith('loss_')}
    assert set(learned) == {'loss_out.weight'} | {
        f'loss_conv{i}.{part}' for i in (0, 1) for part in ('weight', 'bias')
    }
    objective = meta_loss(params, sizes, demo, trial, VIDEO).objective.sum()
    for name, gradient in gradient_of(objective, learned).items():
        assert gradient.abs().max() > 1e-6, name


def test_first_order_teaches_the_learned_loss_nothing(
    params: Params, demo: Batch, trial: Batch
) -> None:
    sizes = draw_step_sizes(params, VIDEO)
    config: MilConfig = replace(VIDEO, first_order_share=1.0)
    objective = meta_loss(params, sizes, demo, trial, config, step=0).objective.sum()
    learned = {name: tensor for name, tensor in params.items() if name.startswith('loss_')}
    assert all((g == 0.0).all() for g in gradient_of(objective, learned).values())


def test_inner_step_leaves_the_learned_loss_alone(params: Params, demo: Batch) -> None:
    shared = expand(params, TASKS)
    adapted, _ = inner_step(shared, draw_step_sizes(params, VIDEO), demo, VIDEO)
    for name in params:
        assert (adapted[name] is shared[name]) == name.startswith(
            ('loss_', 'norm', 'head.', 'final.')
        ), name
