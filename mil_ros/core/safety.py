"""What the guard lets through to the arm; pure logic, time is an argument.

On any doubt the output decelerates to zero and stays there. A fault latches: it ends only by
`reset`, called by a person, at rest. This software is not a safety function; the hardware
emergency stop comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import OrderError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

SOURCES = ('teleop', 'policy')  # the first one that speaks has its way: a human beats the policy
REST_RAD_S = 0.01
SERVO_SILENCE_S = 0.25
RESET_COOLDOWN_S = 0.5
# moveit_msgs/ServoStatus codes at which the arm must not be driven on
SERVO_STOP_CODES = {-1: 'INVALID', 2: 'HALT_FOR_SINGULARITY', 5: 'HALT_FOR_COLLISION'}


class GuardState(str, Enum):
    """What the guard does with commands."""

    WAITING = 'waiting'  # no joint states or no Servo yet
    DISABLED = 'disabled'  # the deadman switch is not held
    READY = 'ready'  # nobody commands
    TELEOP = 'teleop'
    POLICY = 'policy'
    FAULT = 'fault'


@dataclass(slots=True)
class _Command:
    velocities: Vector
    at_s: float


@dataclass(eq=False)
class CommandGuard:
    """Arbitrates, limits and stops; every method takes the steady time in s."""

    robot: RobotDescription
    fault: str | None = None
    _commands: dict[str, _Command] = field(default_factory=dict)
    _output: Vector = field(init=False)
    _positions: Vector | None = None
    _velocities: Vector | None = None
    _joints_at_s: float = -np.inf
    _servo_at_s: float = -np.inf
    _deadman_at_s: float = -np.inf
    _fault_at_s: float = -np.inf
    _tick_at_s: float | None = None

    def __post_init__(self) -> None:
        self._output = np.zeros(len(self.robot.joints))

    @property
    def output(self) -> Vector:
        """The newest command that was let through, (J,) in rad/s."""
        return self._output.copy()

    def on_command(
        self, source: str, names: list[str], velocities: list[float], now_s: float
    ) -> None:
        """Take a command from a source; a malformed one is a fault and never sent on."""
        expected = self.robot.joint_names
        if not len(names) == len(velocities) == len(expected) or set(names) != set(expected):
            self.stop(
                f'{source} sent {len(velocities)} velocities for joints {list(names)}, expected '
                f'one each for {list(expected)}; check the robot file of the sender.',
                now_s,
            )
            return
        by_name = dict(zip(names, velocities, strict=True))
        ordered = np.array([by_name[name] for name in expected], dtype=np.float64)
        if not np.isfinite(ordered).all():
            self.stop(
                f'{source} sent non-finite velocities {ordered.tolist()}, expected finite '
                'numbers; see its log.',
                now_s,
            )
            return
        self._commands[source] = _Command(ordered, now_s)

    def on_joint_state(
        self, positions: NDArray[np.float64], velocities: NDArray[np.float64], now_s: float
    ) -> None:
        """Take measured positions and velocities in robot-file order, (J,) each."""
        self._positions, self._velocities = positions, velocities
        self._joints_at_s = now_s

    def on_servo_status(self, code: int, message: str, now_s: float) -> None:
        """Take Servo's status; codes that mean a halt are faults."""
        self._servo_at_s = now_s
        if code in SERVO_STOP_CODES:
            self.stop(
                f'Servo reports {SERVO_STOP_CODES[code]} ({message or "no detail"}), expected '
                'NO_WARNING; clear its cause.',
                now_s,
            )

    def on_deadman(self, is_held: bool, now_s: float) -> None:
        """Take the state of the enabling switch; only a fresh True lets the arm move."""
        self._deadman_at_s = now_s if is_held else -np.inf

    def stop(self, reason: str, now_s: float) -> None:
        """Latch a fault; the first reason is kept until `reset`."""
        if self.fault is None:
            self.fault = reason
            self._fault_at_s = now_s
        self._commands.clear()

    def reset(self, now_s: float) -> str:
        """Clear the fault and return what it was.

        Raises:
            OrderError: If there is none, it is too recent, or the arm still moves.
        """
        if self.fault is None:
            raise OrderError('Nothing to reset: the guard has no fault.')
        left_s = RESET_COOLDOWN_S - (now_s - self._fault_at_s)
        if left_s > 0:
            raise OrderError(
                f'Reset refused: the fault is {now_s - self._fault_at_s:.2f} s old, expected at '
                f'least {RESET_COOLDOWN_S} s; wait and call it again.'
            )
        age_s = now_s - self._joints_at_s
        if age_s > self.robot.joint_states.max_age_s:
            raise OrderError(
                f'Reset refused: {self.robot.topics.joint_states} has been silent for '
                f'{age_s:.3f} s, expected at most {self.robot.joint_states.max_age_s:g} s, so '
                'nobody knows whether the arm rests; check the driver.'
            )
        if not self.is_at_rest:
            raise OrderError(
                'Reset refused: the arm still moves, expected every joint below '
                f'{REST_RAD_S} rad/s; wait until it rests.'
            )
        cause, self.fault = self.fault, None
        self._commands.clear()
        return cause

    @property
    def is_at_rest(self) -> bool:
        """Whether the output is zero and every measured joint velocity is near it."""
        measured = self._velocities
        still = measured is not None and bool(np.all(np.abs(measured) < REST_RAD_S))
        return still and not self._output.any()

    def tick(self, now_s: float) -> tuple[Vector, GuardState]:
        """Return the command to send now, (J,) in rad/s, and the state that explains it."""
        rate_hz = self.robot.guard.rate_hz
        since_s = 1.0 / rate_hz if self._tick_at_s is None else now_s - self._tick_at_s
        self._tick_at_s = now_s
        dt_s = float(np.clip(since_s, 0.0, 2.0 / rate_hz))  # a late tick must not jump
        state, target = self._decide(now_s)
        self._output = self._approach(target, dt_s)
        return self.output, state

    def _decide(self, now_s: float) -> tuple[GuardState, Vector]:
        """Return who has the say and what they want."""
        zero = np.zeros_like(self._output)
        joints_age_s = now_s - self._joints_at_s
        servo_age_s = now_s - self._servo_at_s
        lost_s = self.robot.joint_states.max_age_s
        if self._output.any() and self.fault is None:
            if joints_age_s > lost_s:
                self.stop(
                    f'{self.robot.topics.joint_states} has been silent for {joints_age_s:.3f} s '
                    f'in motion, expected at most {lost_s:g} s; check the driver.',
                    now_s,
                )
            elif servo_age_s > SERVO_SILENCE_S:
                self.stop(
                    f'{self.robot.topics.servo_status} has been silent for {servo_age_s:.3f} s '
                    f'in motion, expected at most {SERVO_SILENCE_S} s; check Servo.',
                    now_s,
                )
            elif not self._is_enabled(now_s):
                self.stop(
                    'The deadman switch was released in motion, expected it held; rest, call '
                    '~/reset and hold it again.',
                    now_s,
                )
        if self.fault is not None:
            return GuardState.FAULT, zero
        if joints_age_s > lost_s or servo_age_s > SERVO_SILENCE_S:
            return GuardState.WAITING, zero
        if not self._is_enabled(now_s):
            return GuardState.DISABLED, zero
        timeout_s = self.robot.guard.source_timeout_s
        for source in SOURCES:
            command = self._commands.get(source)
            if command is not None and now_s - command.at_s <= timeout_s:
                return GuardState(source), command.velocities
        return GuardState.READY, zero

    def _is_enabled(self, now_s: float) -> bool:
        """Whether the deadman switch, if the robot file asks for one, was held just now."""
        settings = self.robot.guard
        return not settings.deadman or now_s - self._deadman_at_s <= settings.source_timeout_s

    def _position_bounds(self) -> tuple[Vector, Vector]:
        """Return the velocities from which every joint can still stop before its limit."""
        limits = self.robot.velocity_limits
        if self._positions is None:
            return -limits, limits
        # v^2 = 2 a s, with half of a kept in reserve for the delay down to the arm
        deceleration = self.robot.acceleration_limits
        room_up = np.maximum(self.robot.upper_limits - self._positions, 0.0)
        room_down = np.maximum(self._positions - self.robot.lower_limits, 0.0)
        low = -np.minimum(limits, np.sqrt(deceleration * room_down))
        high = np.minimum(limits, np.sqrt(deceleration * room_up))
        return low, high

    def _approach(self, target: Vector, dt_s: float) -> Vector:
        """Move the output towards the target within all limits, keeping its direction.

        Speed and acceleration limits scale all joints alike; a joint that must brake for its
        position limit does not wait for the others.
        """
        low, high = self._position_bounds()
        bound = np.where(target > 0, high, -low)
        speed = np.abs(target)
        share = np.divide(bound, speed, out=np.ones_like(bound), where=speed > bound)
        change = target * share.min() - self._output
        step = self.robot.acceleration_limits * dt_s
        over = float(np.max(np.abs(change) / np.maximum(step, 1e-12)))
        output = self._output + change / max(over, 1.0)
        bounded: Vector = np.clip(
            output, np.minimum(low, self._output + step), np.maximum(high, self._output - step)
        )
        return bounded
