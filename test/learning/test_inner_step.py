"""The inner step is the gradient step of the paper, and its meta-gradient is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import (
    Batch,
    init_step_sizes,
    inner_step,
    meta_loss,
    post_update_loss,
    pre_update_loss,
)
from mil_ros.learning.network import adapted_names, init_params, Params

CONFIG = MilConfig(
    image_height=5,
    image_width=6,
    joints=2,
    filters=(3,),
    strides=(2,),
    kernels=(3,),
    hidden=(4,),
    context=2,
    step_size=0.05,
    gradient_clip=1e6,
)
DEEP = replace(CONFIG, filters=(3, 4), strides=(2, 1), kernels=(3, 3), hidden=(5, 4))
STEPS = 4


def draw_batch(seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    options = {'generator': generator, 'dtype': torch.float64}
    images = torch.rand(STEPS, 3, 5, 6, **options)
    state, actions = torch.randn(2, STEPS, 2, **options)
    return Batch(images, state, actions, torch.randn(2, **options))


def draw_params(config: MilConfig) -> Params:
    """Return parameters in float64, none of which is zero or at the edge of a clamp."""
    generator = torch.Generator().manual_seed(5)
    params = {}
    for name, tensor in init_params(config).items():
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        params[name] = tensor.double() + 0.1 + 0.3 * noise
        if 'weight' in name:
            params[name] = tensor.double() + 0.4 * (noise - 0.5)
        params[name].requires_grad_()
    return params


@pytest.fixture
def params() -> Params:
    return draw_params(CONFIG)


@pytest.fixture
def demo() -> Batch:
    return draw_batch(1)


@pytest.fixture
def trial() -> Batch:
    return draw_batch(2)


def sizes_for(params: Params, config: MilConfig = CONFIG) -> Params:
    """Return step sizes that differ from element to element."""
    generator = torch.Generator().manual_seed(9)
    sizes = {}
    for name, size in init_step_sizes(params, config).items():
        factor = 0.5 + torch.rand(size.shape, generator=generator, dtype=torch.float64)
        sizes[name] = (size.detach() * factor).requires_grad_()
    return sizes


# --- The gradient, derived by hand -----------------------------------------------------------


def patches(images: np.ndarray) -> np.ndarray:
    """Return what a 3x3 kernel of stride 2 sees in padded images, (T, H', W', 3, 3, 3)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = range(0, images.shape[2], 2), range(0, images.shape[3], 2)
    return np.stack(
        [np.stack([padded[:, :, i : i + 3, j : j + 3] for j in columns], 1) for i in rows], 1
    )


def derive_by_hand(p: dict[str, np.ndarray], demo: Batch) -> tuple[float, dict[str, np.ndarray]]:
    """Return the loss on a demonstration and its gradient by the chain rule, line by line."""
    images, state, actions = (t.numpy() for t in (demo.images, demo.state, demo.actions))
    seen, context_seen = patches(images), patches(p['image_context'][None])[0]
    y = np.einsum('thwcij,fcij->tfhw', seen, p['conv0.weight'])
    y += np.einsum('hwcij,fcij->fhw', context_seen, p['conv0.context_weight'])
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
    context = np.broadcast_to(p['context'], (STEPS, 2))
    a = np.concatenate([context, points, final, state], axis=1)
    hidden = a @ p['fc0.weight'].T + p['fc0.bias']
    active = np.maximum(hidden, 0.0)
    error = active @ p['pre_head.weight'].T + p['pre_head.bias'] - actions
    final_error = final - demo.final.numpy()
    weight_of_final = CONFIG.final_pose_weight
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
    g['conv0.context_weight'] = np.einsum('tfhw,hwcij->fcij', d_y, context_seen)
    d_context = np.zeros((3, 7, 8))  # padded
    for i in range(h):
        for j in range(w):
            part = np.einsum('tf,fcij->cij', d_y[:, :, i, j], p['conv0.context_weight'])
            d_context[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += part
    g['image_context'] = d_context[:, 1:-1, 1:-1]
    return loss, g


def test_inner_step_is_the_gradient_step_derived_by_hand(params: Params, demo: Batch) -> None:
    sizes = sizes_for(params)
    adapted, loss = inner_step(params, sizes, demo, CONFIG)
    arrays = {name: tensor.detach().numpy() for name, tensor in params.items()}
    expected_loss, gradient = derive_by_hand(arrays, demo)
    assert float(loss) == pytest.approx(expected_loss, rel=1e-12)
    assert set(gradient) == set(adapted_names(params))
    for name, element in gradient.items():
        assert np.abs(element).max() > 1e-5, f'{name} has no gradient, so the test shows nothing'
        expected = arrays[name] - sizes[name].detach().numpy() * element
        np.testing.assert_allclose(adapted[name].detach().numpy(), expected, rtol=0, atol=1e-13)


def test_inner_step_lowers_the_loss_on_the_demonstration(params: Params, demo: Batch) -> None:
    adapted, before = inner_step(params, sizes_for(params), demo, CONFIG)
    assert float(pre_update_loss(adapted, demo, CONFIG)) < 0.99 * float(before)


# --- Two heads, clip, step size --------------------------------------------------------------


def test_first_heads_are_adapted_and_the_second_ones_and_norms_are_not(
    params: Params, demo: Batch
) -> None:
    adapted, _ = inner_step(params, sizes_for(params), demo, CONFIG)
    assert set(adapted) == set(params)
    for name in params:
        if name.startswith(('head.', 'final.', 'norm')):
            assert adapted[name] is params[name]
        else:
            assert (adapted[name] - params[name]).abs().max() > 1e-7, name


def test_step_size_of_zero_leaves_every_parameter_bit_for_bit(params: Params, demo: Batch) -> None:
    sizes = {name: torch.zeros_like(size) for name, size in sizes_for(params).items()}
    adapted, _ = inner_step(params, sizes, demo, CONFIG)
    assert all(torch.equal(adapted[name], params[name]) for name in params)


def test_step_sizes_start_alike_and_one_per_adapted_element(params: Params) -> None:
    sizes = init_step_sizes(params, CONFIG)
    assert list(sizes) == adapted_names(params)
    for name, size in sizes.items():
        assert size.shape == params[name].shape
        assert set(size.flatten().tolist()) == {CONFIG.step_size}


def test_gradient_is_clipped_element_by_element(params: Params, demo: Batch) -> None:
    gradient = gradient_of(pre_update_loss(params, demo, CONFIG), params)['fc0.weight']
    clip = float(gradient.detach().abs().median())
    adapted, _ = inner_step(params, sizes_for(params), demo, replace(CONFIG, gradient_clip=clip))
    step = (params['fc0.weight'] - adapted['fc0.weight']) / sizes_for(params)['fc0.weight']
    assert (gradient.abs() > clip).any()
    torch.testing.assert_close(step, gradient.clamp(-clip, clip), rtol=0, atol=1e-12)


def gradient_of(loss: Tensor, tensors: Params, graph: bool = False) -> Params:
    """Return the gradient by name, zero where the loss does not depend on a tensor."""
    found = torch.autograd.grad(
        loss, list(tensors.values()), create_graph=graph, retain_graph=True, allow_unused=True
    )
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(tensors.items(), found)
    }


def test_clipped_element_carries_no_second_order_gradient(
    params: Params, demo: Batch, trial: Batch
) -> None:
    sizes = {name: size.detach() for name, size in sizes_for(params).items()}
    inner = {name: params[name] for name in sizes}
    gradient = gradient_of(pre_update_loss(params, demo, CONFIG), inner, graph=True)
    clip = float(torch.cat([g.detach().flatten() for g in gradient.values()]).abs().median())
    clipped = replace(CONFIG, gradient_clip=clip)
    got = gradient_of(meta_loss(params, sizes, demo, trial, clipped)[0], params)

    # d post / d p = v - H (s m v), where v is the gradient at the adapted parameters, H the
    # Hessian of the inner loss, s the step sizes and m masks the clipped elements.
    adapted = {n: t.detach() for n, t in inner_step(params, sizes, demo, clipped)[0].items()}
    leaves = {name: tensor.requires_grad_() for name, tensor in adapted.items()}
    v = gradient_of(post_update_loss(leaves, trial, clipped)[0], leaves)

    def expect(mask: Params) -> Params:
        product = sum((gradient[n] * (sizes[n] * mask[n] * v[n])).sum() for n in sizes)
        second = gradient_of(product, params)
        return {name: v[name] - second[name] for name in params}

    masked = expect({n: (g.abs() <= clip).double() for n, g in gradient.items()})
    unmasked = expect({n: torch.ones_like(g) for n, g in gradient.items()})
    difference = max(float((masked[n] - unmasked[n]).abs().max()) for n in params)
    assert difference > 1e-5, 'no clipped element matters, so the test shows nothing'
    for name in params:
        torch.testing.assert_close(got[name], masked[name], rtol=0, atol=1e-10)


# --- The meta-gradient -----------------------------------------------------------------------


def directions(tensors: Params) -> Iterator[tuple[str, Tensor]]:
    generator = torch.Generator().manual_seed(11)
    for name, tensor in tensors.items():
        yield name, torch.randn(tensor.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize('config', [CONFIG, DEEP], ids=['one convolution', 'two convolutions'])
@pytest.mark.parametrize('group', ['params', 'step sizes'])
def test_meta_gradient_agrees_with_finite_differences(
    config: MilConfig, group: str, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    sizes = sizes_for(params, config)
    tensors = params if group == 'params' else sizes
    loss = meta_loss(params, sizes, demo, trial, config)[0]
    gradient = gradient_of(loss, tensors)
    epsilon = 1e-6
    for name, direction in directions(tensors):
        slope = float((gradient[name] * direction).sum())

        def loss_at(offset: float, name: str = name, direction: Tensor = direction) -> float:
            moved = {**tensors, name: tensors[name] + offset * direction}
            both = (moved, sizes) if group == 'params' else (params, moved)
            return float(meta_loss(*both, demo, trial, config)[0].detach())

        measured = (loss_at(epsilon) - loss_at(-epsilon)) / (2 * epsilon)
        if name.startswith('pre_') and group == 'step sizes':
            assert slope == measured == 0.0  # the second heads never see it
            continue
        assert abs(slope) > 1e-7, f'{name} has no meta-gradient, so the test shows nothing'
        assert slope == pytest.approx(measured, rel=1e-5, abs=1e-9), name


def test_meta_gradient_is_of_second_order(params: Params, demo: Batch, trial: Batch) -> None:
    sizes = sizes_for(params)
    second = gradient_of(meta_loss(params, sizes, demo, trial, CONFIG)[0], params)
    adapted, _ = inner_step(params, sizes, demo, CONFIG)
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in adapted.items()}
    first = gradient_of(post_update_loss(leaves, trial, CONFIG)[0], leaves)
    assert float(first['pre_head.weight'].abs().max()) == 0.0
    assert float(second['pre_head.weight'].abs().max()) > 1e-6  # only through the inner step
