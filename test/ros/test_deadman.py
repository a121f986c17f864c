"""A robot file that asks for a deadman switch: only while it is held does anything move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from running import check_stop

from mil_ros.core.robot import load_robot
from mil_ros.tools.bench.stops.command import write_deadman_file
from mil_ros.tools.bench.stops.faults import Deadman, make_faults
from mil_ros.tools.bench.stops.rig import open_rig, Rig

pytestmark = pytest.mark.ros

FAULTS = {fault.name: fault for fault in make_faults(load_robot('sim_panda'))}


@pytest.fixture(scope='module')
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A graph with a deadman switch, which is held."""
    out = tmp_path_factory.mktemp('held')
    robot_file = write_deadman_file(out)
    with open_rig(load_robot(robot_file), robot_file, out) as opened:
        yield opened


def test_a_released_deadman_switch_stops_the_arm(held: Rig) -> None:
    check_stop(held.measure(FAULTS['deadman'], 0))


class Gone(Deadman):
    """Whoever holds the deadman switch is not there any more."""

    def inject(self, target: Rig, repetition: int) -> int:
        moment_ns = target.now_ns()
        target.is_deadman_silent = True
        return moment_ns

    def heal(self, target: Rig) -> None:
        target.is_deadman_silent = False


def test_a_deadman_switch_that_falls_silent_stops_the_arm(held: Rig) -> None:
    check_stop(held.measure(Gone('silence', None), 0))
