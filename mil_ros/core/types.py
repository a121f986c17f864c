"""Data that crosses layers.

Shape legend, used in every docstring and shape comment of the package:
``B`` tasks, ``K`` demonstrations, ``T`` time steps, ``H W C`` image rows, columns and channels,
``J`` joints. Images are RGB uint8; positions are in rad, velocities in rad/s, stamps in ns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import DemoError

Image = NDArray[np.uint8]  # (H, W, 3)
Vector = NDArray[np.float64]  # (J,)

# Where demonstrated actions come from
COMMANDED: Final = 'commanded'  # what a teleoperator asked for
MEASURED: Final = 'measured'  # what the arm did, however it was moved
AUTO: Final = 'auto'  # the first where there is any, else the second


@dataclass(frozen=True, eq=False, slots=True)
class Observation:
    """What the policy sees at one moment.

    Attributes:
        image: RGB frame at the policy's size, (H, W, 3) uint8.
        joint_positions: In the robot file's joint order, (J,) in rad.
    """

    image: Image
    joint_positions: Vector


@dataclass(frozen=True, eq=False, slots=True)
class Demo:
    """One demonstration, aligned at the policy's rate.

    Attributes:
        images: RGB frames at the policy's size, (T, H, W, 3) uint8.
        joint_positions: In the robot file's joint order, (T, J) in rad; (T, 0) in a demonstration
            by video alone.
        joint_velocities: Demonstrated actions, (T, J) in rad/s; (T, 0) likewise.
        action_source: Where these come from, ``commanded`` or ``measured``; empty if there are
            none.
    """

    images: NDArray[np.uint8]
    joint_positions: NDArray[np.float32]
    joint_velocities: NDArray[np.float32]
    action_source: str = COMMANDED

    def __post_init__(self) -> None:
        steps = {len(self.images), len(self.joint_positions), len(self.joint_velocities)}
        if len(steps) != 1:
            raise DemoError(
                f'Demo has {len(self.images)} frames, {len(self.joint_positions)} joint states '
                f'and {len(self.joint_velocities)} actions; align the streams to one length.'
            )
        for name in ('joint_positions', 'joint_velocities'):
            if not np.isfinite(getattr(self, name)).all():
                raise DemoError(
                    f'Demo has non-finite {name}; expected finite numbers, record it again.'
                )

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def from_video(cls, images: NDArray[np.uint8]) -> Demo:
        """Return a demonstration without states and actions from frames (T, H, W, 3)."""
        nothing = np.zeros((len(images), 0), dtype=np.float32)
        return cls(images, nothing, nothing, action_source='')

    @property
    def is_video_only(self) -> bool:
        """Whether there are neither states nor actions."""
        return self.joint_positions.shape[1] == 0

    def subsample(self, steps: int) -> Demo:
        """Return `steps` moments spread evenly from the first to the last.

        A demonstration shorter than `steps` repeats moments, never invents them.
        """
        index = np.linspace(0, len(self) - 1, steps).round().astype(int)
        return Demo(
            self.images[index],
            self.joint_positions[index],
            self.joint_velocities[index],
            self.action_source,
        )


def check_shots(demos: tuple[Demo, ...], shots: int) -> None:
    """Refuse another number of demonstrations than a policy adapts to.

    Raises:
        DemoError: If the numbers differ.
    """
    if len(demos) != shots:
        raise DemoError(
            f'Got {len(demos)} demonstrations, the policy adapts to {shots}; show the task '
            f'{"once" if shots == 1 else f"{shots} times"} or use another policy.'
        )


class Policy(Protocol):
    """Maps what is seen to joint velocities, after adapting to demonstrations of one task."""

    def adapt(self, *demos: Demo) -> Policy:
        """Return a new policy that has taken the inner step on the demonstrations.

        Most policies adapt to one; K-shot policies to the number they were trained for.
        """
        ...

    def act(self, observation: Observation) -> Vector:
        """Return the joint velocities for this moment, (J,) in rad/s."""
        ...
