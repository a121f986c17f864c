"""Tiny networks in float64, drawn so that no gradient of them vanishes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from mil_ros.learning.baselines import init_encoder
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, init_step_sizes
from mil_ros.learning.network import init_params, Params

FULL = MilConfig(
    image_height=5,
    image_width=6,
    joints=2,
    filters=(3,),
    strides=(2,),
    kernels=(3,),
    hidden=(4,),
    context=2,
    image_context=True,
    loss_filters=3,
    loss_kernel=2,
    loss_layers=2,
    lstm_width=4,
    frames=4,
    trial_frames=4,
    demo_frames=4,
    steps=10,
    step_size=0.05,
    gradient_clip=1e6,
    precision='float64',
)
DEEP = replace(
    FULL, filters=(3, 4), strides=(2, 1), kernels=(3, 3), hidden=(5, 4), image_context=False
)
VIDEO = replace(FULL, modality='video')
TRAINED = MilConfig(
    image_height=12,
    image_width=16,
    filters=(3, 4),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(8,),
    context=3,
    loss_filters=4,
    loss_layers=1,
    frames=4,
    meta_batch=2,
    learning_rate=1e-3,
    steps=4,
)
TASKS = 2


def draw_batch(seed: int, config: MilConfig = FULL, frames: int = 4) -> Batch:
    """Return frames of two tasks."""
    generator = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        shape = (TASKS, frames, config.joints)
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    size = (TASKS, frames, config.image_height, config.image_width, 3)
    images = torch.rand(size, generator=generator, dtype=torch.float64)
    return Batch(images, normal(), normal(), normal())


def draw_params(config: MilConfig, seed: int = 5) -> Params:
    """Return parameters that all tasks share, none of them zero or at the edge of a clamp."""
    generator = torch.Generator().manual_seed(seed)
    params = {}
    for name, tensor in (init_params(config) | init_encoder(config)).items():
        noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        shift = 0.4 * (noise - 0.5) if 'weight' in name else 0.1 + 0.3 * noise
        params[name] = (tensor.double() + shift).requires_grad_()
    return params


def draw_task_params(config: MilConfig) -> Params:
    """Return parameters that differ from task to task, as they do after an inner step."""
    drawn = [draw_params(config, seed) for seed in range(5, 5 + TASKS)]
    return {
        name: torch.stack([params[name].detach() for params in drawn]).requires_grad_()
        for name in drawn[0]
    }


def draw_step_sizes(params: Params, config: MilConfig) -> Params:
    """Return step sizes that differ from element to element."""
    generator = torch.Generator().manual_seed(9)
    sizes = {}
    for name, size in init_step_sizes(params, config).items():
        factor = 0.5 + torch.rand(size.shape, generator=generator, dtype=torch.float64)
        sizes[name] = (size.detach() * factor).requires_grad_()
    return sizes


def gradient_of(loss: Tensor, tensors: Params, graph: bool = False) -> Params:
    """Return the gradient by name, zero where the loss does not depend on a tensor."""
    found = torch.autograd.grad(
        loss, list(tensors.values()), create_graph=graph, retain_graph=True, allow_unused=True
    )
    return {
        name: torch.zeros_like(tensor) if gradient is None else gradient
        for (name, tensor), gradient in zip(tensors.items(), found)
    }


def take_task(params: Params, task: int) -> Params:
    """Return the parameters of one task alone, (1, ...) each."""
    return {name: tensor[task, None] for name, tensor in params.items()}
