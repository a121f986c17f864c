"""From datasets to tensors: sampling of tasks, demonstrations and frames, and normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from mil_ros.data.dataset import Dataset
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch

_STD_FLOOR_RAD = 1e-3
_STD_FLOOR_RAD_S = 0.05  # so that joints which hardly move do not dominate the loss
_STATS_TASKS = 200
FINAL_SHARE = 6  # the last sixth of a demonstration is its end


@dataclass(frozen=True, eq=False, slots=True)
class Normaliser:
    """Scales of the training data.

    Attributes:
        state_mean: Of joint positions, (J,) in rad.
        state_std: Of joint positions, (J,) in rad.
        action_std: Of joint velocities around zero, (J,) in rad/s.
    """

    state_mean: Tensor
    state_std: Tensor
    action_std: Tensor

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> Normaliser:
        """Measure the scales on tasks from all over a dataset."""
        spread = np.linspace(0, len(dataset) - 1, min(len(dataset), _STATS_TASKS)).round()
        tasks = [dataset.load(int(i)) for i in spread]
        joints = tasks[0].joint_positions.shape[-1]
        states = np.concatenate([t.joint_positions.reshape(-1, joints) for t in tasks])
        actions = np.concatenate([t.joint_velocities.reshape(-1, joints) for t in tasks])
        return cls(
            torch.from_numpy(states.mean(axis=0)),
            torch.from_numpy(np.maximum(states.std(axis=0), _STD_FLOOR_RAD)),
            torch.from_numpy(np.maximum(np.sqrt((actions**2).mean(axis=0)), _STD_FLOOR_RAD_S)),
        )

    def to(self, device: torch.device | str) -> Normaliser:
        """Return the same scales on a device; what they scale will be there too."""
        return Normaliser(*(getattr(self, name).to(device) for name in self.__slots__))

    def to_batch(
        self,
        images: Tensor,
        positions: Tensor,
        velocities: Tensor,
        final: Tensor,
        *,
        keeps_bytes: bool = False,
    ) -> Batch:
        """Return what the network sees.

        Args:
            images: RGB, (B, T, H, W, 3) uint8.
            positions: Joint positions, (B, T, J) in rad.
            velocities: Joint velocities, (B, T, J) in rad/s.
            final: Pose that the demonstration of each frame ends in, (B, T, J) in rad.
            keeps_bytes: Whether the images stay as they are, for a compiled network.
        """
        return Batch(
            images if keeps_bytes else images.float().div_(255.0),
            (positions - self.state_mean) / self.state_std,
            velocities / self.action_std,
            (final - self.state_mean) / self.state_std,
        )


def sample_meta_batch(
    dataset: Dataset,
    normaliser: Normaliser,
    config: MilConfig,
    step: int,
    share: tuple[int, int] = (0, 1),
) -> tuple[Batch, Batch]:
    """Return demonstrations and trials, one of each per task, for a meta-training step.

    They are on the device of the normaliser, where they go before they are scaled: as bytes.

    Depends on nothing but its arguments, so training resumes with the very batches that it
    would have seen, and several processes see together what one would.

    Args:
        dataset: Tasks to draw from.
        normaliser: Scales of the data.
        config: How much to draw.
        step: Meta-training step.
        share: Rank and number of the processes that share the tasks of a step.
    """
    rng = np.random.default_rng([config.seed, step])
    tasks = rng.choice(len(dataset), config.meta_batch, replace=False)
    draws = [_draw(rng, dataset, config, int(task)) for task in tasks]
    rank, processes = share
    sides = zip(*draws[rank::processes], strict=True)
    demo, trial = (_read(dataset, normaliser, side, config.compiled) for side in sides)
    return demo, trial


_Frames = tuple[int, list[tuple[int, NDArray[np.int64]]]]  # task, then (demo, time steps) of each


def _draw(
    rng: np.random.Generator, dataset: Dataset, config: MilConfig, task: int
) -> tuple[_Frames, _Frames]:
    """Choose the frames of one task: of K demonstrations to adapt to, and of one trial."""
    demos, steps = dataset.shape(task)
    order = rng.choice(demos, config.shots + 1, replace=False)
    draw = _spread_frames if config.is_ordered else _any_frames
    shown = [(int(k), draw(rng, steps, config.frames)) for k in order[1:]]
    judged = [(int(order[0]), _any_frames(rng, steps, config.trial_frames))]
    return (task, shown), (task, judged)


def _any_frames(rng: np.random.Generator, steps: int, frames: int) -> NDArray[np.int64]:
    return np.sort(rng.choice(steps, frames, replace=False))


def _spread_frames(rng: np.random.Generator, steps: int, frames: int) -> NDArray[np.int64]:
    """Choose frames spread evenly with some jitter, the last of all among them."""
    spacing = (steps - 1) / max(1, frames - 1)
    places = np.linspace(steps - 1.0, 0.0, frames)[::-1].copy()  # a single one is the last
    places[:-1] += rng.uniform(-0.5, 0.5, size=frames - 1) * spacing
    return np.clip(places.round(), 0, steps - 1).astype(np.int64)


def _read(
    dataset: Dataset, normaliser: Normaliser, draws: tuple[_Frames, ...], keeps_bytes: bool
) -> Batch:
    parts: list[tuple[NDArray[Any], ...]] = []
    for task, demos in draws:
        data = dataset.load(task)
        for k, at in demos:
            positions = data.joint_positions[k]
            final = np.broadcast_to(final_pose(positions), (len(at), len(normaliser.state_mean)))
            parts.append((data.images[k, at], positions[at], data.joint_velocities[k, at], final))
    device = normaliser.state_mean.device
    joined = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    by_task = (tensor.view(len(draws), -1, *tensor.shape[1:]).to(device) for tensor in joined)
    return normaliser.to_batch(*by_task, keeps_bytes=keeps_bytes)


def final_pose(joint_positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pose that a demonstration ends in, (T, J) -> (J,) in rad.

    The mean of the last sixth, which averages over what disturbs the motion.
    """
    last = max(1, len(joint_positions) // FINAL_SHARE)
    return joint_positions[-last:].mean(axis=0)
