"""The kernels are what they say they are, and so are their first and second derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mil_ros.learning.kernels import convolve, normalise

T, B = 2, 2  # frames, tasks
GEOMETRIES = {  # height, width, kernel, stride
    'stride 1': (4, 3, 3, 1),
    'stride 2, odd sizes': (5, 7, 3, 2),
    'stride 2, even sizes': (4, 6, 3, 2),
    'stride 4, rows left over': (6, 9, 5, 4),
    'stride above the kernel': (5, 4, 1, 2),
}


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.fixture(params=GEOMETRIES)
def geometry(request: pytest.FixtureRequest) -> tuple[int, int, int, int]:
    return GEOMETRIES[request.param]


@pytest.fixture(params=[1, B], ids=['one task', 'two tasks'])
def tasks(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


def test_convolution_is_that_of_each_task_alone(
    geometry: tuple[int, int, int, int], tasks: int
) -> None:
    height, width, kernel, stride = geometry
    x, weight = draw(T, tasks * 3, height, width), draw(tasks, 4, 3, kernel, kernel, seed=1)
    got = convolve(x, weight, stride).chunk(tasks, dim=1)
    for task in range(tasks):
        alone = x[:, 3 * task : 3 * (task + 1)]
        expected = functional.conv2d(alone, weight[task], stride=stride, padding=kernel // 2)
        torch.testing.assert_close(got[task], expected)


def test_derivatives_of_the_convolution_are_those_of_finite_differences(
    geometry: tuple[int, int, int, int], tasks: int
) -> None:
    height, width, kernel, stride = geometry
    x, weight = draw(T, tasks, height, width), draw(tasks, 2, 1, kernel, kernel, seed=1)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        return convolve(x, weight, stride)

    assert torch.autograd.gradcheck(function, (x, weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, weight), fast_mode=True)


@pytest.mark.parametrize('is_x', [True, False])
def test_second_derivative_by_one_side_alone_is_right_too(
    geometry: tuple[int, int, int, int], is_x: bool
) -> None:
    height, width, kernel, stride = geometry
    x, weight = draw(T, B, height, width), draw(B, 2, 1, kernel, kernel, seed=1)
    leaf, other = (x, weight.detach()) if is_x else (weight, x.detach())

    def function(leaf: Tensor) -> Tensor:
        sides = (leaf, other) if is_x else (other, leaf)
        return convolve(*sides, stride).square()

    assert torch.autograd.gradgradcheck(function, (leaf,), fast_mode=True)


def test_normal_form_is_joint_over_places_and_channels_of_a_frame_and_task() -> None:
    x = draw(T, 5, B, 3) * torch.tensor([0.5, 2.0, 8.0]) + torch.arange(3.0)
    got = normalise(x)
    for frame in range(T):
        for task in range(B):
            alone = x[frame, :, task]
            deviation = (alone.var(unbiased=False) + 1e-5).sqrt()
            torch.testing.assert_close(got[frame, :, task], (alone - alone.mean()) / deviation)
    assert got.mean(dim=1).abs().max() > 0.1  # channels go on to differ


def test_normal_form_of_equal_activations_is_zero() -> None:
    got = normalise(torch.full((T, 5, B, 3), 7.0))
    torch.testing.assert_close(got, torch.zeros_like(got), atol=1e-3, rtol=0.0)


def test_derivatives_of_the_normal_form_are_those_of_finite_differences() -> None:
    x = draw(T, 4, B, 3)
    assert torch.autograd.gradcheck(normalise, (x,))
    assert torch.autograd.gradgradcheck(normalise, (x,))


def test_second_derivative_of_a_convolution_that_is_normalised_is_right() -> None:
    x, weight = draw(T, B, 4, 3), draw(B, 2, 1, 3, 3, seed=1)

    def function(x: Tensor, weight: Tensor) -> Tensor:
        y = convolve(x, weight, 1).permute(0, 2, 3, 1).reshape(T, 12, B, 2)
        return normalise(y).square()

    assert torch.autograd.gradgradcheck(function, (x, weight), fast_mode=True)
