"""Moving home in joint space: when it may begin, how a profile is followed, when to give up.

Pure logic; time, and what is known of arm and guard, are arguments. Nothing here knows obstacles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from mil_ros.core.errors import MotionError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.safety import GuardState, PLANNER, POLICY, TELEOP
from mil_ros.core.types import Vector
from mil_ros.core.watches import REST_RAD_S

RATE_HZ = 100.0
# Half of what is in use: the guard never has to limit, and the correction has room.
FRACTION = 0.5
# Where the robot file knows no jerk limit, full acceleration is reached in a tenth of a second.
JERK_PER_ACCELERATION_HZ = 10.0
TOLERANCE_RAD = 0.005  # how far from the start pose counts as there
DEPARTURE_RAD = 0.15  # how far from its profile a joint may be; a blocked arm is farther soon
GUARD_SILENCE_S = 2.0  # it repeats its state twice a second

_GAIN_HZ = 2.0  # of the correction towards the profile: 20 mrad/s for 10 mrad
_UNHEEDED_S = 0.5  # how long the guard may take to pass our commands on
_REST_PATIENCE_S = 1.0  # how long zeros are sent to an arm that does not come to rest
_SPARE_S = 5.0  # beyond one and a half times the profile's own duration
_BUSY = 'let go of the joystick and end any run (/control/stop)'
_REMEDIES = {
    GuardState.DISABLED.value: 'hold the deadman switch',
    GuardState.WAITING.value: 'start what it waits for',
    TELEOP: _BUSY,
    POLICY: _BUSY,
}
_CLOCK_TOLERANCE_S = 0.02  # by which a stamp may seem to lie in the future


@dataclass(frozen=True, slots=True, eq=False)
class MotionLimits:
    """What a profile must keep: (J,) each, in rad/s, rad/s^2 and rad/s^3."""

    velocity: Vector
    acceleration: Vector
    jerk: Vector


def homing_limits(robot: RobotDescription) -> MotionLimits:
    """Return the limits of a motion home, all of them finite."""
    acceleration = FRACTION * robot.acceleration_limits
    own = FRACTION * robot.jerk_limits
    jerk = np.where(np.isfinite(own), own, JERK_PER_ACCELERATION_HZ * acceleration)
    return MotionLimits(FRACTION * robot.velocity_limits, acceleration, jerk)


class Profile(Protocol):
    """Where every joint shall be at what time."""

    duration_s: float

    def at(self, time_s: float) -> tuple[Vector, Vector]:
        """Return position and velocity, (J,) each in rad and rad/s; the end lasts for ever."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Situation:
    """What is known of arm and guard at one moment.

    Attributes:
        positions: As measured, (J,) in rad; None before the first joint state.
        velocities: As measured, (J,) in rad/s.
        joints_age_s: How old these are; negative if they come from the future.
        guard: The guard's state; empty before it said any.
        guard_says: Its message: the reason of a fault.
        guard_age_s: How long ago it said so.
    """

    positions: Vector | None
    velocities: Vector | None
    joints_age_s: float
    guard: str
    guard_says: str
    guard_age_s: float


def find_loss(robot: RobotDescription, now: Situation) -> str:
    """Return why nothing may move, or move on, or an empty string."""
    topic, max_age_s = robot.topics.joint_states, robot.joint_states.max_age_s
    if now.positions is None or now.velocities is None:
        return (
            f'nothing has come on {topic}, expected a running stream; start the driver or '
            'correct the robot file'
        )
    if not -_CLOCK_TOLERANCE_S <= now.joints_age_s <= max_age_s:
        return (
            f'{topic} is {now.joints_age_s:.3f} s old, expected 0 to {max_age_s:g} s; check the '
            'driver, and that both clocks agree'
        )
    if not now.guard or now.guard_age_s > GUARD_SILENCE_S:
        return (
            f'nothing has come on /guard/state for {now.guard_age_s:.1f} s, expected it at least '
            f'every {GUARD_SILENCE_S:g} s; start the guard'
        )
    if now.guard == GuardState.FAULT.value:
        return (
            f'the guard has a fault ({now.guard_says.rstrip(".")}), expected none; remove its '
            'cause and call /guard/reset at rest'
        )
    return ''


def check_may_begin(robot: RobotDescription, now: Situation) -> Vector:
    """Return where the arm rests, (J,) in rad, or refuse a motion.

    Raises:
        MotionError: If joint states or guard are missing or in fault, somebody else commands the
            arm, or it moves.
    """
    reason = find_loss(robot, now)
    if not reason and now.guard != GuardState.READY.value:
        remedy = _REMEDIES.get(now.guard, 'wait until it is')
        reason = f"the guard is in state {_describe(now)}, expected 'ready'; {remedy}"
    if not reason and now.velocities is not None:
        worst = int(np.abs(now.velocities).argmax())
        speed = abs(float(now.velocities[worst]))
        if speed >= REST_RAD_S:
            reason = (
                f'{robot.joint_names[worst]} moves at {speed:.3f} rad/s, expected every joint '
                f'below {REST_RAD_S} rad/s; wait until the arm rests'
            )
    if reason or now.positions is None:
        raise MotionError(f'Motion refused: {reason}.')
    return now.positions


def _describe(now: Situation) -> str:
    """Return the guard's state, and why, where that says more."""
    says = now.guard_says.rstrip('.')
    return f"'{now.guard}'" if says in ('', now.guard) else f"'{now.guard}' ({says})"


def is_resting(robot: RobotDescription, now: Situation) -> bool:
    """Return whether the arm is known to rest."""
    is_fresh = now.joints_age_s <= robot.joint_states.max_age_s
    speeds = now.velocities
    return is_fresh and speeds is not None and bool((np.abs(speeds) < REST_RAD_S).all())


class Homing:
    """Follows one profile to its end; made for one motion.

    The profile's time is that of the ticks, and a late tick does not make up for it: after a
    pause of this process the arm goes on from where it was, without a jump.
    """

    def __init__(self, robot: RobotDescription, profile: Profile, now_s: float) -> None:
        """Begin at the profile's start.

        Args:
            robot: Whose limits count.
            profile: From where the arm is to where it shall be.
            now_s: Steady time.
        """
        self._robot, self._profile = robot, profile
        self._goal = profile.at(profile.duration_s)[0]
        self._began_s = self._tick_s = self._passed_on_s = now_s
        self._time_s = 0.0  # of the profile
        self._has_begun = False
        self._ended_s: float | None = None
        self.failure = ''
        self.is_over = False

    def stop(self, reason: str, now_s: float) -> None:
        """Give up; zeros are sent from now on, and the first reason is kept."""
        if self._ended_s is None:
            self._ended_s, self.failure = now_s, reason

    def tick(self, now_s: float, now: Situation) -> Vector:
        """Return the velocities to send, (J,) in rad/s; zeros once it has ended or must end."""
        if self._ended_s is None:
            reason = self._find_end(now_s, now)
            if reason:
                self.stop(reason, now_s)
        if self._ended_s is not None or now.positions is None:
            return self._rest(now_s, now)
        if not self._has_begun:  # the guard takes up a stream that begins with zeros at any time
            self._has_begun, self._tick_s = True, now_s
            return np.zeros_like(now.positions)
        self._time_s += float(np.clip(now_s - self._tick_s, 0.0, 2.0 / RATE_HZ))
        self._tick_s = now_s
        positions, velocities = self._profile.at(self._time_s)
        if self._time_s >= self._profile.duration_s and self._is_there(now):
            self._ended_s = now_s
            return self._rest(now_s, now)
        command = velocities + _GAIN_HZ * (positions - now.positions)
        excess = float(np.max(np.abs(command) / self._robot.velocity_limits))
        return command / max(excess, 1.0)

    def _rest(self, now_s: float, now: Situation) -> Vector:
        """Return zeros, and see whether the arm rests."""
        is_at_rest = is_resting(self._robot, now)
        if not is_at_rest and self._ended_s is not None:
            is_at_rest = now_s - self._ended_s > _REST_PATIENCE_S
        self.is_over = self.is_over or is_at_rest
        return np.zeros(len(self._robot.joints))

    def _is_there(self, now: Situation) -> bool:
        if now.positions is None or not is_resting(self._robot, now):
            return False
        return float(np.abs(self._goal - now.positions).max()) <= TOLERANCE_RAD

    def _find_end(self, now_s: float, now: Situation) -> str:
        """Return why the motion must end here, or an empty string."""
        loss = find_loss(self._robot, now)
        if loss or now.positions is None:
            return loss
        if now.guard in (TELEOP, POLICY):
            return f"the guard follows '{now.guard}' now; call /planner/go_home again at rest"
        if now.guard == PLANNER:
            self._passed_on_s = now_s
        elif now_s - self._passed_on_s > _UNHEEDED_S:
            remedy = _REMEDIES.get(now.guard, 'see its log')
            return (
                f"the guard passes nothing on, in state {_describe(now)}, expected 'planner'; "
                f'{remedy}'
            )
        departed = np.abs(self._profile.at(self._time_s)[0] - now.positions)
        worst = int(departed.argmax())
        if departed[worst] > DEPARTURE_RAD:
            return (
                f'{self._robot.joint_names[worst]} is {departed[worst]:.3f} rad from where it '
                f'should be, expected at most {DEPARTURE_RAD} rad; see what blocks the arm'
            )
        limit_s = 1.5 * self._profile.duration_s + _SPARE_S
        if now_s - self._began_s > limit_s:
            away = float(np.abs(self._goal - now.positions).max())
            return (
                f'after {limit_s:.1f} s it is still {away:.3f} rad away, expected at most '
                f'{TOLERANCE_RAD} rad; see what holds the arm back'
            )
        return ''
