"""What fewer bits cost: the gradients point where they would with more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import draw_batch, draw_params, draw_step_sizes, gradient_of, TASKS
import torch

from mil_ros.learning import network, precision
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, meta_loss
from mil_ros.learning.network import expand, Params

CONFIG = MilConfig(
    image_height=12,
    image_width=16,
    joints=3,
    filters=(8, 8),
    strides=(2, 1),
    kernels=(5, 3),
    hidden=(16,),
    context=3,
    frames=6,
    loss_filters=6,
    gradient_clip=1e6,
)
MODALITIES = {'full': CONFIG, 'video': replace(CONFIG, modality='video')}


def meta_gradient(config: MilConfig, kind: torch.dtype) -> tuple[float, Params]:
    """Return the meta-objective and its gradient, the parameters being of some type."""

    def convert(tensors: Params) -> Params:
        return {n: t.detach().to(kind).requires_grad_() for n, t in tensors.items()}

    drawn = draw_params(config)
    params, sizes = convert(drawn), convert(draw_step_sizes(drawn, config))
    demo, trial = (
        Batch(*(getattr(batch, name).to(kind) for name in batch.__slots__))
        for batch in (draw_batch(seed, config, config.frames) for seed in (1, 2))
    )
    loss = meta_loss(params, sizes, demo, trial, config).objective.sum()
    leaves = {**params, **{f'step_size.{name}': size for name, size in sizes.items()}}
    gradient = gradient_of(loss, leaves)
    assert all(gradient[name].dtype == kind for name in leaves)
    return loss.item(), {name: g.double() for name, g in gradient.items()}


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one * other).sum() / (one.norm() * other.norm()))


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
def test_bfloat16_convolutions_hardly_turn_the_meta_gradient(config: MilConfig) -> None:
    loss, exact = meta_gradient(replace(config, precision='float32'), torch.float32)
    rough_loss, rough = meta_gradient(replace(config, precision='bfloat16'), torch.float32)
    assert rough_loss != loss
    assert rough_loss == pytest.approx(loss, rel=0.02)
    whole = [torch.cat([g.flatten() for g in tensors.values()]) for tensors in (exact, rough)]
    assert cosine(*whole) > 0.995
    for name in ('conv0.weight', 'conv1.weight', 'temperature', 'fc0.weight', 'context'):
        assert cosine(exact[name], rough[name]) > 0.97, name


@pytest.mark.parametrize('config', MODALITIES.values(), ids=MODALITIES)
def test_float32_is_near_float64(config: MilConfig) -> None:
    exact_loss, exact = meta_gradient(replace(config, precision='float64'), torch.float64)
    loss, gradient = meta_gradient(replace(config, precision='float32'), torch.float32)
    assert loss == pytest.approx(exact_loss, rel=1e-5)
    for name, expected in exact.items():
        error = float((gradient[name] - expected).norm())
        assert error <= 1e-3 * float(expected.norm()) + 1e-7, name


@pytest.mark.parametrize('precision', ['bfloat16', 'float32', 'float64'])
def test_precision_is_that_of_the_convolutions_alone(precision: str) -> None:
    config = replace(CONFIG, precision=precision)
    params = expand({n: p.float() for n, p in draw_params(config).items()}, TASKS)
    images = draw_batch(1, config).images.float()
    used: list[torch.dtype] = []
    original = network.convolve

    def spy(x: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
        used.extend([x.dtype, weight.dtype])
        return original(x, weight, stride)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, 'convolve', spy)
        points = network.features(params, images, config)
    assert used == [getattr(torch, precision)] * 4
    assert points.dtype == torch.float32


def test_double_precision_is_kept_from_the_images_to_the_points() -> None:
    """Regressions pinned: feature maps were rounded to float32 in between."""
    config = replace(CONFIG, precision='float64')
    params = expand(draw_params(config), TASKS)
    images = draw_batch(1, config).images
    nudge = 1e-11 * draw_batch(2, config).images
    before, after = (network.features(params, x, config) for x in (images, images + nudge))
    assert before.dtype == torch.float64
    assert (after != before).any(dim=2).all(), 'a frame was rounded to what it was'
    assert (after - before).abs().max() < 1e-9


@pytest.mark.parametrize(
    ('bfloat16_s', 'float32_s', 'fastest'),
    [(1.0, 2.0, 'bfloat16'), (2.0, 1.0, 'float32'), (1.0, 1.0, 'bfloat16')],
)
def test_fastest_precision_is_that_of_the_least_time(
    monkeypatch: pytest.MonkeyPatch, bfloat16_s: float, float32_s: float, fastest: str
) -> None:
    least = {'bfloat16': bfloat16_s, 'float32': float32_s}
    calls = iter(range(10**6))
    slow_at_first = (10.0 if next(calls) < 4 else 0.0 for _ in calls)
    monkeypatch.setattr(
        precision, '_time_convolution', lambda name: least[name] + next(slow_at_first)
    )
    assert precision.fastest_precision('cpu') == fastest


def test_both_precisions_are_timed_on_the_same_convolution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = set()
    monkeypatch.setattr(precision, 'convolve', lambda x, w, _: seen.add((x.dtype, w.dtype)))
    precision.fastest_precision('cpu')
    assert seen == {(kind, kind) for kind in (torch.bfloat16, torch.float32)}


@pytest.mark.parametrize(
    ('capability', 'fastest'), [((8, 0), 'bfloat16'), ((9, 0), 'bfloat16'), ((7, 5), 'float32')]
)
def test_gpu_is_asked_for_its_generation(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fastest: str
) -> None:
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda _: capability)
    assert precision.fastest_precision('cuda:0') == fastest
