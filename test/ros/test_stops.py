"""Whatever fails in motion: the arm comes to rest, and nothing resumes by itself.

How long that takes is for `mil bench stops`; here it may take as long as a busy machine needs.
"""

from __future__ import annotations

from collections.abc import Iterator
import signal

import pytest
from running import check_stop

from mil_ros.core.robot import load_robot
from mil_ros.tools.bench.stops.faults import make_faults
from mil_ros.tools.bench.stops.rig import open_rig, Rig
from mil_ros.tools.bench.stops.trace import find_steady_speed

pytestmark = pytest.mark.ros

FAULTS = {fault.name: fault for fault in make_faults(load_robot('sim_panda'))}
SHARED = [name for name in FAULTS if name not in ('deadman', 'clock_jump')]
CLOCK_JUMPS = 4  # of either stream, ahead and back


@pytest.fixture(scope='module')
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One graph for all faults; each leaves it as it found it."""
    out = tmp_path_factory.mktemp('stops')
    with open_rig(load_robot('sim_panda'), 'sim_panda', out) as opened:
        yield opened


@pytest.mark.parametrize('name', SHARED)
def test_the_arm_rests_and_nothing_resumes(rig: Rig, name: str) -> None:
    check_stop(rig.measure(FAULTS[name], 0))


@pytest.mark.parametrize('number', range(CLOCK_JUMPS))
def test_no_clock_that_jumps_keeps_the_arm_moving(rig: Rig, number: int) -> None:
    check_stop(rig.measure(FAULTS['clock_jump'], number))


@pytest.mark.parametrize('name', ['adaptation', 'recorder'])
def test_a_run_does_not_need_the_nodes_around_it(rig: Rig, name: str) -> None:
    steady_rad_s = rig.prepare()
    rig.signal(name, signal.SIGKILL)
    try:
        rig.client.spin_for(0.5)
        lately = find_steady_speed(rig.observer.look(), 0.97 * steady_rad_s)
        assert lately == pytest.approx(steady_rad_s, rel=0.02)
        assert rig.client.values('guard/state')['state'] == 'policy'
        assert rig.client.values('control/state')['running'] == 'True'
        rig.client.trigger('/control/stop')
    finally:
        rig.revive(name)
