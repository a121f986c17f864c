"""What a family of tasks is: its objects, its tasks, its expert and its judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TYPE_CHECKING

import numpy as np

from mil_ros.core.types import Vector
from mil_ros.sim.palette import Look

if TYPE_CHECKING:
    from mil_ros.sim.gl import mujoco
    from mil_ros.sim.simulation import Simulation


@dataclass(frozen=True, eq=False, slots=True)
class Task:
    """One task of a family; what stays the same from its demonstration to its trial.

    Attributes:
        family: Name of the family.
        split: ``train`` or ``test``.
        index: Number of the task within its split and seed.
        looks: Of the objects to choose from, the target first.
    """

    family: str
    split: str
    index: int
    looks: tuple[Look, ...]

    @property
    def colour(self) -> str:
        """The target's colour, such as ``#ff8000``."""
        return self.looks[0].hex

    def __str__(self) -> str:
        return f'{self.family} {self.colour}'


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run ended.

    Attributes:
        success: Whether the task was done.
        chosen: Number of the object that was chosen, 0 being the target; None if none was.
        text: The same as a sentence.
    """

    success: bool
    chosen: int | None
    text: str


class Judge(Protocol):
    """Watches one run, by simulated time alone, and says how it ended."""

    def update(self, simulation: Simulation) -> bool:
        """Take note of the present state; return whether the run is over."""
        ...

    def finish(self, simulation: Simulation) -> Outcome:
        """End the run as it stands (what is held is let go) and return its outcome."""
        ...


class Family(Protocol):
    """A kind of task; holds no state of a scene."""

    @property
    def name(self) -> str:
        """What users call it."""
        ...

    @property
    def demo_steps(self) -> int:
        """Time steps of every demonstration, T."""
        ...

    @property
    def run_s(self) -> float:
        """Longest run of a policy."""
        ...

    @property
    def noise_rad_s(self) -> float:
        """Largest disturbance that most demonstrations survive, per joint."""
        ...

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add the objects of the family to the room."""
        ...

    def sample_task(self, split: str, seed: int, index: int) -> Task:
        """Return task `index` of a split; the same arguments give the same task.

        Raises:
            ConfigError: If the split is not ``train`` or ``test``.
        """
        ...

    def reset(self, simulation: Simulation, task: Task, rng: np.random.Generator) -> None:
        """Set up a new scene of a task, with the arm near home."""
        ...

    def expert(self, simulation: Simulation, target: int = 0) -> Vector:
        """Return the joint velocities that a teleoperator would choose now, (J,) in rad/s.

        A smooth function of what can be seen: a policy cannot learn anything else.

        Args:
            simulation: The scene as it stands.
            target: Number of the object to go for, 0 being the shown one.
        """
        ...

    def judge(self) -> Judge:
        """Return a judge for one run, which begins with the next step."""
        ...
