"""The policy network of `network`, from compiled pieces: the same values in less time.

What lies between two convolutions is one piece, which reads and writes them in the precision of
the convolutions and reckons in that of the parameters; the soft-argmax and the layers behind it
are others. The first convolution is a matrix product over the patches of the image, which carry no
gradient and are cut out once for all orders of derivatives.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mil_ros.learning.config import MilConfig
from mil_ros.learning.fused import check_order, Compiled, Fused
from mil_ros.learning.kernels import convolve, EPSILON

Params = dict[str, Tensor]


def features(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return the expected image position of each feature channel.

    As `network.features`, but for learned image contexts.
    """
    tasks, frames, rows, columns, _ = images.shape
    precision = getattr(torch, config.precision)
    last = len(config.strides) - 1
    x = images
    for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True)):
        weight, filters = params[f'conv{i}.weight'], config.filters[i]
        bias, offset = params[f'conv{i}.bias'], params[f'norm{i}.beta']
        rows, columns = ((n + stride - 1) // stride for n in (rows, columns))
        if i == 0:
            by_patch = weight.permute(0, 3, 4, 2, 1).reshape(tasks, -1, filters).to(precision)
            y = torch.bmm(_cut_patches(kernel, stride, precision)(x), by_patch)
            y = y.view(tasks, frames, rows * columns, filters).permute(1, 2, 0, 3)
        else:
            x = convolve(x, weight.to(precision), stride)
            y = x.permute(0, 2, 3, 1).reshape(frames, rows * columns, tasks, filters)
        y = _activation(bias.dtype if i == last else precision)(y, bias, offset)
        x = y.view(frames, rows, columns, tasks * filters).permute(0, 3, 1, 2)
    points: Tensor = _SoftArgmax.apply(y, params['temperature'], (rows, columns))
    return points.permute(2, 0, 1, 3).reshape(tasks, frames, -1)


@cache
def _cut_patches(kernel: int, stride: int, precision: torch.dtype) -> Compiled:
    """Cut images (B, T, H, W, 3) into what each place of a padded convolution sees."""

    def cut(images: Tensor) -> Tensor:
        padding = kernel // 2
        x = functional.pad(images.to(precision), (0, 0, padding, padding, padding, padding))
        x = x.unfold(2, kernel, stride).unfold(3, kernel, stride)
        x = x.permute(0, 1, 2, 3, 5, 6, 4)  # (B, T, H', W', K, K, 3)
        return x.reshape(len(images), -1, 3 * kernel**2)

    return Compiled(cut)


@cache
def _activation(precision: torch.dtype) -> Fused:
    """Bias, layer normalisation, offset and rectifier: (T, H * W, B, C), (B, C), (B, C)."""

    def activate(x: Tensor, bias: Tensor, offset: Tensor) -> Tensor:
        x = x.to(bias.dtype) + bias
        centred = x - _mean(x)
        normal = centred * torch.rsqrt(_mean(centred.square()) + EPSILON)
        return torch.relu(normal + offset).to(precision).contiguous()

    return Fused(activate)


def _mean(x: Tensor) -> Tensor:
    """Return the mean over places and channels; in two steps, which makes faster loops."""
    return x.sum(dim=1, keepdim=True).sum(dim=3, keepdim=True) / (x.shape[1] * x.shape[3])


class _SoftArgmax(torch.autograd.Function):
    """Expected places, (T, 2, B, C), of activations (T, H * W, B, C) and temperatures (B, C).

    With w the softmax of y t over the places c, and p its mean of them, the gradient of a function
    with gradient g by p is s = w (c - p) g by y t. Its own derivative is written out below; the
    one that `Fused` would derive takes the softmax anew and three times as long.
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, temperature: Tensor, size: tuple[int, int]) -> Tensor:
        value, ctx.pull, ctx.pull_twice = _soft_argmax(*size)
        p, w = value(y, temperature)
        ctx.save_for_backward(y, temperature, w, p)
        points: Tensor = p
        return points

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pulls = ctx.pull, ctx.pull_twice
        return (*_SoftArgmaxGradient.apply(pulls, *gradients, *ctx.saved_tensors), None)


class _SoftArgmaxGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pulls: tuple[Compiled, Compiled], *tensors: Tensor) -> Any:
        pull, ctx.pull_twice = pulls
        ctx.save_for_backward(*tensors)
        return pull(*tensors)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        return (None, *ctx.pull_twice(*ctx.saved_tensors, *cotangents), None, None)


@cache
def _soft_argmax(height: int, width: int) -> tuple[Compiled, Compiled, Compiled]:
    """Return the orders of `_SoftArgmax`."""

    def places(like: Tensor) -> tuple[Tensor, Tensor]:
        xs = torch.linspace(-1.0, 1.0, width, dtype=like.dtype, device=like.device)
        ys = torch.linspace(-1.0, 1.0, height, dtype=like.dtype, device=like.device)
        return xs.repeat(height)[:, None, None], ys.repeat_interleave(width)[:, None, None]

    def away(p: Tensor, g: Tensor) -> Tensor:
        """Return (c - p) g, (T, H * W, B, C)."""
        xs, ys = places(p)
        return (xs - p[:, :1]) * g[:, :1] + (ys - p[:, 1:]) * g[:, 1:]

    def value(y: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        scores = y * t
        e = torch.exp(scores - scores.amax(dim=1, keepdim=True))
        w = e / e.sum(dim=1, keepdim=True)
        return torch.stack([(w * c).sum(dim=1) for c in places(y)], dim=1), w

    def pull(g: Tensor, y: Tensor, t: Tensor, w: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        s = w * away(p, g)
        return s * t, (s * y).sum(dim=(0, 1))

    def pull_twice(
        g: Tensor, y: Tensor, t: Tensor, w: Tensor, p: Tensor, by_y: Tensor, by_t: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        u = by_y * t + by_t * y  # what the result weighs s with
        uw = u * w
        mean = uw.sum(dim=1, keepdim=True)
        moved = [
            (uw * c).sum(dim=1, keepdim=True) - p[:, k : k + 1] * mean
            for k, c in enumerate(places(y))
        ]
        by_g = torch.cat(moved, dim=1)
        d = away(p, g)
        s, total = w * d, (by_g * g).sum(dim=1, keepdim=True)
        by_scores = w * (u * d - total - d * mean)
        return by_g, by_scores * t + by_t * s, (by_scores * y + by_y * s).sum(dim=(0, 1))

    return Compiled(value), Compiled(pull), Compiled(pull_twice)
