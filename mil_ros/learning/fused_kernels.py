"""What lies between two convolutions and behind the last, compiled, with both derivatives.

Each derivative is written out, so that it takes few passes over memory: the sums over places in
one, the result in another, and what is summed over that follows from the sums. Nothing of the size
of the activations is kept but what the convolutions give; all else is computed from it again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mil_ros.learning.fused import check_order, Compiled
from mil_ros.learning.kernels import EPSILON


def activate(x: Tensor, bias: Tensor, offset: Tensor) -> Tensor:
    """Add a bias, normalise over places and channels, add an offset, and rectify.

    Args:
        x: Of any layout, (T, H * W, B, C); the result has its precision.
        bias: (B, C), in the precision that is reckoned in.
        offset: (B, C).
    """
    activations: Tensor = _Activation.apply(x, bias, offset)
    return activations


def locate(
    x: Tensor, bias: Tensor, offset: Tensor, temperature: Tensor, height: int, width: int
) -> Tensor:
    """Return where each channel is active: the soft-argmax of what `activate` gives.

    Args:
        x: Of any layout, (T, H * W, B, C).
        bias: (B, C), in the precision that is reckoned in.
        offset: (B, C).
        temperature: (B, C).
        height: H.
        width: W.

    Returns:
        Expected places, x then y in [-1, 1], (T, 2, B, C).
    """
    places = _make_places(height, width, bias)
    points: Tensor = _Location.apply(x, bias, offset, temperature, places)
    return points


class _Activation(torch.autograd.Function):
    """Bias, layer normalisation, offset and rectifier: (T, H * W, B, C), (B, C), (B, C).

    The derivative of a layer normalisation is that of `kernels`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, offset: Tensor) -> Tensor:
        value, mean, r = _activation(x, bias, offset)
        ctx.save_for_backward(x, bias, offset, mean, r)
        activations: Tensor = value
        return activations

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_all: tuple[Tensor, ...] = _ActivationGradient.apply(*gradients, *ctx.saved_tensors)
        return by_all


class _ActivationGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        return _activation_gradient(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        by_g, by_x, by_bias = _activation_gradient_gradient(*ctx.saved_tensors, *cotangents)
        return by_g, by_x, by_bias, None, None, None


class _Location(torch.autograd.Function):
    """`_Activation`, then expected places (T, 2, B, C) by temperatures (B, C).

    With w the softmax of y t over the places c, and p its mean of them, the gradient of a function
    with gradient g by p is s = w (c - p) g by y t. Its own derivative is written out too.
    """

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Tensor:
        p, *kept = _location(*tensors)
        ctx.save_for_backward(*tensors, p, *kept)
        points: Tensor = p
        return points

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return (*_LocationGradient.apply(*gradients, *ctx.saved_tensors), None)


class _LocationGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> Any:
        ctx.save_for_backward(*tensors)
        return _location_gradient(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        by_all = _location_gradient_gradient(*ctx.saved_tensors, *cotangents)
        return (*by_all, None, None, None, None, None)


def _normalise(x: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the normal activations and the mean and 1 / std of each frame, (T, 1, B, 1)."""
    x = x.to(bias.dtype) + bias
    mean = _mean(_sum(x), x)
    r = torch.rsqrt(_mean(_sum((x - mean).square()), x) + EPSILON)
    return (x - mean) * r, mean, r


@Compiled
def _activation(x: Tensor, bias: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the value of `_Activation`, and what `_normalise` found."""
    z, mean, r = _normalise(x, bias)
    return torch.relu(z + offset).to(x.dtype).contiguous(), mean, r


def _pull_activation(gz: Tensor, x: Tensor, z: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by x, bias and offset, given that by the normal activations z."""
    sum_z, sum_g, sum_gz = _sum(z), _sum(gz), _sum(gz * z)
    mean_g, mean_gz = _mean(sum_g, x), _mean(sum_gz, x)
    by_x = (gz - mean_g - z * mean_gz) * r
    by_bias = (sum_g - x.shape[1] * mean_g - sum_z * mean_gz) * r
    return by_x, by_bias.sum(dim=(0, 1)), sum_g.sum(dim=(0, 1))


def _pull_activation_twice(
    gz: Tensor, v: Tensor, v_offset: Tensor, x: Tensor, z: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by gz, x and bias of what weighs those of `_pull_activation`.

    Args:
        gz: As there.
        v: What weighs those by x and bias, added up.
        v_offset: What weighs that by the offset.
        x: As there.
        z: As there.
        r: As there.
    """
    sum_z, sum_g, sum_v = _sum(z), _sum(gz), _sum(v)
    sums = sum_g, _sum(gz * z), sum_v, _sum(v * z), _sum(v * gz)
    mean_g, mean_gz, mean_v, mean_vz, mean_vg = (_mean(s, x) for s in sums)
    by_gz = (v - mean_v - z * mean_vz) * r + v_offset
    centre = (mean_v * mean_gz + mean_g * mean_vz) * r
    slope = (mean_vg - mean_v * mean_g - 3.0 * mean_vz * mean_gz) * r
    by_x = (centre - (v * mean_gz + gz * mean_vz) * r - z * slope) * r
    summed = x.shape[1] * centre - (sum_v * mean_gz + sum_g * mean_vz) * r - sum_z * slope
    return by_gz, by_x, (summed * r).sum(dim=(0, 1))


@Compiled
def _activation_gradient(
    g: Tensor, x: Tensor, bias: Tensor, offset: Tensor, mean: Tensor, r: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients by x, bias and offset, given that by the value."""
    z = (x.to(bias.dtype) + (bias - mean)) * r
    by_x, by_bias, by_offset = _pull_activation(g * is_positive(z + offset), x, z, r)
    return by_x.to(x.dtype), by_bias, by_offset


@Compiled
def _activation_gradient_gradient(
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
    by_gz, by_x, by_bias = _pull_activation_twice(g * on, v_x + v_bias, v_offset, x, z, r)
    return (by_gz * on).to(g.dtype), by_x.to(x.dtype), by_bias


@Compiled
def _location(
    x: Tensor, bias: Tensor, offset: Tensor, t: Tensor, places: Tensor
) -> tuple[Tensor, ...]:
    """Return the value of `_Location`, what `_normalise` found, and -log w where y is 0."""
    z, mean, r = _normalise(x, bias)
    scores = torch.relu(z + offset) * t
    largest = scores.amax(dim=1, keepdim=True)
    weights = torch.exp(scores - largest)
    total = _sum(weights)
    return _expect(weights, places) / total, mean, r, largest + torch.log(total)


@Compiled
def _location_gradient(
    g: Tensor,
    x: Tensor,
    bias: Tensor,
    offset: Tensor,
    t: Tensor,
    places: Tensor,
    p: Tensor,
    mean: Tensor,
    r: Tensor,
    level: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients by x, bias, offset and temperatures, given that by the places."""
    z = (x.to(bias.dtype) + (bias - mean)) * r
    y = torch.relu(z + offset)
    s = torch.exp(y * t - level) * _weigh(p, g, places)
    by_x, by_bias, by_offset = _pull_activation(s * t * is_positive(y), x, z, r)
    return by_x.to(x.dtype), by_bias, by_offset, _sum(s * y).sum(dim=(0, 1))


@Compiled
def _location_gradient_gradient(
    g: Tensor,
    x: Tensor,
    bias: Tensor,
    offset: Tensor,
    t: Tensor,
    places: Tensor,
    p: Tensor,
    mean: Tensor,
    r: Tensor,
    level: Tensor,
    v_x: Tensor,
    v_bias: Tensor,
    v_offset: Tensor,
    v_t: Tensor,
) -> tuple[Tensor, ...]:
    """Return the gradients by g, x, bias, offset and t of what weighs the four above with v."""
    z = (x.to(bias.dtype) + (bias - mean)) * r
    y = torch.relu(z + offset)
    on = is_positive(y)
    w = torch.exp(y * t - level)
    d = _weigh(p, g, places)
    s = w * d
    by_gz, by_x, by_bias = _pull_activation_twice(s * t * on, v_x + v_bias, v_offset, x, z, r)
    v_y = by_gz * on
    u = v_y * t + v_t * y  # what weighs s
    uw = u * w
    weight = _sum(uw)
    by_g = _expect(uw, places) - p * weight
    by_scores = w * (u * d - (by_g * g).sum(dim=1, keepdim=True) - d * weight)
    by_t = _sum(by_scores * y + v_y * s).sum(dim=(0, 1))
    by_y = by_scores * t + v_t * s
    others = _pull_activation(by_y * on, x, z, r)
    return by_g, (by_x + others[0]).to(x.dtype), by_bias + others[1], others[2], by_t


def is_positive(x: Tensor) -> Tensor:
    """Return 1 where x is above 0, else 0; a mask of bools would make slow loops."""
    return torch.sign(torch.relu(x))


def _sum(x: Tensor) -> Tensor:
    """Return the sum over places, (T, 1, B, C)."""
    return x.sum(dim=1, keepdim=True)


def _mean(sums: Tensor, x: Tensor) -> Tensor:
    """Return the mean over places and channels, (T, 1, B, 1), of what has these sums."""
    return sums.sum(dim=3, keepdim=True) / (x.shape[1] * x.shape[3])


def _expect(weights: Tensor, places: Tensor) -> Tensor:
    """Return the sums of both coordinates with these weights, (T, 2, B, C)."""
    return torch.cat([_sum(weights * coordinate[:, None, None]) for coordinate in places], dim=1)


def _weigh(p: Tensor, g: Tensor, places: Tensor) -> Tensor:
    """Return (c - p) g, (T, H * W, B, C)."""
    xs, ys = places[:, :, None, None]
    return (xs - p[:, :1]) * g[:, :1] + (ys - p[:, 1:]) * g[:, 1:]


def _make_places(height: int, width: int, like: Tensor) -> Tensor:
    """Return where each place lies, x then y in [-1, 1], (2, H * W)."""
    ys = torch.linspace(-1.0, 1.0, height, device=like.device, dtype=like.dtype)
    xs = torch.linspace(-1.0, 1.0, width, device=like.device, dtype=like.dtype)
    return torch.stack([xs.repeat(height), ys.repeat_interleave(width)])
