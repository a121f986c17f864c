"""Planner, guard, Servo and arm one behind the other, without ROS."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np

from mil_ros.core.homing import (
    check_may_begin,
    Homing,
    homing_limits,
    RATE_HZ,
    Situation,
    TOLERANCE_RAD,
)
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.core.safety import CommandGuard, PLANNER
from mil_ros.core.types import Vector
from mil_ros.ros.profiles import RuckigProfile
from mil_ros.sim.servo import JOINT_JOG, NO_WARNING, ServoEmulator

PERIOD_S = 1.0 / RATE_HZ
ROBOT = load_robot('sim_panda')
JERKY = tuple(replace(joint, jerk_rad_s3=100.0) for joint in ROBOT.joints)
REST_S = 0.1


class Line:
    """The line of command, one period at a time."""

    def __init__(self, robot: RobotDescription, positions: Vector) -> None:
        self.robot, self.positions, self.now_s = robot, positions, 0.0
        self.velocities = np.zeros_like(positions)
        self.guard, self.servo = CommandGuard(robot, 0.0), ServoEmulator(robot)
        self.servo.switch_command_type(JOINT_JOG)
        self.guard.on_servo_switched(True)
        self.state, self.sent = '', np.zeros_like(positions)

    def tick(self, command: Vector | None) -> None:
        self.now_s += PERIOD_S
        names = list(self.robot.joint_names)
        if command is not None:
            self.guard.on_command(PLANNER, names, command.tolist(), self.now_s)
        self.guard.on_joint_state(self.positions, self.velocities, self.now_s)
        self.guard.on_servo_status(NO_WARNING, '', self.now_s)
        self.sent, state = self.guard.tick(self.now_s)
        self.state = state.value
        stamp_ns = round(self.now_s * 1e9)
        self.servo.on_joint_jog(stamp_ns, names, self.sent)
        output = self.servo.step(stamp_ns, self.positions, PERIOD_S)
        self.velocities = output.velocities
        self.positions = self.positions + PERIOD_S * self.velocities

    def situation(self) -> Situation:
        return Situation(
            positions=self.positions,
            velocities=self.velocities,
            joints_age_s=0.0,
            guard=self.state,
            guard_says=self.guard.why,
            guard_age_s=0.0,
        )


@settings(deadline=None, max_examples=10)
@given(
    st.lists(st.floats(0.02, 0.98), min_size=7, max_size=7).map(np.array),
    st.sampled_from([ROBOT, replace(ROBOT, joints=JERKY)]),
)
def test_the_arm_comes_home_from_anywhere_and_the_guard_never_limits(
    share: Vector, robot: RobotDescription
) -> None:
    start = robot.lower_limits + share * (robot.upper_limits - robot.lower_limits)
    line = Line(robot, start)
    while line.now_s < REST_S:
        line.tick(None)
    check_may_begin(robot, line.situation())
    profile = RuckigProfile(line.positions, robot.home, homing_limits(robot))
    homing, before = Homing(robot, profile, line.now_s), line.sent
    while not homing.is_over:
        line.tick(homing.tick(line.now_s, line.situation()))
        change = np.abs(line.sent - before)
        assert (change <= robot.acceleration_limits * PERIOD_S + 1e-9).all()
        before = line.sent
    assert homing.failure == ''
    assert np.abs(line.positions - robot.home).max() <= 2 * TOLERANCE_RAD
    assert np.abs(line.velocities).max() < 0.01
    assert line.now_s - REST_S < 1.2 * profile.duration_s + 3.0
    assert line.guard.hits['velocity'] == line.guard.hits['position'] == 0
    if robot is ROBOT:  # the guard's own way to keep jerk is more careful than a profile
        assert line.guard.hits['acceleration'] == 0


def test_a_fault_on_the_way_ends_it_and_nothing_resumes_after_a_reset() -> None:
    line = Line(ROBOT, ROBOT.home + 0.5)
    while line.now_s < REST_S:
        line.tick(None)
    profile = RuckigProfile(line.positions, ROBOT.home, homing_limits(ROBOT))
    homing = Homing(ROBOT, profile, line.now_s)
    for _ in range(80):
        line.tick(homing.tick(line.now_s, line.situation()))
    assert np.abs(line.velocities).max() > 0.1
    line.guard.stop('Emergency stop.', line.now_s)
    for _ in range(100):
        line.tick(homing.tick(line.now_s, line.situation()))
    assert 'the guard has a fault (Emergency stop)' in homing.failure
    line.guard.reset(line.now_s)
    place = line.positions
    for _ in range(200):
        line.tick(homing.tick(line.now_s, line.situation()))
    np.testing.assert_allclose(line.positions, place, atol=1e-9)
