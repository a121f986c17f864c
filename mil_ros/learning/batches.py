"""From datasets to tensors: sampling of tasks, demonstrations and frames, and normalisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

from mil_ros.core.types import Demo
from mil_ros.data.dataset import Dataset, TaskData
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
        """Measure the scales on the first tasks of a dataset."""
        tasks = [dataset.load(i) for i in range(min(len(dataset), _STATS_TASKS))]
        joints = tasks[0].joint_positions.shape[-1]
        states = np.concatenate([t.joint_positions.reshape(-1, joints) for t in tasks])
        actions = np.concatenate([t.joint_velocities.reshape(-1, joints) for t in tasks])
        return cls(
            torch.from_numpy(states.mean(axis=0)),
            torch.from_numpy(np.maximum(states.std(axis=0), _STD_FLOOR_RAD)),
            torch.from_numpy(np.maximum(np.sqrt((actions**2).mean(axis=0)), _STD_FLOOR_RAD_S)),
        )

    def to_batch(
        self,
        images: NDArray[np.uint8],
        joint_positions: NDArray[np.float32],
        joint_velocities: NDArray[np.float32],
        final_pose: NDArray[np.float32],
    ) -> Batch:
        """Return tensors from (T, H, W, 3) uint8, (T, J) rad, (T, J) rad/s and (J,) rad."""
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)
        return Batch(
            pixels.float().div(255.0).contiguous(),  # (T, 3, H, W)
            (torch.from_numpy(joint_positions) - self.state_mean) / self.state_std,
            torch.from_numpy(joint_velocities) / self.action_std,
            (torch.from_numpy(final_pose) - self.state_mean) / self.state_std,
        )

    def demo_to_batch(self, demo: Demo) -> Batch:
        """Return the tensors of a whole demonstration."""
        positions = demo.joint_positions
        final = final_pose(positions)
        return self.to_batch(demo.images, positions, demo.joint_velocities, final)


def sample_meta_batch(
    dataset: Dataset,
    normaliser: Normaliser,
    config: MilConfig,
    step: int,
    share: tuple[int, int] = (0, 1),
) -> list[tuple[Batch, Batch]]:
    """Return (demonstration, trial) pairs, one per task, for a meta-training step.

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
    demos, frames = dataset.info.demos, dataset.steps
    draws = []
    for task in rng.choice(len(dataset), config.meta_batch, replace=False):
        pair = rng.choice(demos, 2, replace=False)
        steps = [np.sort(rng.choice(frames, config.frames, replace=False)) for _ in pair]
        draws.append((int(task), list(zip(pair, steps, strict=True))))
    rank, processes = share
    batches = []
    for task, sides in draws[rank::processes]:
        data = dataset.load(task)
        demo, trial = (_to_batch(data, int(k), at, normaliser) for k, at in sides)
        batches.append((demo, trial))
    return batches


def _to_batch(data: TaskData, k: int, steps: NDArray[np.int64], normaliser: Normaliser) -> Batch:
    return normaliser.to_batch(
        data.images[k][steps],
        data.joint_positions[k][steps],
        data.joint_velocities[k][steps],
        final_pose(data.joint_positions[k]),
    )


def final_pose(joint_positions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the pose that a demonstration ends in, (T, J) -> (J,) in rad.

    The mean of the last sixth, which averages over what disturbs the motion.
    """
    last = max(1, len(joint_positions) // FINAL_SHARE)
    return joint_positions[-last:].mean(axis=0)
