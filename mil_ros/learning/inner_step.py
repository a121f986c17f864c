"""The inner step of MAML and the meta-objective (paper, equations 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.network import adapted_names, forward, Params


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Part of one demonstration, as the network wants it.

    Attributes:
        images: RGB in [0, 1], (T, 3, H, W).
        state: Normalised joint positions, (T, J).
        actions: Normalised joint velocities, (T, J).
        final: Normalised joint positions at the end of the demonstration, (J,).
    """

    images: Tensor
    state: Tensor
    actions: Tensor
    final: Tensor


def init_step_sizes(params: Params, config: MilConfig) -> Params:
    """Return one initial step size per element of each adapted parameter (Meta-SGD)."""
    return {n: torch.full_like(params[n], config.step_size) for n in adapted_names(params)}


def pre_update_loss(params: Params, demo: Batch, config: MilConfig) -> Tensor:
    """Return the loss on the demonstration, through the first head; a scalar."""
    return _imitation_loss(params, demo, config, 'pre_')[0]


def post_update_loss(params: Params, trial: Batch, config: MilConfig) -> tuple[Tensor, Tensor]:
    """Return the imitation loss through the second heads, whole and of the actions alone."""
    return _imitation_loss(params, trial, config, '')


def _imitation_loss(
    params: Params, batch: Batch, config: MilConfig, prefix: str
) -> tuple[Tensor, Tensor]:
    actions, final = forward(params, batch.images, batch.state, config, prefix)
    action_loss = (actions - batch.actions).square().mean()
    final_loss = (final - batch.final).square().mean()
    return action_loss + config.final_pose_weight * final_loss, action_loss


def inner_step(
    params: Params, step_sizes: Params, demo: Batch, config: MilConfig
) -> tuple[Params, Tensor]:
    """Take one gradient step on a demonstration.

    Each element of the gradient is clipped inside the graph, so a clipped element carries no
    second-order gradient; the result is differentiable in `params` and `step_sizes`.

    Returns:
        Adapted parameters (the unadapted ones as they were) and the loss before the step.
    """
    names = list(step_sizes)
    loss = pre_update_loss(params, demo, config)
    gradients = torch.autograd.grad(loss, [params[n] for n in names], create_graph=True)
    adapted = dict(params)
    for name, gradient in zip(names, gradients, strict=True):
        clipped = gradient.clamp(-config.gradient_clip, config.gradient_clip)
        adapted[name] = params[name] - step_sizes[name] * clipped
    return adapted, loss


def meta_loss(
    params: Params, step_sizes: Params, demo: Batch, trial: Batch, config: MilConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the meta-objective of one task.

    Returns:
        The loss on the trial after one inner step, its part that is due to the actions, and the
        loss on the demonstration before the step.
    """
    adapted, before = inner_step(params, step_sizes, demo, config)
    after, actions = post_update_loss(adapted, trial, config)
    return after, actions, before
