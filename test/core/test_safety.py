"""Whatever comes in, what goes out is finite, slow, smooth and inside the limits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
import re

from hypothesis import example, given, HealthCheck, settings, strategies
import numpy as np
import pytest

from mil_ros.core.errors import OrderError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.core.safety import CommandGuard, GuardState, RESET_COOLDOWN_S
from mil_ros.core.watches import SERVO_SILENCE_S

ROBOT = load_robot('sim_panda')
NAMES = list(ROBOT.joint_names)
J = len(NAMES)
PERIOD_S = 1.0 / ROBOT.guard.rate_hz
TIMEOUT_S = ROBOT.guard.source_timeout_s
TOUCH = 1e-9  # rad or rad/s, for rounding
SLOW = np.linspace(0.01, 0.04, J)  # reached within one period, differs per joint


class Arm:
    """A guard, an arm that follows it perfectly, and a clock."""

    def __init__(
        self, positions: np.ndarray | None = None, robot: RobotDescription = ROBOT
    ) -> None:
        self.guard = CommandGuard(robot, began_s=0.0)
        self.guard.on_servo_switched(True)
        self.positions = ROBOT.home if positions is None else positions.copy()
        self.velocities = np.zeros(J)
        self.now_s = 100.0
        self.state = GuardState.WAITING
        self.has_joints = self.has_servo = True
        self.servo_code = 0
        self.age_s = 0.0

    def command(self, source: str, velocities: Iterable[float], names: list[str] = NAMES) -> None:
        self.guard.on_command(source, list(names), list(velocities), self.now_s)

    def tick(self, period_s: float = PERIOD_S) -> np.ndarray:
        """Let one period pass: measure, decide, move."""
        self.now_s += period_s
        if self.has_joints:
            self.guard.on_joint_state(
                self.positions.copy(), self.velocities, self.now_s, self.age_s
            )
        if self.has_servo:
            self.guard.on_servo_status(self.servo_code, '', self.now_s)
        self.velocities, self.state = self.guard.tick(self.now_s)
        self.positions = self.positions + self.velocities * PERIOD_S
        return self.velocities

    def hold(self, source: str, velocities: Iterable[float], duration_s: float) -> np.ndarray:
        """Repeat a command every period."""
        for _ in range(round(duration_s / PERIOD_S)):
            self.command(source, velocities)
            self.tick()
        return self.velocities

    def wait(self, duration_s: float) -> np.ndarray:
        for _ in range(round(duration_s / PERIOD_S)):
            self.tick()
        return self.velocities


@pytest.fixture
def arm() -> Arm:
    arm = Arm()
    arm.tick()
    return arm


@pytest.fixture
def moving(arm: Arm) -> Arm:
    arm.hold('policy', 20 * SLOW, 0.5)
    assert np.abs(arm.velocities).min() > 0.1
    return arm


# --- Properties of any sequence of commands --------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """A source says one thing for some periods."""

    source: str
    velocities: tuple[float, ...]
    periods: int


speeds = strategies.one_of(
    strategies.floats(-5.0, 5.0),
    strategies.sampled_from([0.0, 1e-9, 1e3, -1e3, float('nan'), float('inf'), -float('inf')]),
)
finite_speeds = strategies.floats(-2.175, 2.175)
sources = strategies.sampled_from(['teleop', 'planner', 'policy'])


def pieces(
    values: strategies.SearchStrategy[float], longest: int
) -> strategies.SearchStrategy[list[Piece]]:
    velocities = strategies.tuples(*[values] * J)
    piece = strategies.builds(Piece, sources, velocities, strategies.integers(1, longest))
    return strategies.lists(piece, min_size=1, max_size=6)


quick = settings(
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@settings(quick, max_examples=300)
@given(
    pieces(speeds, 15),
    strategies.lists(strategies.sampled_from([0.5, 1.0, 1.0, 1.3, 4.0]), min_size=1, max_size=5),
)
def test_output_is_finite_within_speed_limits_and_smooth(
    script: list[Piece], rhythm: list[float]
) -> None:
    arm, before, ticks = Arm(), np.zeros(J), 0
    arm.tick()
    for piece in script:
        for _ in range(piece.periods):
            period_s = PERIOD_S * rhythm[ticks % len(rhythm)]
            arm.command(piece.source, piece.velocities)
            output = arm.tick(period_s)
            assert np.isfinite(output).all()
            assert (np.abs(output) <= ROBOT.velocity_limits + TOUCH).all()
            jump = np.abs(output - before)
            dt_s = min(period_s, 2 * PERIOD_S)  # a late tick must not jump
            assert (jump <= ROBOT.acceleration_limits * dt_s + TOUCH).all()
            before, ticks = output, ticks + 1


def reversal_of_another_joint() -> tuple[np.ndarray, list[Piece]]:
    """Joint 6 nears its limit while joint 2 turns round, which takes it far longer."""
    start = ROBOT.home
    start[5] = ROBOT.upper_limits[5] - 0.5
    towards, turned = np.zeros(J), np.zeros(J)
    towards[[1, 5]] = ROBOT.velocity_limits[[1, 5]]
    turned[[1, 5]] = -ROBOT.velocity_limits[1], ROBOT.velocity_limits[5]
    script = [Piece('policy', tuple(towards), 40), Piece('policy', tuple(turned), 40)]
    return start, script


@settings(quick, max_examples=200)
@given(
    strategies.lists(strategies.floats(0.0, 1.0), min_size=J, max_size=J),
    pieces(finite_speeds, 40),
)
def test_no_joint_crosses_its_position_limit(places: list[float], script: list[Piece]) -> None:
    low, high = ROBOT.lower_limits, ROBOT.upper_limits
    run_inside_limits(low + np.array(places) * (high - low), script)


def test_no_joint_crosses_its_limit_while_another_turns_round() -> None:
    run_inside_limits(*reversal_of_another_joint())


def run_inside_limits(start: np.ndarray, script: list[Piece]) -> None:
    arm = Arm(start)
    for piece in script:
        for _ in range(piece.periods):
            arm.command(piece.source, piece.velocities)
            arm.tick()
            over = np.maximum(
                ROBOT.lower_limits - arm.positions, arm.positions - ROBOT.upper_limits
            )
            worst = int(over.argmax())
            assert over[worst] <= 1e-3, f'{NAMES[worst]} is {over[worst]:.4f} rad past its limit'


@settings(quick, max_examples=200)
@given(strategies.lists(strategies.floats(-2.1, 2.1), min_size=J, max_size=J))
@example([2.1, -1e-3, 0.0, 0.0, 0.0, 0.0, 0.0])
def test_direction_is_kept_when_speed_is_limited(target: list[float]) -> None:
    arm = Arm()
    output = arm.hold('policy', target, 0.02)
    for _ in range(40):  # at every moment of speeding up from rest, too
        wanted = np.array(target)
        parallel = output * np.linalg.norm(wanted) - wanted * np.linalg.norm(output)
        assert np.abs(parallel).max() <= 1e-9
        assert output @ wanted >= 0.0
        arm.positions = ROBOT.home  # far from every position limit
        output = arm.hold('policy', target, PERIOD_S)
    excess = max(np.max(np.abs(target) / ROBOT.velocity_limits), 1.0)
    np.testing.assert_allclose(output, np.array(target) / excess, atol=1e-9)


# --- Who has the say -------------------------------------------------------------------------


def test_nothing_moves_before_joint_states_and_servo_are_there() -> None:
    for has_joints, has_servo in ((False, False), (True, False), (False, True)):
        arm = Arm()
        arm.has_joints, arm.has_servo = has_joints, has_servo
        assert not arm.hold('teleop', SLOW, 0.1).any()
        assert arm.state is GuardState.WAITING
        assert arm.guard.fault is None


def test_command_within_limits_is_passed_on_as_it_is(arm: Arm) -> None:
    np.testing.assert_array_equal(arm.hold('policy', SLOW, 0.05), SLOW)
    assert arm.state is GuardState.POLICY


def test_command_is_put_into_the_joint_order_of_the_robot_file(arm: Arm) -> None:
    arm.command('teleop', SLOW[::-1], NAMES[::-1])
    np.testing.assert_array_equal(arm.tick(), SLOW)


@pytest.mark.parametrize('order', [('teleop', 'policy'), ('policy', 'teleop')])
def test_teleoperation_beats_the_policy(arm: Arm, order: tuple[str, str]) -> None:
    for _ in range(20):
        for source in order:
            arm.command(source, SLOW if source == 'teleop' else -2 * SLOW)
        arm.tick()
    assert arm.state is GuardState.TELEOP
    np.testing.assert_allclose(arm.velocities, SLOW)


def test_teleoperation_of_zero_stops_the_policy(arm: Arm) -> None:
    arm.hold('policy', SLOW, 0.05)
    arm.command('teleop', np.zeros(J))
    arm.command('policy', SLOW)
    assert not arm.tick().any()


def test_policy_has_its_say_again_when_teleoperation_falls_silent(arm: Arm) -> None:
    arm.command('teleop', SLOW)
    arm.hold('policy', -SLOW, TIMEOUT_S - PERIOD_S)
    assert arm.state is GuardState.TELEOP
    arm.hold('policy', -SLOW, 5 * PERIOD_S)
    assert arm.state is GuardState.POLICY
    np.testing.assert_allclose(arm.velocities, -SLOW)


def test_silent_person_lets_the_arm_decelerate_to_zero(arm: Arm) -> None:
    arm.hold('teleop', 20 * SLOW, 0.5)
    moving = arm
    speed = np.abs(moving.velocities)
    moving.wait(TIMEOUT_S - 2 * PERIOD_S)
    np.testing.assert_array_equal(np.abs(moving.velocities), speed)
    trace = [np.abs(moving.tick()) for _ in range(50)]
    assert (np.diff(trace, axis=0) <= 0.0).all()
    assert trace[3].any(), 'stopped at once instead of decelerating'
    assert not trace[-1].any()
    assert moving.state is GuardState.READY
    assert moving.guard.fault is None


# --- Faults ----------------------------------------------------------------------------------


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('source', ['teleop', 'policy'])
def test_non_finite_command_is_a_fault(moving: Arm, source: str, value: float) -> None:
    velocities = SLOW.copy()
    velocities[3] = value
    moving.command(source, velocities)
    assert_fault(moving, rf'{source} sent non-finite velocities .*(nan|inf).*, expected finite')


@pytest.mark.parametrize(
    ('names', 'count'),
    [
        (NAMES, J - 1),
        (NAMES, J + 1),
        (NAMES[:-1], J - 1),
        ([*NAMES[:-1], 'elbow'], J),
        ([*NAMES, 'gripper'], J + 1),
        ([*NAMES[:-1], NAMES[0]], J),
        ([*NAMES, NAMES[0]], J + 1),
        ([], 0),
    ],
    ids=['few', 'many', 'missing', 'unknown', 'extra', 'repeated', 'twice', 'empty'],
)
def test_command_that_does_not_fit_the_joints_is_a_fault(
    moving: Arm, names: list[str], count: int
) -> None:
    moving.command('policy', np.full(count, 0.1), names)
    text = rf'policy sent {count} velocities for joints {re.escape(str(names))}, expected one each'
    assert_fault(moving, text)


@pytest.mark.parametrize(
    ('code', 'text'),
    [
        (-1, 'Servo reports INVALID'),
        (2, 'Servo reports HALT_FOR_SINGULARITY'),
        (5, 'Servo reports HALT_FOR_COLLISION'),
        (6, 'Servo reports JOINT_BOUND'),
    ],
)
def test_halt_of_servo_is_a_fault(moving: Arm, code: int, text: str) -> None:
    moving.guard.on_servo_status(code, 'close to itself', moving.now_s)
    assert_fault(moving, rf'{text} \(close to itself\), expected NO_WARNING; clear its cause\.')


@pytest.mark.parametrize('code', [1, 3, 4])
def test_warning_of_servo_halves_the_speed(moving: Arm, code: int) -> None:
    before = moving.velocities.copy()
    moving.servo_code = code
    moving.hold('policy', 20 * SLOW, 0.3)
    assert moving.guard.fault is None
    np.testing.assert_allclose(moving.velocities, before / 2.0)
    assert re.search(r'Servo reports DECELERATE_\w+: half the speed\.', moving.guard.why)
    moving.servo_code = 0
    moving.hold('policy', 20 * SLOW, 0.3)
    np.testing.assert_allclose(moving.velocities, before)
    assert not moving.guard.why


def test_joint_states_lost_in_motion_are_a_fault(moving: Arm) -> None:
    moving.has_joints = False
    moving.hold('policy', 20 * SLOW, ROBOT.joint_states.max_age_s + 2 * PERIOD_S)
    assert_fault(moving, r'The newest of /joint_states is 0\.\d+ s old, expected at most 0\.1 s')


def test_servo_silent_in_motion_is_a_fault(moving: Arm) -> None:
    moving.has_servo = False
    moving.hold('policy', 20 * SLOW, SERVO_SILENCE_S - PERIOD_S)
    assert moving.guard.fault is None
    moving.hold('policy', 20 * SLOW, 3 * PERIOD_S)
    assert_fault(
        moving, r'Stopped in motion: /servo_node/status has been silent for 0\.\d+ s, expected at'
    )


def test_streams_lost_at_rest_are_waited_for(arm: Arm) -> None:
    arm.has_joints = arm.has_servo = False
    arm.hold('policy', np.zeros(J), 1.0)
    assert arm.state is GuardState.WAITING
    assert not arm.hold('policy', SLOW, 0.1).any()
    arm.has_joints = arm.has_servo = True
    assert not arm.hold('policy', SLOW, 1.0).any(), 'motion came back by itself'
    arm.hold('policy', np.zeros(J), PERIOD_S)
    assert arm.hold('policy', SLOW, 0.1).any()
    assert arm.guard.fault is None


def test_emergency_stop_latches_whatever_is_commanded(moving: Arm) -> None:
    moving.guard.stop('Emergency stop.', moving.now_s)
    moving.hold('teleop', 20 * SLOW, 0.5)
    assert not moving.hold('policy', 20 * SLOW, 5.0).any()
    assert (moving.state, moving.guard.fault) == (GuardState.FAULT, 'Emergency stop.')


def test_first_of_several_faults_is_kept(moving: Arm) -> None:
    moving.guard.stop('The first.', moving.now_s)
    moving.command('policy', [np.nan] * J)
    moving.guard.on_servo_status(2, '', moving.now_s)
    assert moving.guard.fault == 'The first.'


def assert_fault(arm: Arm, text: str) -> None:
    """The guard says why it stopped, and brings the arm to rest at its own deceleration."""
    assert arm.guard.fault is not None
    assert re.search(text, arm.guard.fault), arm.guard.fault
    assert arm.guard.fault.endswith('.')
    before = np.abs(arm.velocities)
    for _ in range(60):
        arm.command('policy', 20 * SLOW)
        after = np.abs(arm.tick())
        assert (after <= before).all()
        assert (before - after <= ROBOT.acceleration_limits * PERIOD_S + TOUCH).all()
        before = after
    assert not arm.velocities.any()
    assert arm.state is GuardState.FAULT


def test_policy_that_falls_silent_in_motion_is_a_fault(moving: Arm) -> None:
    moving.wait(ROBOT.guard.policy_timeout_s - 2 * PERIOD_S)
    assert moving.guard.fault is None
    moving.wait(4 * PERIOD_S)
    assert_fault(moving, r'The policy has been silent in motion for more than 0\.1 s, expected a')


def test_policy_that_ends_with_zeros_is_no_fault(moving: Arm) -> None:
    moving.command('policy', np.zeros(J))
    moving.wait(1.0)
    assert moving.guard.fault is None
    assert moving.state is GuardState.READY


@pytest.mark.parametrize('source', ['teleop', 'planner', 'policy'])
def test_command_beyond_the_makers_rating_is_a_fault(moving: Arm, source: str) -> None:
    velocities = SLOW.copy()
    velocities[4] = -2.62
    moving.command(source, velocities)
    text = rf'{source} sent -2\.620 rad/s for panda_joint5, expected at most the 2\.61 that its'
    assert_fault(moving, text)


def test_joint_states_of_another_clock_are_a_fault_in_motion(moving: Arm) -> None:
    moving.age_s = -3600.0
    moving.tick()
    assert_fault(moving, r'/joint_states is stamped later than now, expected stamps by the clock')


def test_joint_states_that_are_old_on_arrival_are_a_fault_in_motion(moving: Arm) -> None:
    moving.age_s = ROBOT.joint_states.max_age_s + 0.01
    moving.tick()
    assert_fault(moving, r'The newest of /joint_states is 0\.110 s old, expected at most 0\.1 s')


def test_servo_that_is_not_switched_is_waited_for(arm: Arm) -> None:
    arm.guard.on_servo_switched(False)
    assert not arm.hold('policy', SLOW, 0.1).any()
    assert arm.state is GuardState.WAITING
    assert (
        arm.guard.why == 'Servo has not agreed to joint jogging yet, expected it to; see its log.'
    )


def test_obstacle_in_motion_is_a_fault(moving: Arm) -> None:
    moving.guard.on_obstacle('rival', 'Somebody else commands.', moving.now_s)
    assert_fault(moving, r'Somebody else commands\.')
    moving.guard.reset(moving.now_s)
    assert not moving.hold('teleop', SLOW, 0.5).any(), 'it is still there'
    assert (moving.state, moving.guard.why) == (GuardState.WAITING, 'Somebody else commands.')


def test_obstacle_at_rest_is_waited_for_and_motion_does_not_come_back_by_itself(arm: Arm) -> None:
    arm.guard.on_obstacle('rival', 'Somebody else commands.', arm.now_s)
    assert not arm.hold('policy', SLOW, 0.5).any()
    assert arm.guard.fault is None
    arm.guard.on_obstacle('rival', '', arm.now_s)
    assert not arm.hold('policy', SLOW, 0.5).any()
    assert arm.guard.why.startswith('Not taken up: policy, which commanded already before')
    arm.hold('policy', np.zeros(J), PERIOD_S)
    assert arm.hold('policy', SLOW, 0.1).any()


@pytest.mark.parametrize('source', ['planner', 'policy'])
def test_stream_that_goes_on_over_a_reset_is_not_taken_up(arm: Arm, source: str) -> None:
    arm.hold(source, SLOW, 0.1)
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.hold(source, SLOW, RESET_COOLDOWN_S + 0.5)
    arm.guard.reset(arm.now_s)
    assert not arm.hold(source, SLOW, 2.0).any()
    arm.wait(0.2)
    assert arm.hold(source, SLOW, 0.1).any(), 'it began anew'


def test_guard_that_was_held_up_does_not_go_on_where_servo_has_halted(moving: Arm) -> None:
    moving.now_s += 0.15
    moving.command('policy', 20 * SLOW)
    assert not moving.tick().any(), 'the arm would move again'
    assert_fault(moving, r'The guard did not get to run for 0\.160 s in motion, expected less')


def test_limits_that_were_met_are_counted(arm: Arm) -> None:
    arm.hold('policy', SLOW / 10.0, 0.1)
    assert not any(arm.guard.hits.values())
    arm.hold('policy', 0.99 * ROBOT.rated_velocities, 0.3)
    assert arm.guard.hits['velocity'] == 30
    assert 0 < arm.guard.hits['acceleration'] < 30


def test_limits_at_the_tool_hold_a_command_back(arm: Arm) -> None:
    class Half:
        def find_share(
            self, positions: np.ndarray, wanted: np.ndarray, braked: np.ndarray
        ) -> float:
            assert np.abs(positions - arm.positions).max() < 0.1
            return 1.0 if np.abs(wanted).max() <= 0.3 else 0.0

    arm.guard.tool = Half()
    output = arm.hold('policy', 20 * SLOW, 0.5)
    assert 0.1 < np.abs(output).max() <= 0.3
    assert arm.guard.hits['tool'] > 0


# --- Deadman switch --------------------------------------------------------------------------


@pytest.fixture
def guarded() -> Arm:
    return Arm(robot=replace(ROBOT, guard=replace(ROBOT.guard, deadman=True)))


def hold_switch(arm: Arm, duration_s: float, source: str = 'policy') -> None:
    for _ in range(round(duration_s / PERIOD_S)):
        arm.guard.on_deadman(True, arm.now_s)
        arm.hold(source, 20 * SLOW, PERIOD_S)


@pytest.mark.parametrize('source', ['teleop', 'policy'])
def test_nothing_moves_while_the_deadman_switch_is_not_held(guarded: Arm, source: str) -> None:
    assert not guarded.hold(source, SLOW, 0.5).any()
    guarded.guard.on_deadman(False, guarded.now_s)
    assert not guarded.hold(source, SLOW, 0.5).any()
    assert guarded.state is GuardState.DISABLED
    assert guarded.guard.fault is None


def test_arm_moves_while_the_deadman_switch_is_held(guarded: Arm) -> None:
    hold_switch(guarded, 0.5)
    assert guarded.velocities.all()
    assert guarded.state is GuardState.POLICY


def test_release_of_the_deadman_switch_in_motion_is_a_fault(guarded: Arm) -> None:
    hold_switch(guarded, 0.5)
    guarded.guard.on_deadman(False, guarded.now_s)
    guarded.hold('policy', 20 * SLOW, PERIOD_S)
    assert_fault(guarded, r'The deadman switch was released in motion, expected it held')


def test_silence_of_the_deadman_switch_in_motion_is_a_fault(guarded: Arm) -> None:
    hold_switch(guarded, 0.5)
    guarded.hold('policy', 20 * SLOW, TIMEOUT_S + 2 * PERIOD_S)
    assert_fault(guarded, r'The deadman switch was released in motion, expected it held')


# --- Reset -----------------------------------------------------------------------------------


def test_reset_of_no_fault_is_refused(arm: Arm) -> None:
    with pytest.raises(OrderError, match=r'Nothing to reset: the guard has no fault\.'):
        arm.guard.reset(arm.now_s)


def test_reset_just_after_the_fault_is_refused(arm: Arm) -> None:
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.wait(0.2)
    message = r'Reset refused: the fault is 0\.20 s old, expected at least 0\.5 s; wait and call'
    with pytest.raises(OrderError, match=message):
        arm.guard.reset(arm.now_s)
    assert arm.guard.fault == 'Emergency stop.'


def test_reset_while_the_arm_moves_is_refused(arm: Arm) -> None:
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.wait(1.0)
    drift = np.zeros(J)
    drift[4] = -0.02  # the guard sends zero, yet the arm is not at rest
    arm.guard.on_joint_state(arm.positions, drift, arm.now_s)
    with pytest.raises(OrderError, match=r'Reset refused: the arm still moves, expected every'):
        arm.guard.reset(arm.now_s)


def test_reset_while_the_output_moves_is_refused(moving: Arm) -> None:
    moving.guard.stop('Emergency stop.', moving.now_s)
    later_s = moving.now_s + RESET_COOLDOWN_S
    moving.guard.on_joint_state(moving.positions, np.zeros(J), later_s)
    with pytest.raises(OrderError, match=r'Reset refused: the arm still moves'):
        moving.guard.reset(later_s)


def test_reset_without_joint_states_is_refused() -> None:
    guard = CommandGuard(ROBOT, began_s=0.0)
    guard.stop('Emergency stop.', 0.0)
    with pytest.raises(OrderError, match=r'Reset refused'):
        guard.reset(10.0)


def test_reset_on_joint_states_of_long_ago_is_refused(arm: Arm) -> None:
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.has_joints = False
    arm.wait(5.0)  # nobody knows whether the arm rests
    with pytest.raises(OrderError, match=r'Reset refused'):
        arm.guard.reset(arm.now_s)


def test_reset_at_rest_returns_the_cause_and_lets_commands_through(arm: Arm) -> None:
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.wait(RESET_COOLDOWN_S + PERIOD_S)
    assert arm.guard.reset(arm.now_s) == 'Emergency stop.'
    arm.tick()
    assert arm.state is GuardState.READY
    np.testing.assert_array_equal(arm.hold('policy', SLOW, 0.05), SLOW)


def test_command_from_before_the_reset_does_not_move_the_arm(arm: Arm) -> None:
    arm.guard.stop('Emergency stop.', arm.now_s)
    arm.wait(RESET_COOLDOWN_S + PERIOD_S)
    arm.command('policy', SLOW)
    arm.guard.reset(arm.now_s)
    assert not arm.tick().any()


# --- Near a position limit -------------------------------------------------------------------


@pytest.mark.parametrize('sign', [1.0, -1.0])
@pytest.mark.parametrize('joint', range(J))
def test_arm_stops_before_a_limit_it_is_driven_into(joint: int, sign: float) -> None:
    arm = Arm()
    velocities = np.zeros(J)
    velocities[joint] = sign * ROBOT.rated_velocities[joint]
    limit = (ROBOT.upper_limits if sign > 0 else ROBOT.lower_limits)[joint]
    arm.hold('teleop', velocities, abs(limit - arm.positions[joint]) / 0.5)
    assert -0.02 <= sign * (arm.positions[joint] - limit) <= 1e-3
    assert np.abs(arm.velocities).max() < 0.15


def test_arm_past_a_limit_may_move_back_but_not_on() -> None:
    positions = ROBOT.home
    positions[0] = ROBOT.upper_limits[0] + 0.01
    arm = Arm(positions)
    outwards = np.zeros(J)
    outwards[0] = 0.02
    assert not arm.hold('teleop', outwards, 0.1).any()
    assert arm.hold('teleop', -outwards, 0.1)[0] == pytest.approx(-0.02)
