"""Profiles keep every limit and end where they should; needs no graph."""

from __future__ import annotations

import sys

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from mil_ros.core.errors import ConfigError, MotionError
from mil_ros.core.homing import homing_limits, MotionLimits
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Vector
from mil_ros.ros.profiles import RuckigProfile

SAMPLES = 60
STEP_S = 1e-4  # of the differences that stand for acceleration and jerk


def vectors(low: float, high: float, count: int = 7) -> st.SearchStrategy[Vector]:
    numbers = st.floats(low, high, allow_nan=False, allow_subnormal=False)
    return st.lists(numbers, min_size=count, max_size=count).map(np.array)


@st.composite
def motions(draw: st.DrawFn) -> tuple[Vector, Vector, MotionLimits]:
    start, goal = draw(vectors(-3.0, 3.0)), draw(vectors(-3.0, 3.0))
    limits = MotionLimits(
        draw(vectors(0.05, 3.0)), draw(vectors(0.1, 10.0)), draw(vectors(1.0, 200.0))
    )
    return start, goal, limits


@settings(deadline=None, max_examples=100)
@given(motions())
def test_every_limit_is_kept_all_the_way(motion: tuple[Vector, Vector, MotionLimits]) -> None:
    start, goal, limits = motion
    profile = RuckigProfile(start, goal, limits)
    inner_s = max(profile.duration_s - 2 * STEP_S, 0.0)
    for time_s in np.linspace(0.0, inner_s, SAMPLES):
        (q0, v0), (_, v1), (_, v2) = (profile.at(time_s + i * STEP_S) for i in range(3))
        assert (np.abs(v0) <= limits.velocity * (1 + 1e-6)).all()
        assert (np.abs(v1 - v0) <= limits.acceleration * STEP_S + 1e-9).all()
        assert (np.abs(v2 - 2 * v1 + v0) <= limits.jerk * STEP_S**2 + 1e-12).all()
        assert (np.minimum(start, goal) - 1e-9 <= q0).all()
        assert (q0 <= np.maximum(start, goal) + 1e-9).all()


@settings(deadline=None, max_examples=100)
@given(motions())
def test_it_begins_and_ends_at_rest_exactly_where_it_should(
    motion: tuple[Vector, Vector, MotionLimits],
) -> None:
    start, goal, limits = motion
    profile = RuckigProfile(start, goal, limits)
    for time_s, place in ((0.0, start), (profile.duration_s, goal), (1e6, goal), (-1.0, start)):
        positions, velocities = profile.at(time_s)
        np.testing.assert_allclose(positions, place, atol=1e-8)
        np.testing.assert_allclose(velocities, 0.0, atol=1e-8)


@settings(deadline=None, max_examples=100)
@given(motions(), st.floats(0.1, 0.9))
def test_all_joints_are_equally_far_at_any_time(
    motion: tuple[Vector, Vector, MotionLimits], share: float
) -> None:
    start, goal, limits = motion
    profile = RuckigProfile(start, goal, limits)
    way = goal - start
    longest = int(np.abs(way).argmax())
    if abs(way[longest]) < 1e-3:
        return
    done = profile.at(share * profile.duration_s)[0] - start
    np.testing.assert_allclose(done, way * done[longest] / way[longest], atol=1e-6)
    assert 0.0 < done[longest] / way[longest] < 1.0, 'nobody arrives before the others'


def test_the_motion_of_a_shipped_arm_takes_seconds_not_minutes() -> None:
    robot = load_robot('sim_panda')
    profile = RuckigProfile(robot.home + 1.0, robot.home, homing_limits(robot))
    assert 1.5 < profile.duration_s < 5.0


def test_a_motion_that_cannot_be_is_refused() -> None:
    nowhere = MotionLimits(np.zeros(2), np.ones(2), np.ones(2))
    with pytest.raises(
        MotionError,
        match=r'^Motion refused: ruckig finds no motion over 1\.000 rad \(\w+\) at most 0 rad/s, '
        r'1 rad/s\^2 and 1 rad/s\^3, expected one; check the limits of the robot file\.$',
    ):
        RuckigProfile(np.zeros(2), np.ones(2), nowhere)


def test_without_ruckig_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'ruckig', None)
    limits = MotionLimits(np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ConfigError, match=r'ruckig is not installed, .* \(pip install ruckig\)'):
        RuckigProfile(np.zeros(2), np.ones(2), limits)
