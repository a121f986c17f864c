"""One simulated arm for all tests; each of them resets it."""

from __future__ import annotations

from collections.abc import Iterator

from helpers import LAYOUT
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.sim import reach
from mil_ros.sim.simulation import Simulation


@pytest.fixture(scope='session')
def arm(tiny_robot: RobotDescription) -> Iterator[Simulation]:
    simulation = Simulation(tiny_robot)
    yield simulation
    simulation.close()


@pytest.fixture
def simulation(arm: Simulation) -> Simulation:
    arm.reset(reach.sample_task('train', 0, 0), LAYOUT, arm.robot.home)
    return arm
