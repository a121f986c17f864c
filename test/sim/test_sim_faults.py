"""What the simulated arm publishes when it is to fail."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.sim.faults import FaultInjector, FAULTS, HALT_FOR_COLLISION, MARK_PIXELS, paint_mark

NOW_NS = 2_000_000_000_000_000_000
HOUR_NS = 3600 * 1_000_000_000


def injector(fault: str) -> FaultInjector:
    faults = FaultInjector()
    faults.image_stamp_ns(NOW_NS - 7)  # of the last image before the fault
    faults.choose(fault)
    return faults


@pytest.mark.parametrize('fault', ['', *FAULTS])
def test_a_fault_spoils_its_own_stream_alone(fault: str) -> None:
    faults = injector(fault)
    image = {
        'camera_frozen': None,
        'stamps_stale': NOW_NS - 7,
        'camera_clock_ahead': NOW_NS + HOUR_NS,
        'camera_clock_behind': NOW_NS - HOUR_NS,
    }
    joints = {
        'joint_states_lost': None,
        'joints_clock_ahead': NOW_NS + HOUR_NS,
        'joints_clock_behind': NOW_NS - HOUR_NS,
    }
    codes = {'servo_halt': HALT_FOR_COLLISION, 'servo_silent': None}
    marks = {'marker_red': 0, 'marker_green': 1, 'marker_blue': 2}
    assert faults.image_stamp_ns(NOW_NS) == image.get(fault, NOW_NS)
    assert faults.joints_stamp_ns(NOW_NS) == joints.get(fault, NOW_NS)
    assert faults.status(0, '')[0] == codes.get(fault, 0)
    assert faults.mark == marks.get(fault)


def test_stale_stamps_stand_still_and_go_on_once_healed() -> None:
    faults = injector('stamps_stale')
    assert {faults.image_stamp_ns(NOW_NS + i) for i in range(3)} == {NOW_NS - 7}
    faults.choose('')
    assert faults.image_stamp_ns(NOW_NS) == NOW_NS


def test_a_mark_is_of_pure_colour_and_stays_in_its_corner() -> None:
    frame = np.full((60, 80, 3), 90, np.uint8)
    paint_mark(frame, 1)
    assert (frame[:MARK_PIXELS, :MARK_PIXELS] == (0, 255, 0)).all()
    assert (frame[MARK_PIXELS:] == 90).all()
    assert (frame[:, MARK_PIXELS:] == 90).all()


def test_an_unknown_fault_is_refused_and_the_old_one_stays() -> None:
    faults = injector('servo_halt')
    expected = r"Parameter fault is 'fire'; expected one of camera_frozen, .*, or empty for none\."
    with pytest.raises(ConfigError, match=expected):
        faults.choose('fire')
    assert faults.fault == 'servo_halt'
