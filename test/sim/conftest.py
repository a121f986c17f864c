"""One simulated arm per family for all tests; each of them resets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from helpers import LAYOUT
import numpy as np
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.sim.families import get_family
from mil_ros.sim.simulation import Simulation


@pytest.fixture(scope='session')
def make_arm(tiny_robot: RobotDescription) -> Iterator[Callable[[str], Simulation]]:
    """Return the arm among the objects of a family; the same one each time."""
    arms: dict[str, Simulation] = {}

    def make_arm(name: str) -> Simulation:
        if name not in arms:
            arms[name] = Simulation(tiny_robot, get_family(name))
        return arms[name]

    yield make_arm
    for arm in arms.values():
        arm.close()


@pytest.fixture
def simulation(make_arm: Callable[[str], Simulation]) -> Simulation:
    """The reach scene with its objects where `LAYOUT` says and the arm at home."""
    arm = make_arm('reach')
    family = get_family('reach')
    arm.reset(arm.robot.home)
    family.arrange(arm, family.sample_task('train', 0, 0), LAYOUT, np.zeros(3))
    return arm
