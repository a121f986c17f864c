"""Following a profile home: what is refused, what ends it, and that it gets there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
import math
from typing import Any

import numpy as np
import pytest

from mil_ros.core.errors import MotionError
from mil_ros.core.homing import (
    check_may_begin,
    Homing,
    homing_limits,
    RATE_HZ,
    Situation,
    TOLERANCE_RAD,
)
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

PERIOD_S = 1.0 / RATE_HZ
SPEED = 0.2


class Straight:
    """At a constant speed to the goal; no arm could do it, but it is easy to predict."""

    def __init__(self, start: Vector, goal: Vector) -> None:
        self.start, self.goal = start, goal
        self.duration_s = float(np.abs(goal - start).max()) / SPEED

    def at(self, time_s: float) -> tuple[Vector, Vector]:
        share = min(time_s / self.duration_s, 1.0) if self.duration_s else 1.0
        moves = (self.goal - self.start) / self.duration_s if 0.0 <= share < 1.0 else 0.0
        return self.start + share * (self.goal - self.start), moves * np.ones_like(self.start)


class Arm:
    """Does what it is told, some ticks late."""

    def __init__(self, robot: RobotDescription, delay: int = 4) -> None:
        self.robot, self.now_s = robot, 100.0
        self.positions = robot.home + np.linspace(0.4, -0.3, len(robot.joints))
        self.velocities = np.zeros(len(robot.joints))
        self._queue = [self.velocities] * delay
        self.homing = Homing(robot, Straight(self.positions, robot.home), self.now_s)

    def situation(self, **changes: Any) -> Situation:
        known = Situation(
            positions=self.positions,
            velocities=self.velocities,
            joints_age_s=0.01,
            guard='planner',
            guard_says='planner',
            guard_age_s=0.1,
        )
        return replace(known, **changes)

    def tick(self, period_s: float = PERIOD_S, **changes: Any) -> Vector:
        self.now_s += period_s
        command = self.homing.tick(self.now_s, self.situation(**changes))
        self._queue.append(command)
        self.velocities = self._queue.pop(0)
        self.positions = self.positions + self.velocities * period_s
        return command

    def run(self, seconds: float, **changes: Any) -> list[Vector]:
        return [self.tick(**changes) for _ in range(round(seconds * RATE_HZ))]


@pytest.fixture
def arm(robot: RobotDescription) -> Arm:
    return Arm(robot)


def moves(commands: Iterable[Vector]) -> list[bool]:
    return [bool(command.any()) for command in commands]


# --- Limits ----------------------------------------------------------------------------------


def test_half_of_the_limits_in_use_is_taken(robot: RobotDescription) -> None:
    limits = homing_limits(robot)
    np.testing.assert_allclose(limits.velocity, 0.5 * robot.velocity_limits)
    np.testing.assert_allclose(limits.acceleration, 0.5 * robot.acceleration_limits)


def test_jerk_is_finite_even_where_the_robot_file_has_no_limit(robot: RobotDescription) -> None:
    joints = (replace(robot.joints[0], jerk_rad_s3=100.0), *robot.joints[1:])
    limits = homing_limits(replace(robot, joints=joints))
    assert limits.jerk[0] == pytest.approx(50.0)
    np.testing.assert_allclose(limits.jerk[1:], 10.0 * limits.acceleration[1:])


# --- Refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (
            {'positions': None},
            r'^Motion refused: nothing has come on /joint_states, expected a running stream; '
            r'start the driver or correct the robot file\.$',
        ),
        (
            {'joints_age_s': 0.3},
            r'^Motion refused: /joint_states is 0\.300 s old, expected 0 to 0\.1 s; check the '
            r'driver, and that both clocks agree\.$',
        ),
        ({'joints_age_s': -3600.0}, r'/joint_states is -3600\.000 s old, expected 0 to 0\.1 s'),
        ({'joints_age_s': math.nan}, r'/joint_states is nan s old, expected 0 to 0\.1 s'),
        (
            {'guard': ''},
            r'^Motion refused: nothing has come on /guard/state for 0\.1 s, expected it at least '
            r'every 2 s; start the guard\.$',
        ),
        ({'joints_age_s': -0.03}, r'/joint_states is -0\.030 s old, expected 0 to 0\.1 s'),
        ({'guard_age_s': 3.0}, r'nothing has come on /guard/state for 3\.0 s'),
        (
            {'guard': 'fault', 'guard_says': 'Emergency stop was called.'},
            r'^Motion refused: the guard has a fault \(Emergency stop was called\), expected '
            r'none; remove its cause and call /guard/reset at rest\.$',
        ),
        (
            {'guard': 'disabled'},
            r"state 'disabled' .*, expected 'ready'; hold the deadman switch\.$",
        ),
        (
            {'guard': 'waiting', 'guard_says': 'Servo has been silent.'},
            r"^Motion refused: the guard is in state 'waiting' \(Servo has been silent\), "
            r"expected 'ready'; start what it waits for\.$",
        ),
        (
            {'guard': 'teleop'},
            r"'teleop' .*, expected 'ready'; let go of the joystick and end any",
        ),
        ({'guard': 'policy'}, r"'policy' .*, expected 'ready'; .* end any run \(/control/stop\)"),
        ({'guard': 'planner'}, r"state 'planner', expected 'ready'; wait until it is\.$"),
    ],
)
def test_a_motion_is_refused_in_one_sentence(
    arm: Arm, changes: dict[str, Any], sentence: str
) -> None:
    situation = arm.situation(**{'guard': 'ready', **changes})
    with pytest.raises(MotionError, match=sentence):
        check_may_begin(arm.robot, situation)


def test_a_moving_arm_is_refused(arm: Arm) -> None:
    arm.velocities = np.zeros(7)
    arm.velocities[2] = -0.05
    with pytest.raises(
        MotionError,
        match=r'^Motion refused: panda_joint3 moves at 0\.050 rad/s, expected every joint below '
        r'0\.01 rad/s; wait until the arm rests\.$',
    ):
        check_may_begin(arm.robot, arm.situation(guard='ready'))


def test_a_resting_arm_may_begin_from_where_it_is(arm: Arm) -> None:
    start = check_may_begin(arm.robot, arm.situation(guard='ready'))
    np.testing.assert_array_equal(start, arm.positions)


# --- Following -------------------------------------------------------------------------------


def test_the_arm_gets_there_and_rests(arm: Arm) -> None:
    while not arm.homing.is_over:
        arm.tick()
        assert arm.now_s < 110.0
    assert arm.homing.failure == ''
    assert np.abs(arm.positions - arm.robot.home).max() < TOLERANCE_RAD
    assert np.abs(arm.velocities).max() < 0.01


def test_a_stream_begins_with_zeros_so_that_the_guard_takes_it_up(arm: Arm) -> None:
    assert moves(arm.run(0.05)) == [False, True, True, True, True]


def test_at_home_already_nothing_moves(robot: RobotDescription) -> None:
    arm = Arm(robot)
    arm.positions = robot.home
    arm.homing = Homing(robot, Straight(robot.home, robot.home), arm.now_s)
    assert moves(arm.run(0.02)) == [False, False]
    assert arm.homing.is_over
    assert arm.homing.failure == ''


def test_no_command_is_beyond_a_limit_in_use(arm: Arm) -> None:
    slow = replace(arm.robot.limits, velocity_fraction=0.02)
    arm.robot = replace(arm.robot, limits=slow)
    arm.homing = Homing(arm.robot, Straight(arm.positions, arm.robot.home), arm.now_s)
    commands = np.array(arm.run(1.0))
    assert commands.any()
    assert (np.abs(commands) <= arm.robot.velocity_limits + 1e-12).all()


def test_a_pause_of_the_process_makes_no_jump(arm: Arm) -> None:
    before = arm.run(0.3)[-1]
    arm._queue = [np.zeros(7)] * len(arm._queue)  # the guard has stopped the arm meanwhile
    arm.tick(period_s=0.0)
    after = arm.homing.tick(arm.now_s + 0.4, arm.situation())
    np.testing.assert_allclose(after, before, atol=0.03)
    assert arm.homing.failure == ''


# --- Ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'joints_age_s': 0.2}, '/joint_states is 0.200 s old, expected 0 to 0.1 s'),
        ({'guard_age_s': 2.5}, 'nothing has come on /guard/state for 2.5 s'),
        (
            {'guard': 'fault', 'guard_says': 'Stopped.'},
            'the guard has a fault (Stopped), expected',
        ),
        ({'guard': 'teleop'}, "the guard follows 'teleop' now; call /planner/go_home again"),
        ({'guard': 'policy'}, "the guard follows 'policy' now"),
    ],
)
def test_what_happens_on_the_way_ends_it_for_good(
    arm: Arm, changes: dict[str, Any], sentence: str
) -> None:
    assert all(moves(arm.run(0.3)[1:]))
    assert not arm.tick(**changes).any()
    assert sentence in arm.homing.failure
    assert not any(moves(arm.run(2.0))), 'all is well again, but nothing may resume'
    assert arm.homing.is_over


@pytest.mark.parametrize(
    ('state', 'remedy'), [('ready', 'see its log'), ('disabled', 'hold the deadman switch')]
)
def test_a_guard_that_passes_nothing_on_ends_it(arm: Arm, state: str, remedy: str) -> None:
    assert all(moves(arm.run(0.3)[1:]))
    arm.run(0.4, guard=state)
    assert arm.homing.failure == ''
    arm.run(0.2, guard=state)
    assert (
        f"nothing on, in state '{state}' (planner), expected 'planner'; {remedy}"
        in arm.homing.failure
    )


def test_a_blocked_arm_ends_it(arm: Arm) -> None:
    blocked = arm.positions
    arm.run(3.0, positions=blocked)
    assert 'panda_joint1 is 0.15' in arm.homing.failure
    assert 'expected at most 0.15 rad; see what blocks the arm' in arm.homing.failure


def test_an_arm_that_never_quite_arrives_ends_it(arm: Arm) -> None:
    duration_s = arm.homing._profile.duration_s
    for _ in range(round((1.5 * duration_s + 5.1) * RATE_HZ)):
        arm.tick()
        arm.positions = np.where(
            np.abs(arm.positions - arm.robot.home) < 0.02, arm.robot.home + 0.02, arm.positions
        )
    assert 'after 8.0 s it is still 0.020 rad away, expected at most 0.005 rad' in (
        arm.homing.failure
    )


def test_zeros_are_sent_until_the_arm_rests(arm: Arm) -> None:
    arm.run(0.5)
    arm.homing.stop('/planner/stop was called', arm.now_s)
    commands = []
    while not arm.homing.is_over:
        commands.append(arm.tick())
    assert len(commands) >= 4
    assert not any(moves(commands))
    arm.homing.stop('another', arm.now_s)
    assert arm.homing.failure == '/planner/stop was called'


def test_an_arm_that_nobody_sees_gets_zeros_for_a_while(arm: Arm) -> None:
    arm.run(0.5)
    commands = []
    while not arm.homing.is_over:
        commands.append(arm.tick(joints_age_s=5.0))
    assert len(commands) * PERIOD_S == pytest.approx(1.0, abs=0.1)
    assert not any(moves(commands))
