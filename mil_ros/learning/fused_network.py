"""The policy network of `network`, from compiled pieces: the same values in less time.

What lies between two convolutions is one piece, which reads and writes them in the precision of
the convolutions and reckons in that of the parameters; the soft-argmax and the layers behind it
are others. The first convolution is a matrix product over the patches of the image, which carry no
gradient and are cut out once for all orders of derivatives.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.fused import check_order, Compiled
from mil_ros.learning.fused_kernels import activate, is_positive, locate
from mil_ros.learning.fused_layers import convolve, convolve_images

Params = dict[str, Tensor]


def features(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return the expected image position of each feature channel.

    As `network.features`, but for learned image contexts; images may be bytes, too.
    """
    tasks, frames, rows, columns, _ = images.shape
    precision = getattr(torch, config.precision)
    last = len(config.strides) - 1
    x = images
    for i, stride in enumerate(config.strides):
        weight, filters = params[f'conv{i}.weight'], config.filters[i]
        bias, offset = params[f'conv{i}.bias'], params[f'norm{i}.beta']
        rows, columns = ((n + stride - 1) // stride for n in (rows, columns))
        if i == 0:
            y = convolve_images(x, weight, stride, precision)
            y = y.view(tasks, frames, rows * columns, filters).permute(1, 2, 0, 3)
        else:
            x = convolve(x, weight, stride)
            y = x.permute(0, 2, 3, 1).reshape(frames, rows * columns, tasks, filters)
        if i == last:
            points = locate(y, bias, offset, params['temperature'], rows, columns)
        else:
            y = activate(y, bias, offset)
            x = y.view(frames, rows, columns, tasks * filters).permute(0, 3, 1, 2)
    return points.permute(2, 0, 1, 3).reshape(tasks, frames, -1)


def update(
    params: list[Tensor], step_sizes: list[Tensor], gradients: list[Tensor], clip: float
) -> list[Tensor]:
    """Return parameters after a gradient step whose gradient is clipped element by element.

    Args:
        params: Of each task, (B, ...).
        step_sizes: One per element, shared by the tasks, (...).
        gradients: As the parameters.
        clip: Bound on each element of the gradients.
    """
    return list(_Update.apply(clip, *params, *step_sizes, *gradients))


class _Update(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, clip: float, *tensors: Tensor) -> tuple[Tensor, ...]:
        step, ctx.pull = _update(clip)
        ctx.save_for_backward(*tensors[len(tensors) // 3 :])
        stepped: tuple[Tensor, ...] = step(*tensors)
        return stepped

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        return (None, *gradients, *ctx.pull(*gradients, *ctx.saved_tensors))


@cache
def _update(clip: float) -> tuple[Compiled, Compiled]:
    """Return `_Update` and its derivative, given those by what it returns."""

    def split(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
        count = len(tensors) // 3
        return zip(tensors[:count], tensors[count:-count], tensors[-count:], strict=True)

    def step(*tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(p - size * g.clamp(-clip, clip) for p, size, g in split(tensors))

    def pull(*tensors: Tensor) -> tuple[Tensor, ...]:
        by_sizes = [-(by * g.clamp(-clip, clip)).sum(dim=0) for by, _, g in split(tensors)]
        by_g = [-by * size * is_positive(clip - g.abs()) for by, size, g in split(tensors)]
        return (*by_sizes, *by_g)

    return Compiled(step), Compiled(pull)
