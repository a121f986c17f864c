"""Tracing the policy and the inner step into ONNX graphs.

The inner step is a gradient, which the exporter does not know how to take; it is traced into
plain tensor operations first, with the backward pass of convolutions written as slices and matrix
products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from mil_ros.learning.batches import FINAL_SHARE, Normaliser
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, inner_step, pre_update_loss
from mil_ros.learning.network import expand, forward, Params, POST_UPDATE, PRE_UPDATE

OPSET = 18
STREAMS = ('images', 'joint_positions', 'joint_velocities')


def policy_names(params: Params) -> list[str]:
    """Return the parameters that acting needs, in the order of the graph's inputs."""
    return [name for name in params if not name.startswith(PRE_UPDATE)]


def adapt_names(params: Params) -> list[str]:
    """Return the parameters that adapting needs, in the order of the graph's inputs."""
    return [name for name in params if not name.startswith(POST_UPDATE)]


def export_policy(params: Params, normaliser: Normaliser, config: MilConfig, path: Path) -> None:
    """Write the graph ``image, joint_positions, <parameters> -> joint_velocities``."""
    names, exact = policy_names(params), replace(config, precision='float32', compiled=False)

    def act(image: Tensor, joint_positions: Tensor, *weights: Tensor) -> Tensor:
        batch = _to_batch(image, joint_positions, joint_positions, normaliser)
        leaves = expand(dict(zip(names, weights, strict=True)), 1)
        action, _ = forward(leaves, batch.images, batch.state, exact)
        return action[0] * normaliser.action_std

    example = (
        torch.zeros(1, config.image_height, config.image_width, 3, dtype=torch.uint8),
        torch.zeros(1, config.joints),
        *(params[n].detach() for n in names),
    )
    inputs = ['image', 'joint_positions', *names]
    _export(act, example, inputs, ['joint_velocities'], path)


def export_adapt(
    params: Params, step_sizes: Params, normaliser: Normaliser, config: MilConfig, path: Path
) -> None:
    """Write the graph of one inner step.

    ``images, joint_positions, joint_velocities, <parameters>, step_size.<parameter> ...`` to
    ``adapted.<parameter> ..., loss_before, loss_after``. A policy that adapts to video alone has
    neither joint positions nor velocities among its inputs.
    """
    names, adapted = adapt_names(params), list(step_sizes)
    exact = replace(config, precision='float32', compiled=False)

    streams = ['images'] if config.modality == 'video' else list(STREAMS)

    def adapt(*inputs: Tensor) -> tuple[Tensor, ...]:
        images, weights = inputs[0], inputs[len(streams) :]
        absent = torch.zeros(len(images), config.joints)
        positions, velocities = inputs[1 : len(streams)] or (absent, absent)
        batch = _to_batch(images, positions, velocities, normaliser, config.shots)
        leaves = {n: w.detach().requires_grad_() for n, w in zip(names, weights, strict=False)}
        sizes = dict(zip(adapted, weights[len(names) :], strict=True))
        after = expand(leaves, 1)
        losses = []
        for _ in range(config.inner_steps):
            after, loss = inner_step(after, sizes, batch, exact)
            losses.append(loss[0])
        losses.append(pre_update_loss(after, batch, exact)[0])
        return (*(after[n][0] for n in adapted), losses[0], losses[-1])

    steps = config.shots * config.demo_frames
    example = (
        torch.zeros(steps, config.image_height, config.image_width, 3, dtype=torch.uint8),
        *(torch.zeros(steps, config.joints) for _ in streams[1:]),
        *(params[n].detach() for n in names),
        *(step_sizes[n].detach() for n in adapted),
    )
    inputs = [*streams, *names]
    inputs += [f'step_size.{n}' for n in adapted]
    outputs = [f'adapted.{n}' for n in adapted] + ['loss_before', 'loss_after']
    _export(adapt, example, inputs, outputs, path)


def _to_batch(
    images: Tensor,
    joint_positions: Tensor,
    joint_velocities: Tensor,
    normaliser: Normaliser,
    shots: int = 1,
) -> Batch:
    demos = joint_positions.view(shots, -1, joint_positions.shape[1])  # (K, T, J)
    last = max(1, demos.shape[1] // FINAL_SHARE)
    final = demos[:, -last:].mean(dim=1, keepdim=True).expand_as(demos).flatten(0, 1)
    arrays = (images, joint_positions, joint_velocities, final)
    return normaliser.to_batch(*(array[None] for array in arrays))


def _export(
    function: Callable[..., Any],
    example: tuple[Tensor, ...],
    inputs: list[str],
    outputs: list[str],
    path: Path,
) -> None:
    table = torch._decomp.core_aten_decompositions()
    table[torch.ops.aten.convolution_backward.default] = _convolution_backward
    graph = make_fx(function, decomposition_table=dict(table.items()))(*example)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph.eval()
    program = torch.onnx.export(
        graph,
        example,
        input_names=inputs,
        output_names=outputs,
        dynamo=True,
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None  # only None when a path is given
    model = program.model_proto
    del model.metadata_props[:]
    for node in model.graph.node:  # stack traces and file names of the exporting machine
        del node.metadata_props[:]
        node.doc_string = ''
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Write the backward pass of a plain 2-D convolution in operations that ONNX has.

    The weight gradient is one matrix product over patches: runtimes are slow at the dilated
    convolution with a huge kernel that is the textbook alternative.
    """
    assert not transposed
    assert groups == 1
    assert set(dilation) == {1}
    n, o, h, w = gradient.shape
    kernel_h, kernel_w = weight.shape[2:]
    grad_x = grad_weight = grad_bias = None
    if output_mask[0]:
        extra = [
            x.shape[2 + i]
            - ((gradient.shape[2 + i] - 1) * stride[i] - 2 * padding[i] + weight.shape[2 + i])
            for i in (0, 1)
        ]
        grad_x = torch.ops.aten.convolution.default(
            gradient, weight, None, stride, padding, [1, 1], True, extra, 1
        )
    if output_mask[1]:
        padded = torch.nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
        patches = [
            padded[
                :,
                :,
                i : i + (h - 1) * stride[0] + 1 : stride[0],
                j : j + (w - 1) * stride[1] + 1 : stride[1],
            ]
            for i in range(kernel_h)
            for j in range(kernel_w)
        ]  # each (N, C, h, w)
        columns = torch.cat(patches, dim=1).reshape(n, -1, h * w)  # (N, K*C, h*w)
        product = torch.matmul(gradient.reshape(n, o, h * w), columns.transpose(1, 2)).sum(
            dim=0
        )  # (O, K*C)
        grad_weight = product.reshape(o, kernel_h * kernel_w, -1).transpose(1, 2)
        grad_weight = grad_weight.reshape(weight.shape)
    if output_mask[2]:
        grad_bias = gradient.sum(dim=(0, 2, 3))
    return grad_x, grad_weight, grad_bias
