"""Adapting and acting in torch: the reference for the exported graphs, and the baselines."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from mil_ros.core.errors import ConfigError, DemoError
from mil_ros.core.types import check_shots, Demo, Observation, Vector
from mil_ros.learning.baselines import embed
from mil_ros.learning.batches import final_pose
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.inner_step import Batch, imitation_loss, inner_step
from mil_ros.learning.network import expand, forward, Params


class TorchPolicy:
    """A policy of any method, in float32; implements `core.types.Policy`."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        inner_steps: int | None = None,
        step_scale: float = 1.0,
        finetune_steps: int = 0,
        finetune_rate: float = 1e-3,
    ) -> None:
        """Take over the parameters of a checkpoint.

        Args:
            checkpoint: Trained state.
            inner_steps: Gradient steps on the demonstration instead of those trained for.
            step_scale: Factor on the learned step sizes.
            finetune_steps: Steps of Adam on the demonstration (transfer learning).
            finetune_rate: Its learning rate.

        Raises:
            ConfigError: If fine-tuning is asked of a policy that has no actions to learn from, or
                that reads the demonstration in a way of its own.
        """
        self.config = replace(checkpoint.config, precision='float32', compiled=False)
        if finetune_steps and self.config.modality == 'video':
            raise ConfigError(
                'Got finetune steps for a policy of modality video; fine-tuning needs the '
                'demonstrated actions, expected modality full.'
            )
        if finetune_steps and self.config.method != 'bc':
            raise ConfigError(
                f'Got finetune steps for a policy of method {self.config.method}, which reads the '
                'demonstration in a way of its own; expected one trained with method=bc.'
            )
        self.normaliser = checkpoint.normaliser
        self._shared = {n: p.detach() for n, p in checkpoint.params.items()}
        self._step_sizes = {n: s.detach() * step_scale for n, s in checkpoint.step_sizes.items()}
        self._inner_steps = self.config.inner_steps if inner_steps is None else inner_steps
        self._finetune = (finetune_steps, finetune_rate)
        self._params = expand(self._shared, 1)
        self._embedding: torch.Tensor | None = None

    def adapt(self, *demos: Demo) -> TorchPolicy:
        """Return a policy that knows the demonstrations; see `core.types.Policy`.

        Raises:
            DemoError: If they are not as many as the policy was trained for, or lack the actions
                that it adapts to.
        """
        check_shots(demos, self.config.shots)
        if self.config.modality == 'full' and any(demo.is_video_only for demo in demos):
            raise DemoError(
                'Demo is a video without joint states and actions, the policy adapts to all '
                'three; record it with /recorder/start or use a policy of modality video.'
            )
        batch = self._to_batch(*(demo.subsample(self.config.demo_frames) for demo in demos))
        policy = TorchPolicy.__new__(TorchPolicy)
        policy.__dict__.update(self.__dict__)
        if self.config.method == 'mil':
            policy._params = self._take_inner_steps(batch)
        elif self._finetune[0]:
            policy._params = self._take_adam_steps(batch)
        else:
            with torch.no_grad():
                policy._embedding = embed(self._shared, batch, self.config)
        return policy

    def act(self, observation: Observation) -> Vector:
        """Return joint velocities, (J,) in rad/s; see `core.types.Policy`."""
        positions = observation.joint_positions[None].astype(np.float32)
        batch = self._to_batch(Demo(observation.image[None], positions, np.zeros_like(positions)))
        with torch.no_grad():
            actions, _ = forward(
                self._params, batch.images, batch.state, self.config, embedding=self._embedding
            )
        velocities: Vector = (actions[0, 0] * self.normaliser.action_std).double().numpy()
        return velocities

    def _to_batch(self, *demos: Demo) -> Batch:
        """Return the demonstrations of one task; what a video does not show is zero."""
        parts = []
        for demo in demos:
            positions, velocities = demo.joint_positions, demo.joint_velocities
            if demo.is_video_only:
                positions = velocities = np.zeros((len(demo), self.config.joints), np.float32)
            final = np.broadcast_to(final_pose(positions), positions.shape)
            parts.append((demo.images, positions, velocities, final))
        arrays = (np.concatenate(kind)[None] for kind in zip(*parts, strict=True))
        return self.normaliser.to_batch(*(torch.from_numpy(array) for array in arrays))

    def _take_inner_steps(self, batch: Batch) -> Params:
        params = expand(self._shared, 1)
        for _ in range(self._inner_steps):
            leaves = {n: p.detach().requires_grad_() for n, p in params.items()}
            params, _ = inner_step(
                leaves, self._step_sizes, batch, self.config, is_first_order=True
            )
        return {n: p.detach() for n, p in params.items()}

    def _take_adam_steps(self, batch: Batch) -> Params:
        steps, rate = self._finetune
        params = {n: p.clone().requires_grad_() for n, p in self._shared.items()}
        optimiser = torch.optim.Adam(params.values(), lr=rate)
        for _ in range(steps):
            optimiser.zero_grad()
            loss, _ = imitation_loss(expand(params, 1), batch, self.config)
            loss.sum().backward()
            optimiser.step()
        return expand({n: p.detach() for n, p in params.items()}, 1)
