"""The emulated Servo refuses and halts where the real one does."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.sim.servo import (
    COMMAND_TIMEOUT_S,
    INVALID,
    JOINT_BOUND,
    JOINT_JOG,
    LIMIT_MARGIN_RAD,
    NO_WARNING,
    ServoEmulator,
    ServoOutput,
)

PERIOD_S = 0.01
MS = 1_000_000
VELOCITIES = np.array([0.1, -0.2, 0.3, -0.1, 0.2, -0.3, 0.4])


class Bench:
    """Servo, a clock, and an arm that stands at home."""

    def __init__(self, robot: RobotDescription) -> None:
        self.robot = robot
        self.servo = ServoEmulator(robot)
        self.now_ns = 1_000_000_000_000
        self.positions = robot.home
        assert self.servo.switch_command_type(JOINT_JOG)

    def command(
        self, velocities: np.ndarray | list[float] = VELOCITIES, names: list[str] | None = None
    ) -> None:
        chosen = list(self.robot.joint_names) if names is None else names
        self.servo.on_joint_jog(self.now_ns, chosen, np.asarray(velocities))

    def step(self, after_ms: int = 10) -> ServoOutput:
        self.now_ns += after_ms * MS
        return self.servo.step(self.now_ns, self.positions, PERIOD_S)


@pytest.fixture
def bench(robot: RobotDescription) -> Bench:
    return Bench(robot)


def assert_refused(output: ServoOutput, text: str) -> None:
    assert output.status == INVALID
    assert text in output.message
    assert not output.velocities.any()


def test_fresh_command_is_followed(bench: Bench) -> None:
    bench.command()
    output = bench.step()
    np.testing.assert_array_equal(output.velocities, VELOCITIES)
    assert (output.status, output.message) == (NO_WARNING, '')


def test_nothing_moves_without_a_command(bench: Bench) -> None:
    output = bench.step()
    assert not output.velocities.any()
    assert output.status == NO_WARNING


def test_nothing_moves_before_the_command_type_is_chosen(bench: Bench) -> None:
    bench.servo = ServoEmulator(bench.robot)
    bench.command()
    assert not bench.step().velocities.any()
    assert bench.servo.switch_command_type(JOINT_JOG)
    bench.command()
    assert bench.step().velocities.any()


@pytest.mark.parametrize('command_type', [1, 2])
def test_other_command_types_are_refused_and_stop_jogging(bench: Bench, command_type: int) -> None:
    assert not bench.servo.switch_command_type(command_type)
    bench.command()
    assert not bench.step().velocities.any()


def test_command_counts_until_its_timeout(bench: Bench) -> None:
    bench.command()
    timeout_ms = round(COMMAND_TIMEOUT_S * 1000)
    np.testing.assert_array_equal(bench.step(timeout_ms - 1).velocities, VELOCITIES)
    assert np.abs(bench.step(1).velocities).max() < np.abs(VELOCITIES).max()


def test_stale_command_halts_smoothly_and_in_the_same_direction(bench: Bench) -> None:
    fast = 4 * VELOCITIES
    bench.command(fast)
    bench.step()
    before, steps = fast, 0
    acceleration = np.array([joint.acceleration_rad_s2 for joint in bench.robot.joints])
    bench.now_ns += 200 * MS
    while before.any():
        after = bench.step().velocities
        assert (np.abs(before - after) <= acceleration * PERIOD_S + 1e-4).all()
        np.testing.assert_allclose(after * fast[6], fast * after[6], atol=1e-9)
        assert np.abs(after[6]) < np.abs(before[6])
        before, steps = after, steps + 1
    assert steps > 3, 'stopped at once instead of smoothly'


def test_stamp_that_is_already_old_moves_nothing(bench: Bench) -> None:
    bench.command()
    for _ in range(5):
        assert not bench.step(after_ms=150).velocities.any()


def test_joints_that_are_not_named_rest(bench: Bench) -> None:
    bench.command([0.3, -0.2], ['panda_joint6', 'panda_joint2'])
    output = bench.step()
    np.testing.assert_array_equal(output.velocities, [0.0, -0.2, 0.0, 0.0, 0.0, 0.3, 0.0])
    assert output.status == NO_WARNING


def test_unknown_joint_is_invalid(bench: Bench) -> None:
    bench.command([0.1, 0.1], ['panda_joint1', 'elbow'])
    assert_refused(bench.step(), "unknown joints ['elbow']")


@pytest.mark.parametrize('count', [0, 6, 8])
def test_other_number_of_velocities_is_invalid(bench: Bench, count: int) -> None:
    bench.command([0.1] * count)
    assert_refused(bench.step(), f'7 joint names but {count} velocities')


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_non_finite_velocity_is_invalid(bench: Bench, value: float) -> None:
    bench.command([0.1, value, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert_refused(bench.step(), 'non-finite velocities')


def test_invalid_command_stops_the_arm_until_the_next_valid_one(bench: Bench) -> None:
    bench.command()
    bench.step()
    bench.command([np.nan] * 7)
    assert_refused(bench.step(), 'non-finite velocities')
    assert not bench.step().velocities.any()
    bench.command()
    np.testing.assert_array_equal(bench.step().velocities, VELOCITIES)


def test_command_is_scaled_to_the_rated_speed_in_its_direction(bench: Bench) -> None:
    wanted = np.array([1.0, -8.7, 2.0, 0.5, 3.0, -1.0, 0.0])
    bench.command(wanted)
    np.testing.assert_allclose(bench.step().velocities, wanted * 2.175 / 8.7)


def test_pause_is_silent_and_still(bench: Bench) -> None:
    bench.command()
    bench.step()
    bench.servo.paused = True
    bench.command()
    output = bench.step()
    assert output.status is None
    assert not output.velocities.any()


def test_end_of_a_pause_does_not_wake_an_old_command(bench: Bench) -> None:
    bench.servo.paused = True
    bench.command()
    bench.step(after_ms=150)
    bench.servo.paused = False
    assert not bench.step().velocities.any()


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_joint_at_its_bound_halts_the_whole_arm(bench: Bench, sign: float) -> None:
    joint = bench.robot.joints[2]
    near = LIMIT_MARGIN_RAD / 2
    bench.positions[2] = joint.upper_rad - near if sign > 0 else joint.lower_rad + near
    velocities = 4 * VELOCITIES
    velocities[2] = -sign * 0.5
    bench.command(velocities)
    assert bench.step().velocities.any(), 'moving away is free'
    velocities[2] = sign * 0.5
    for _ in range(100):
        bench.command(velocities)
        output = bench.step()
        assert output.status == JOINT_BOUND
        assert output.message == 'panda_joint3 close to a position limit'
    assert not output.velocities.any()


def test_output_is_a_copy(bench: Bench) -> None:
    bench.command()
    bench.step().velocities[:] = 99.0
    bench.command()
    np.testing.assert_array_equal(bench.step().velocities, VELOCITIES)
