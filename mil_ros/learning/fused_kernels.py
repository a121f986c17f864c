"""What lies between two convolutions and behind the last, compiled, with both derivatives.

Each derivative is written out, so that it takes few passes over memory: the sums over places in
one, the result in another, and what is summed over that follows from the sums.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from mil_ros.learning.fused import check_order, Compiled
from mil_ros.learning.kernels import EPSILON


def activate(x: Tensor, bias: Tensor, offset: Tensor, precision: torch.dtype) -> Tensor:
    """Add a bias, normalise over places and channels, add an offset, and rectify.

    Args:
        x: Of any layout, (T, H * W, B, C).
        bias: (B, C), in the precision that is reckoned in.
        offset: (B, C).
        precision: Of the result.
    """
    activations: Tensor = _Activation.apply(x, bias, offset, precision)
    return activations


def soft_argmax(y: Tensor, temperature: Tensor, height: int, width: int) -> Tensor:
    """Return expected places, x then y in [-1, 1], (T, 2, B, C).

    Args:
        y: Activations, (T, H * W, B, C).
        temperature: (B, C).
        height: H.
        width: W.
    """
    points: Tensor = _SoftArgmax.apply(y, temperature, _make_places(height, width, y))
    return points


class _Activation(torch.autograd.Function):
    """Bias, layer normalisation, offset and rectifier: (T, H * W, B, C), (B, C), (B, C).

    The derivative of a layer normalisation is that of `kernels`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, bias: Tensor, offset: Tensor, precision: torch.dtype
    ) -> Tensor:
        value, mean, r = _activation(precision)(x, bias, offset)
        ctx.save_for_backward(x, bias, offset, mean, r)
        activations: Tensor = value
        return activations

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*_ActivationGradient.apply(*gradients, *ctx.saved_tensors), None)


class _ActivationGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        return _pull_activation(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        by_g, by_x, by_bias = _pull_activation_twice(*ctx.saved_tensors, *cotangents)
        return by_g, by_x, by_bias, None, None, None


@cache
def _activation(precision: torch.dtype) -> Compiled:
    """Return the value of `_Activation`, with the mean and 1 / std of each frame, (T, 1, B, 1)."""

    def activate(x: Tensor, bias: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = x.to(bias.dtype) + bias
        mean = _mean(_sum(x), x)
        r = torch.rsqrt(_mean(_sum((x - mean).square()), x) + EPSILON)
        value = torch.relu((x - mean) * r + offset)
        return value.to(precision).contiguous(), mean, r

    return Compiled(activate)


@Compiled
def _pull_activation(
    g: Tensor, x: Tensor, bias: Tensor, offset: Tensor, mean: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by x, bias and offset, given that by the value."""
    z = (x.to(bias.dtype) + (bias - mean)) * r
    gz = g.to(bias.dtype) * is_positive(z + offset)
    sum_z, sum_g, sum_gz = _sum(z), _sum(gz), _sum(gz * z)
    mean_g, mean_gz = _mean(sum_g, x), _mean(sum_gz, x)
    by_x = (gz - mean_g - z * mean_gz) * r
    by_bias = (sum_g - x.shape[1] * mean_g - sum_z * mean_gz) * r
    return by_x.to(x.dtype), by_bias.sum(dim=(0, 1)), sum_g.sum(dim=(0, 1))


@Compiled
def _pull_activation_twice(
    g: Tensor,
    x: Tensor,
    bias: Tensor,
    offset: Tensor,
    mean: Tensor,
    r: Tensor,
    v_x: Tensor,
    v_bias: Tensor,
    v_offset: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by g, x and bias of what weighs the three above with v."""
    z = (x.to(bias.dtype) + (bias - mean)) * r
    on = is_positive(z + offset)
    gz, v = g.to(bias.dtype) * on, v_x.to(bias.dtype) + v_bias
    sum_z, sum_g, sum_v = _sum(z), _sum(gz), _sum(v)
    sums = sum_g, _sum(gz * z), sum_v, _sum(v * z), _sum(v * gz)
    mean_g, mean_gz, mean_v, mean_vz, mean_vg = (_mean(s, x) for s in sums)
    by_g = on * ((v - mean_v - z * mean_vz) * r + v_offset)
    centre = (mean_v * mean_gz + mean_g * mean_vz) * r
    slope = (mean_vg - mean_v * mean_g - 3.0 * mean_vz * mean_gz) * r
    by_x = (centre - (v * mean_gz + gz * mean_vz) * r - z * slope) * r
    summed = x.shape[1] * centre - (sum_v * mean_gz + sum_g * mean_vz) * r - sum_z * slope
    return by_g.to(g.dtype), by_x.to(x.dtype), (summed * r).sum(dim=(0, 1))


def is_positive(x: Tensor) -> Tensor:
    """Return 1 where x is above 0, else 0; a mask of bools would make slow loops."""
    return torch.sign(torch.relu(x))


def _sum(x: Tensor) -> Tensor:
    """Return the sum over places, (T, 1, B, C)."""
    return x.sum(dim=1, keepdim=True)


def _mean(sums: Tensor, x: Tensor) -> Tensor:
    """Return the mean over places and channels, (T, 1, B, 1), of what has these sums."""
    return sums.sum(dim=3, keepdim=True) / (x.shape[1] * x.shape[3])


class _SoftArgmax(torch.autograd.Function):
    """Expected places, (T, 2, B, C), of activations (T, H * W, B, C) and temperatures (B, C).

    With w the softmax of y t over the places c, and p its mean of them, the gradient of a function
    with gradient g by p is s = w (c - p) g by y t. Its own derivative is written out too.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, temperature: Tensor, places: Tensor) -> Tensor:
        w = torch.softmax(y * temperature, dim=1)
        frames, count, tasks, channels = y.shape
        p = torch.matmul(places, w.view(frames, count, -1)).view(frames, 2, tasks, channels)
        ctx.save_for_backward(y, temperature, w, p, places)
        return p

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*_SoftArgmaxGradient.apply(*gradients, *ctx.saved_tensors), None)


class _SoftArgmaxGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        return _pull_soft_argmax(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        by_all = _pull_soft_argmax_twice(*ctx.saved_tensors, *cotangents)
        return (*by_all, None, None, None)


@Compiled
def _pull_soft_argmax(
    g: Tensor, y: Tensor, t: Tensor, w: Tensor, p: Tensor, places: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients by activations and temperatures, given that by the places."""
    s = w * _weigh(p, g, places)
    return s * t, _sum(s * y).sum(dim=(0, 1))


@Compiled
def _pull_soft_argmax_twice(
    g: Tensor,
    y: Tensor,
    t: Tensor,
    w: Tensor,
    p: Tensor,
    places: Tensor,
    v_y: Tensor,
    v_t: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by g, y and t of what weighs the two above with v."""
    u = v_y * t + v_t * y  # what weighs s
    uw = u * w
    mean = _sum(uw)
    xs, ys = places[:, :, None, None]
    by_g = torch.cat([_sum(uw * xs), _sum(uw * ys)], dim=1) - p * mean
    d = _weigh(p, g, places)
    s, total = w * d, _sum(by_g * g)
    by_scores = w * (u * d - total - d * mean)
    by_t = _sum(by_scores * y + v_y * s).sum(dim=(0, 1))
    return by_g, by_scores * t + v_t * s, by_t


def _weigh(p: Tensor, g: Tensor, places: Tensor) -> Tensor:
    """Return (c - p) g, (T, H * W, B, C)."""
    xs, ys = places[:, :, None, None]
    return (xs - p[:, :1]) * g[:, :1] + (ys - p[:, 1:]) * g[:, 1:]


def _make_places(height: int, width: int, like: Tensor) -> Tensor:
    """Return where each place lies, x then y in [-1, 1], (2, H * W)."""
    ys = torch.linspace(-1.0, 1.0, height, device=like.device, dtype=like.dtype)
    xs = torch.linspace(-1.0, 1.0, width, device=like.device, dtype=like.dtype)
    return torch.stack([xs.repeat(height), ys.repeat_interleave(width)])
