"""The inner step of MAML and the meta-objective (paper, equations 1 to 3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mil_ros.learning import fused_network
from mil_ros.learning.config import MilConfig
from mil_ros.learning.network import adapted_names, expand, forward, learned_loss, Params


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Frames of demonstrations, one set per task, as the network wants them.

    Attributes:
        images: RGB in [0, 1], or bytes for a compiled network, (B, T, H, W, 3).
        state: Normalised joint positions, (B, T, J).
        actions: Normalised joint velocities, (B, T, J).
        final: Normalised joint positions at the end of the demonstration that a frame is from,
            (B, T, J).
    """

    images: Tensor
    state: Tensor
    actions: Tensor
    final: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, tasks: slice) -> Batch:
        return Batch(*(getattr(self, name)[tasks] for name in self.__slots__))


@dataclass(frozen=True, eq=False, slots=True)
class Losses:
    """What a meta-batch costs, per task, (B,) each.

    Attributes:
        objective: What training minimises.
        action: Loss of the actions on the trial after the last inner step.
        before: Loss on the demonstration before the first inner step.
    """

    objective: Tensor
    action: Tensor
    before: Tensor


def init_step_sizes(params: Params, config: MilConfig) -> Params:
    """Return one initial step size per element of each adapted parameter (Meta-SGD)."""
    return {n: torch.full_like(params[n], config.step_size) for n in adapted_names(params, config)}


def pre_update_loss(params: Params, demo: Batch, config: MilConfig) -> Tensor:
    """Return the loss on the demonstration, (B,), through the first heads or the learned loss."""
    if config.modality == 'video':
        return learned_loss(params, demo.images, config)
    return imitation_loss(params, demo, config, 'pre_')[0]


def imitation_loss(
    params: Params,
    batch: Batch,
    config: MilConfig,
    prefix: str = '',
    embedding: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the imitation loss, whole and of the actions alone, (B,) each.

    Mean squared errors of normalised actions and of the predicted final pose.
    """
    actions, final = forward(params, batch.images, batch.state, config, prefix, embedding)
    action_loss = (actions - batch.actions).square().mean(dim=(1, 2))
    final_loss = (final - batch.final).square().mean(dim=(1, 2))
    return action_loss + config.final_pose_weight * final_loss, action_loss


def inner_step(
    params: Params,
    step_sizes: Params,
    demo: Batch,
    config: MilConfig,
    *,
    is_first_order: bool = False,
) -> tuple[Params, Tensor]:
    """Take one gradient step per task on its demonstration.

    Each element of the gradient is clipped inside the graph, so a clipped element carries no
    second-order gradient; the result is differentiable in `params` and `step_sizes`.

    Args:
        params: Parameters per task.
        step_sizes: One per element of each adapted parameter, shared by the tasks.
        demo: What to adapt to.
        config: Network and options.
        is_first_order: Whether the gradient counts as a constant (first-order MAML).

    Returns:
        Adapted parameters per task (the unadapted ones as they were) and the losses before the
        step, (B,).
    """
    names = list(step_sizes)
    loss = pre_update_loss(params, demo, config)
    gradients = torch.autograd.grad(
        loss.sum(), [params[n] for n in names], create_graph=not is_first_order
    )
    adapted = dict(params)
    if config.compiled:
        sizes = [step_sizes[n] for n in names]
        before = [params[n] for n in names]
        stepped = fused_network.update(before, sizes, list(gradients), config.gradient_clip)
        adapted.update(zip(names, stepped, strict=True))
        return adapted, loss
    for name, gradient in zip(names, gradients, strict=True):
        clipped = gradient.clamp(-config.gradient_clip, config.gradient_clip)
        adapted[name] = params[name] - step_sizes[name] * clipped
    return adapted, loss


def meta_loss(
    params: Params,
    step_sizes: Params,
    demo: Batch,
    trial: Batch,
    config: MilConfig,
    step: int | None = None,
) -> Losses:
    """Return the meta-objective: the loss on each trial after adapting to its demonstration.

    Args:
        params: Parameters shared by the tasks.
        step_sizes: Learned inner step sizes.
        demo: What to adapt to.
        trial: What to be judged by.
        config: Network and options.
        step: Meta-training step, which decides what is still annealed; None when nothing is.
    """
    adapted = expand(params, len(demo))
    progress = 1.0 if step is None else step / config.steps
    is_first_order = progress < config.first_order_share
    weights = _step_weights(config, progress)
    objective = torch.zeros(len(demo), device=trial.images.device)
    before: Tensor | None = None
    for weight in weights:
        adapted, loss = inner_step(
            adapted, step_sizes, demo, config, is_first_order=is_first_order
        )
        before = loss.detach() if before is None else before
        if weight > 0.0:
            after, action = imitation_loss(adapted, trial, config)
            objective = objective + weight * after
    assert before is not None  # the configuration has at least one inner step
    return Losses(objective, action.detach(), before)


def _step_weights(config: MilConfig, progress: float) -> list[float]:
    """Return the weight of the loss after each inner step; they sum to 1.

    With a multi-step loss (MAML++, arXiv 1810.09502, section 4.1) all count alike at first and
    the last alone from `multi_step_share` of the training on.
    """
    n = config.inner_steps
    share = config.multi_step_share
    spread = max(0.0, 1.0 - progress / share) if share > 0.0 else 0.0
    return [spread / n + (1.0 - spread if i == n - 1 else 0.0) for i in range(n)]
