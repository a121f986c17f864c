"""Differentiable kernels for networks whose every task has weights of its own.

After the inner step each task of a meta-batch has other weights. Run one by one, small networks
spend their time in overhead; here the tasks are the groups of one grouped convolution. All
derivatives are closed under further differentiation, which the second order of MAML needs:
a convolution, its gradient by input and its gradient by weight are each other's derivatives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-5


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Convolve the images of each task with its own weights, padded by half a kernel.

    Args:
        x: Images, (T, B * C, H, W), the channels of a task side by side.
        weight: (B, O, C, K, K).
        stride: In both directions.

    Returns:
        (T, B * O, H', W').
    """
    tasks, filters, channels, kernel, _ = weight.shape
    grouped = weight.reshape(tasks * filters, channels, kernel, kernel)
    if tasks > 1:
        grouped = grouped.contiguous(memory_format=torch.channels_last)
    result: Tensor = _Convolution.apply(x, grouped, (stride, kernel // 2, tasks))
    return result


def gradient_by_weight(gradient: Tensor, x: Tensor, shape: torch.Size) -> Tensor:
    """Return the gradient by the weights of `convolve` with stride 1, (B, O, C, K, K).

    Args:
        gradient: By what `convolve` returns, (T, B * O, H, W).
        x: Images, (T, B * C, H, W).
        shape: Of the weights.
    """
    tasks, filters, channels, kernel, _ = shape
    like = x.new_empty(tasks * filters, channels, kernel, kernel)
    like = like.contiguous(memory_format=torch.channels_last)
    result: Tensor = _WeightGradient.apply(gradient, x, like, (1, kernel // 2, tasks))
    return result.view(shape)


def normalise(x: Tensor) -> Tensor:
    """Normalise each frame over places and channels jointly, without gain (layer norm).

    Args:
        x: Activations, (T, H * W, B, C).
    """
    normal: Tensor = _Normalisation.apply(x)[0]
    return normal


_Geometry = tuple[int, int, int]  # stride, padding, groups


def _backward(
    gradient: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, mask: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    stride, padding, groups = geometry
    result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        groups,
        mask,
    )
    return result


class _Convolution(torch.autograd.Function):
    """y = x * w."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: _Geometry) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        stride, padding, groups = geometry
        y: Tensor = torch.ops.aten.convolution(
            x, weight, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups
        )
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        by_x = by_weight = None
        if ctx.needs_input_grad[0]:
            by_x = _InputGradient.apply(gradient, weight, x.detach(), ctx.geometry)
        if ctx.needs_input_grad[1]:
            by_weight = _WeightGradient.apply(gradient, x, weight.detach(), ctx.geometry)
        return by_x, by_weight, None


class _InputGradient(torch.autograd.Function):
    """The adjoint of the convolution as a map of x; bilinear in gradient and weight."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, weight: Tensor, x_like: Tensor, geometry: _Geometry
    ) -> Tensor:
        ctx.save_for_backward(gradient, weight)
        ctx.geometry = geometry
        return _backward(gradient, x_like, weight, geometry, [True, False, False])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, weight = ctx.saved_tensors
        (v,) = gradients
        by_gradient = by_weight = None
        if ctx.needs_input_grad[0]:
            by_gradient = _Convolution.apply(v, weight, ctx.geometry)
        if ctx.needs_input_grad[1]:
            by_weight = _WeightGradient.apply(gradient, v, weight.detach(), ctx.geometry)
        return by_gradient, by_weight, None, None


class _WeightGradient(torch.autograd.Function):
    """The adjoint of the convolution as a map of the weight; bilinear in gradient and x."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, x: Tensor, weight_like: Tensor, geometry: _Geometry
    ) -> Tensor:
        ctx.save_for_backward(gradient, x)
        ctx.geometry = geometry
        return _backward(gradient, x, weight_like, geometry, [False, True, False])[1]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gradient, x = ctx.saved_tensors
        (v,) = gradients
        by_gradient = by_x = None
        if ctx.needs_input_grad[0]:
            by_gradient = _Convolution.apply(x, v, ctx.geometry)
        if ctx.needs_input_grad[1]:
            by_x = _InputGradient.apply(gradient, v, x.detach(), ctx.geometry)
        return by_gradient, by_x, None, None


def _mean(x: Tensor) -> Tensor:
    """Return the mean over places and channels, (T, 1, B, 1)."""
    return x.mean(dim=(1, 3), keepdim=True)


class _Normalisation(torch.autograd.Function):
    """z = (x - mean) r with r = 1 / std; returns z and r so that both carry gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        centred = x - _mean(x)
        r = torch.rsqrt(_mean(centred.square()) + EPSILON)  # (T, 1, B, 1)
        z = centred * r
        ctx.save_for_backward(z, r)
        return z, r

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        by_x: Tensor = _NormalisationGradient.apply(*gradients, *ctx.saved_tensors)
        return by_x


class _NormalisationGradient(torch.autograd.Function):
    """r (g - mean g - z (mean gz + g_r r / n)), g and g_r being the gradients by z and r.

    The usual formula for layer normalisation; its own derivative is written out because the one
    that autograd would assemble takes three times as many passes over the activations.
    """

    @staticmethod
    def forward(ctx: Any, g: Tensor, g_r: Tensor, z: Tensor, r: Tensor) -> Tensor:
        mean_g, mean_gz = _mean(g), _mean(g * z)
        scale = mean_gz + g_r * r / (z.shape[1] * z.shape[3])
        ctx.save_for_backward(g, g_r, z, r, mean_g, mean_gz)
        return torch.addcmul(g - mean_g, z, scale, value=-1.0) * r

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        g, g_r, z, r, mean_g, mean_gz = ctx.saved_tensors
        (v,) = gradients
        n = z.shape[1] * z.shape[3]
        mean_v, mean_vz = _mean(v), _mean(v * z)
        scale = mean_gz + g_r * r / n
        by_g = torch.addcmul(v - mean_v, z, mean_vz, value=-1.0) * r
        by_z = -torch.addcmul(v * (scale * r), g, mean_vz * r)
        inner = n * (_mean(v * g) - mean_v * mean_g - mean_vz * mean_gz)
        by_r = inner - 2.0 * mean_vz * g_r * r
        return by_g, -mean_vz * r.square(), by_z, by_r
