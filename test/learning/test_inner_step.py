"""The inner step is the gradient step of the paper, and its meta-gradient is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tiny import (
    DEEP,
    draw_batch,
    draw_params,
    draw_step_sizes,
    draw_task_params,
    FULL,
    gradient_of,
    take_task,
    TASKS,
    VIDEO,
)
import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import (
    Batch,
    imitation_loss,
    init_step_sizes,
    inner_step,
    meta_loss,
    pre_update_loss,
)
from mil_ros.learning.network import adapted_names, expand, Params


@pytest.fixture
def params() -> Params:
    """Parameters of two tasks, each with its own."""
    return draw_task_params(FULL)


@pytest.fixture
def shared() -> Params:
    """Parameters that the tasks share."""
    return draw_params(FULL)


@pytest.fixture
def demo() -> Batch:
    return draw_batch(1)


@pytest.fixture
def trial() -> Batch:
    return draw_batch(2)


# --- The gradient, derived by hand -----------------------------------------------------------


def patches(images: np.ndarray) -> np.ndarray:
    """Return what a 3x3 kernel of stride 2 sees in padded images, (T, H', W', C, 3, 3)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = range(0, images.shape[2], 2), range(0, images.shape[3], 2)
    return np.stack(
        [np.stack([padded[:, :, i : i + 3, j : j + 3] for j in columns], 1) for i in rows], 1
    )


def derive_by_hand(p: dict[str, np.ndarray], demo: Batch) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss of one task and its gradient by the chain rule, line by line."""
    images, state, actions, goal = (getattr(demo, name)[0].numpy() for name in demo.__slots__)
    frames = len(images)
    context = np.broadcast_to(p['image_context'], (frames, *p['image_context'].shape))
    seen = patches(np.concatenate([images.transpose(0, 3, 1, 2), context], axis=1))
    y = np.einsum('thwcij,fcij->tfhw', seen, p['conv0.weight'])
    y += p['conv0.bias'][:, None, None]
    deviation = np.sqrt(y.var(axis=(1, 2, 3), keepdims=True) + 1e-5)
    normal = (y - y.mean(axis=(1, 2, 3), keepdims=True)) / deviation
    z = normal + p['norm0.beta'][:, None, None]
    r = np.maximum(z, 0.0)
    logits = r * p['temperature'][:, None, None]
    weight = np.exp(logits - logits.max(axis=(2, 3), keepdims=True))
    weight /= weight.sum(axis=(2, 3), keepdims=True)
    h, w = weight.shape[2:]
    xs, ys = np.linspace(-1.0, 1.0, w)[None, :], np.linspace(-1.0, 1.0, h)[:, None]
    px, py = (weight * xs).sum(axis=(2, 3)), (weight * ys).sum(axis=(2, 3))
    points = np.concatenate([px, py], axis=1)
    final = points @ p['pre_final.weight'].T + p['pre_final.bias']
    a = np.concatenate([np.tile(p['context'], (frames, 1)), points, final, state], axis=1)
    hidden = a @ p['fc0.weight'].T + p['fc0.bias']
    active = np.maximum(hidden, 0.0)
    error = active @ p['pre_head.weight'].T + p['pre_head.bias'] - actions
    final_error = final - goal
    weight_of_final = FULL.final_pose_weight
    loss = float((error**2).mean() + weight_of_final * (final_error**2).mean())

    g: dict[str, np.ndarray] = {}
    d_out = 2.0 * error / error.size
    g['pre_head.weight'], g['pre_head.bias'] = d_out.T @ active, d_out.sum(axis=0)
    d_hidden = (d_out @ p['pre_head.weight']) * (hidden > 0)
    g['fc0.weight'], g['fc0.bias'] = d_hidden.T @ a, d_hidden.sum(axis=0)
    d_a = d_hidden @ p['fc0.weight']
    f = len(p['temperature'])
    g['context'] = d_a[:, :2].sum(axis=0)
    d_final = d_a[:, 2 + 2 * f : 4 + 2 * f]
    d_final = d_final + weight_of_final * 2.0 * final_error / final_error.size
    g['pre_final.weight'], g['pre_final.bias'] = d_final.T @ points, d_final.sum(axis=0)
    d_points = d_a[:, 2 : 2 + 2 * f] + d_final @ p['pre_final.weight']
    d_px, d_py = (d[:, :, None, None] for d in (d_points[:, :f], d_points[:, f:]))
    centred_x, centred_y = xs - px[:, :, None, None], ys - py[:, :, None, None]
    d_logits = weight * (centred_x * d_px + centred_y * d_py)
    g['temperature'] = (d_logits * r).sum(axis=(0, 2, 3))
    d_normal = d_logits * p['temperature'][:, None, None] * (z > 0)
    mean = d_normal.mean(axis=(1, 2, 3), keepdims=True)
    along = (d_normal * normal).mean(axis=(1, 2, 3), keepdims=True)
    d_y = (d_normal - mean - normal * along) / deviation
    g['conv0.weight'] = np.einsum('tfhw,thwcij->fcij', d_y, seen)
    g['conv0.bias'] = d_y.sum(axis=(0, 2, 3))
    d_context = np.zeros((3, 7, 8))  # padded
    for i in range(h):
        for j in range(w):
            part = np.einsum('tf,fcij->cij', d_y[:, :, i, j], p['conv0.weight'][:, 3:])
            d_context[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += part
    g['image_context'] = d_context[:, 1:-1, 1:-1]
    return loss, g


def test_inner_step_is_the_gradient_step_derived_by_hand(params: Params, demo: Batch) -> None:
    sizes = draw_step_sizes(take_task(params, 0), FULL)
    sizes = {name: size[0] for name, size in sizes.items()}
    adapted, loss = inner_step(params, sizes, demo, FULL)
    for task in range(TASKS):
        arrays = {name: tensor[task].detach().numpy() for name, tensor in params.items()}
        expected_loss, gradient = derive_by_hand(arrays, demo[task : task + 1])
        assert loss[task].item() == pytest.approx(expected_loss, rel=1e-12)
        assert set(gradient) == set(adapted_names(params, FULL))
        for name, element in gradient.items():
            assert np.abs(element).max() > 1e-5, f'{name} has no gradient: this shows nothing'
            expected = arrays[name] - sizes[name].detach().numpy() * element
            got = adapted[name][task].detach().numpy()
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize('config', [FULL, DEEP, VIDEO], ids=['full', 'deep', 'video'])
def test_inner_step_lowers_the_loss_on_the_demonstration(config: MilConfig, demo: Batch) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    adapted, before = inner_step(expand(params, TASKS), sizes, demo, config)
    assert (pre_update_loss(adapted, demo, config) < 0.99 * before).all()


# --- Several tasks at once -------------------------------------------------------------------


@pytest.mark.parametrize('config', [FULL, DEEP, VIDEO], ids=['full', 'deep', 'video'])
def test_tasks_together_are_adapted_as_each_alone(config: MilConfig, demo: Batch) -> None:
    params = draw_task_params(config)
    sizes = {n: s[0] for n, s in draw_step_sizes(take_task(params, 0), config).items()}
    together, loss = inner_step(params, sizes, demo, config)
    for task in range(TASKS):
        alone, own = inner_step(take_task(params, task), sizes, demo[task : task + 1], config)
        torch.testing.assert_close(loss[task], own[0], rtol=1e-12, atol=0)
        for name in params:
            torch.testing.assert_close(together[name][task], alone[name][0], rtol=0, atol=1e-13)


@pytest.mark.parametrize('config', [FULL, VIDEO], ids=['full', 'video'])
def test_meta_gradient_of_tasks_together_is_the_sum_of_each_alone(
    config: MilConfig, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    leaves = {**params, **{f'step_size.{name}': size for name, size in sizes.items()}}
    together = gradient_of(meta_loss(params, sizes, demo, trial, config).objective.sum(), leaves)
    total = {name: torch.zeros_like(tensor) for name, tensor in leaves.items()}
    for task in range(TASKS):
        one = slice(task, task + 1)
        loss = meta_loss(params, sizes, demo[one], trial[one], config).objective.sum()
        total = {name: total[name] + g for name, g in gradient_of(loss, leaves).items()}
    for name in leaves:
        torch.testing.assert_close(together[name], total[name], rtol=0, atol=1e-13)


@pytest.mark.parametrize('config', [FULL, VIDEO], ids=['full', 'video'])
def test_no_task_sees_the_demonstration_of_another(config: MilConfig, demo: Batch) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    other = draw_batch(3)
    mixed = Batch(
        *(torch.cat([getattr(other, n)[:1], getattr(demo, n)[1:]]) for n in demo.__slots__)
    )
    before, _ = inner_step(expand(params, TASKS), sizes, demo, config)
    after, _ = inner_step(expand(params, TASKS), sizes, mixed, config)
    for name in sizes:
        assert torch.equal(before[name][1], after[name][1]), name
        assert not torch.equal(before[name][0], after[name][0]), name


# --- Two heads, clip, step size --------------------------------------------------------------


def test_first_heads_are_adapted_and_the_second_ones_and_norms_are_not(
    shared: Params, demo: Batch
) -> None:
    params = expand(shared, TASKS)
    adapted, _ = inner_step(params, draw_step_sizes(shared, FULL), demo, FULL)
    assert set(adapted) == set(params)
    for name in params:
        if name.startswith(('head.', 'final.', 'norm')):
            assert adapted[name] is params[name]
        else:
            assert (adapted[name] - params[name]).abs().amax() > 1e-7, name


def test_step_size_of_zero_leaves_every_parameter_bit_for_bit(shared: Params, demo: Batch) -> None:
    sizes = {name: torch.zeros_like(size) for name, size in draw_step_sizes(shared, FULL).items()}
    adapted, _ = inner_step(expand(shared, TASKS), sizes, demo, FULL)
    assert all(torch.equal(adapted[name][0], shared[name]) for name in shared)


@pytest.mark.parametrize('config', [FULL, VIDEO], ids=['full', 'video'])
def test_step_sizes_start_alike_and_one_per_adapted_element(config: MilConfig) -> None:
    params = draw_params(config)
    sizes = init_step_sizes(params, config)
    assert list(sizes) == adapted_names(params, config)
    for name, size in sizes.items():
        assert size.shape == params[name].shape
        assert set(size.flatten().tolist()) == {config.step_size}


def test_gradient_is_clipped_element_by_element(params: Params, demo: Batch) -> None:
    gradient = gradient_of(pre_update_loss(params, demo, FULL).sum(), params)['fc0.weight']
    clip = float(gradient.abs().median())
    sizes = {n: torch.ones_like(params[n][0]) for n in adapted_names(params, FULL)}
    adapted, _ = inner_step(params, sizes, demo, replace(FULL, gradient_clip=clip))
    step = params['fc0.weight'] - adapted['fc0.weight']
    assert (gradient > clip).any()
    assert (gradient < -clip).any()
    torch.testing.assert_close(step, gradient.clamp(-clip, clip), rtol=0, atol=1e-12)


def test_clipped_element_carries_no_second_order_gradient(
    shared: Params, demo: Batch, trial: Batch
) -> None:
    demo, trial = demo[:1], trial[:1]
    sizes = {name: size.detach() for name, size in draw_step_sizes(shared, FULL).items()}
    inner = {name: shared[name] for name in sizes}
    loss = pre_update_loss(expand(shared, 1), demo, FULL).sum()
    gradient = gradient_of(loss, inner, graph=True)
    clip = float(torch.cat([g.detach().flatten() for g in gradient.values()]).abs().median())
    clipped = replace(FULL, gradient_clip=clip)
    got = gradient_of(meta_loss(shared, sizes, demo, trial, clipped).objective.sum(), shared)

    # d post / d p = v - H (s m v), where v is the gradient at the adapted parameters, H the
    # Hessian of the inner loss, s the step sizes and m masks the clipped elements.
    adapted, _ = inner_step(expand(shared, 1), sizes, demo, clipped)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in adapted.items()}
    after = imitation_loss(leaves, trial, clipped)[0].sum()
    v = {name: g[0] for name, g in gradient_of(after, leaves).items()}

    def expect(mask: Params) -> Params:
        product = sum((gradient[n] * (sizes[n] * mask[n] * v[n])).sum() for n in sizes)
        second = gradient_of(product, shared)
        return {name: v[name] - second[name] for name in shared}

    masked = expect({n: (g.abs() <= clip).double() for n, g in gradient.items()})
    unmasked = expect({n: torch.ones_like(g) for n, g in gradient.items()})
    difference = max(float((masked[n] - unmasked[n]).abs().max()) for n in shared)
    assert difference > 1e-5, 'no clipped element matters, so the test shows nothing'
    for name in shared:
        torch.testing.assert_close(got[name], masked[name], rtol=0, atol=1e-10)


# --- The meta-gradient -----------------------------------------------------------------------


def directions(tensors: Params) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(11)
    for name, tensor in tensors.items():
        yield name, torch.randn(tensor.shape, generator=generator, dtype=torch.float64)


CASES = {
    'one convolution': FULL,
    'two convolutions': DEEP,
    'video alone': VIDEO,
    'three steps, all counted': replace(FULL, inner_steps=3, multi_step_share=1.0),
}


@pytest.mark.parametrize('config', CASES.values(), ids=CASES)
@pytest.mark.parametrize('group', ['params', 'step sizes'])
def test_meta_gradient_agrees_with_finite_differences(
    config: MilConfig, group: str, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    tensors = params if group == 'params' else sizes

    def loss_of(params: Params, sizes: Params) -> Tensor:
        return meta_loss(params, sizes, demo, trial, config, step=4).objective.sum()

    gradient = gradient_of(loss_of(params, sizes), tensors)
    epsilon = 1e-6
    for name, direction in directions(tensors):
        slope = float((gradient[name] * direction).sum())

        def loss_at(offset: float, name: str = name, direction: Tensor = direction) -> float:
            moved = {**tensors, name: tensors[name] + offset * direction}
            both = (moved, sizes) if group == 'params' else (params, moved)
            return float(loss_of(*both).detach())

        measured = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * epsilon)
        if name.startswith('pre_') and group == 'step sizes' and config.inner_steps == 1:
            assert slope == measured == 0.0  # the second heads never see it
            continue
        assert abs(slope) > 1e-7, f'{name} has no meta-gradient, so the test shows nothing'
        assert slope == pytest.approx(measured, rel=1e-5, abs=1e-9), name


def test_meta_gradient_is_of_second_order(shared: Params, demo: Batch, trial: Batch) -> None:
    sizes = draw_step_sizes(shared, FULL)
    second = gradient_of(meta_loss(shared, sizes, demo, trial, FULL).objective.sum(), shared)
    adapted, _ = inner_step(expand(shared, TASKS), sizes, demo, FULL)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in adapted.items()}
    first = gradient_of(imitation_loss(leaves, trial, FULL)[0].sum(), leaves)
    assert float(first['pre_head.weight'].abs().max()) == 0.0
    assert float(second['pre_head.weight'].abs().max()) > 1e-6  # only through the inner step
