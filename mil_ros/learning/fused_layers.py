"""Convolutions for `fused_network`, in the precision of the images, by weights (B, O, C, K, K).

Before the inner step all tasks have the same weights: `network.expand` repeats them along B, and
there one convolution over the frames of all tasks does what otherwise takes one for each. The
inner step still gets a gradient for each task. Of outer gradients nothing but their sum over the
tasks counts, and inside `summing_gradients` no more than that is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Event
from typing import Any

import torch
from torch import Tensor

from mil_ros.learning.fused import Compiled
from mil_ros.learning.kernels import convolve as convolve_by_task
from mil_ros.learning.kernels import gradient_by_weight

_summing = Event()


@contextmanager
def summing_gradients() -> Iterator[None]:
    """Let gradients by weights that the tasks share be right in their sum over tasks alone."""
    _summing.set()
    try:
        yield
    finally:
        _summing.clear()


def lay_out(param: Tensor) -> Tensor:
    """Return a parameter as convolutions read it fastest: weights with the channels last."""
    return param.contiguous(memory_format=torch.channels_last) if param.dim() == 4 else param


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve the images of each task with its weights, padded by half a kernel.

    Args:
        x: Images, (T, B * C, H, W), the channels of a task side by side.
        weight: In any precision.
        stride: In both directions.

    Returns:
        (T, B * O, H', W').
    """
    is_shared = len(weight) > 1 and weight.stride(0) == 0
    if is_shared and stride == 1 and weight.shape[-1] % 2 == 1:
        result: Tensor = _SharedConvolution.apply(x, weight, False)
        return result
    cast: Tensor = _Cast.apply(weight, x.dtype)
    return convolve_by_task(x, cast, stride)


def convolve_images(images: Tensor, weight: Tensor, stride: int, precision: torch.dtype) -> Tensor:
    """Convolve images that need no gradient, as a product over the patches they are cut into.

    Args:
        images: (B, T, H, W, 3), may be bytes, which count as 255ths.
        weight: As for `convolve`.
        stride: In both directions.
        precision: Of the result.

    Returns:
        (B, T * H' * W', O).
    """
    patches = _cut_patches(images, weight.shape[-1], stride, precision)
    by_patch = weight.permute(0, 3, 4, 2, 1).flatten(1, 3)
    return torch.bmm(patches, by_patch.to(precision))


class _SharedConvolution(torch.autograd.Function):
    """x (T, B * C, H, W) convolved in steps of 1 with weights that repeat along B; or the adjoint.

    Both are bilinear in x and weight, and the gradients of each are the other and one by weight.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, is_adjoint: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.is_adjoint = is_adjoint
        shared = weight[0].to(x.dtype)
        if is_adjoint:  # convolves with weights turned by half a turn
            shared = shared.transpose(0, 1).flip((2, 3))
        return _separate(_convolve(_interleave(x, len(weight)), shared, len(weight)), len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (g,) = gradients
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = _SharedConvolution.apply(g, weight, not ctx.is_adjoint)
        if ctx.needs_input_grad[1]:
            after, before = (x, g) if ctx.is_adjoint else (g, x)
            if _summing.is_set():
                by_weight = _sum_by_weight(after, before, weight)
            else:
                by_task = gradient_by_weight(after, before, weight.shape)
                by_weight = _Cast.apply(by_task, weight.dtype)
        return by_x, by_weight, None


def _interleave(x: Tensor, tasks: int) -> Tensor:
    """Return (T, B * C, H, W) as (T, C, H, W * B), which is the same memory.

    In it the neighbours of a place are B columns away.
    """
    x = x.permute(0, 2, 3, 1).unflatten(3, (tasks, -1))
    return x.flatten(2, 3).permute(0, 3, 1, 2)


def _separate(x: Tensor, tasks: int) -> Tensor:
    """Undo `_interleave`."""
    x = x.permute(0, 2, 3, 1).unflatten(2, (-1, tasks))
    return x.flatten(3).permute(0, 3, 1, 2)


def _convolve(x: Tensor, weight: Tensor, tasks: int) -> Tensor:
    margin = weight.shape[-1] // 2
    weight = weight.contiguous(memory_format=torch.channels_last)
    y: Tensor = torch.ops.aten.convolution(
        x, weight, None, [1, 1], [margin, margin * tasks], [1, tasks], False, [0, 0], 1
    )
    return y


def _sum_by_weight(g: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Return gradients by weights that repeat along B, right in their sum over the tasks."""
    tasks, margin = len(weight), weight.shape[-1] // 2
    pair = (_interleave(tensor, tasks) for tensor in (g, x))
    total = torch.ops.aten.convolution_backward(
        *pair,
        weight[0].to(x.dtype).contiguous(memory_format=torch.channels_last),
        None,
        [1, 1],
        [margin, margin * tasks],
        [1, tasks],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    return (total.to(weight.dtype) / tasks).expand(weight.shape)


class _Cast(torch.autograd.Function):
    """Weights (B, O, C, K, K) in another precision, the channels last in memory."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, precision: torch.dtype) -> Tensor:
        ctx.precision = weight.dtype
        cast: Tensor = _cast(precision)(weight)
        return cast

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _Cast.apply(*gradients, ctx.precision), None


@cache
def _cast(precision: torch.dtype) -> Compiled:
    order, back = (0, 1, 3, 4, 2), (0, 1, 4, 2, 3)
    return Compiled(lambda x: x.to(precision).permute(order).contiguous().permute(back))


def _cut_patches(images: Tensor, kernel: int, stride: int, precision: torch.dtype) -> Tensor:
    """Cut images (B, T, H, W, 3) into what each place of a padded convolution sees."""
    tasks, frames, rows, columns, channels = images.shape
    margin = kernel // 2
    padded = images.new_zeros(
        (tasks, frames, rows + 2 * margin, columns + 2 * margin, channels), dtype=precision
    )
    padded[:, :, margin : margin + rows, margin : margin + columns] = _scale(precision)(images)
    patches: Tensor = _unfold(kernel, stride)(padded)
    return patches


@cache
def _scale(precision: torch.dtype) -> Compiled:
    def scale(images: Tensor) -> Tensor:
        return (images.float() / 255.0 if images.dtype == torch.uint8 else images).to(precision)

    return Compiled(scale)


@cache
def _unfold(kernel: int, stride: int) -> Compiled:
    def unfold(padded: Tensor) -> Tensor:
        x = padded.unfold(2, kernel, stride).unfold(3, kernel, stride)
        x = x.permute(0, 1, 2, 3, 5, 6, 4)  # (B, T, H', W', K, K, 3)
        return x.reshape(len(padded), -1, padded.shape[-1] * kernel**2)

    return Compiled(unfold)
