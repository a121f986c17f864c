"""What the guard lets through to the arm; pure logic, time is an argument.

On any doubt the output decelerates to zero and stays there. A fault latches: it ends only by
`reset`, called by a person, at rest. This software is not a safety function; the hardware
emergency stop comes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.arbitration import Arbiter
from mil_ros.core.commands import find_flaw
from mil_ros.core.errors import OrderError
from mil_ros.core.motion import approach, blend, Bounds, Motion, share_within, velocity_range
from mil_ros.core.robot import RobotDescription
from mil_ros.core.tool_limits import ToolLimiter
from mil_ros.core.types import Vector
from mil_ros.core.watches import (
    JointsWatch,
    REST_RAD_S,
    SERVO_SLOW_CODES,
    SERVO_STOP_CODES,
    ServoWatch,
)

TELEOP, PLANNER, POLICY = 'teleop', 'planner', 'policy'  # a human beats a plan beats the policy
SERVO_TIMEOUT_S: Final = 0.1  # incoming_command_timeout: Servo halts if it hears nothing
RESET_COOLDOWN_S: Final = 0.5
_SLOW_SHARE: Final = 0.5


class GuardState(str, Enum):
    """What the guard does with commands."""

    WAITING = 'waiting'  # something that it needs is missing
    DISABLED = 'disabled'  # the deadman switch is not held
    READY = 'ready'  # nobody commands
    TELEOP = TELEOP
    PLANNER = PLANNER
    POLICY = POLICY
    FAULT = 'fault'


@dataclass(eq=False)
class CommandGuard:
    """Arbitrates, limits and stops; every method takes the steady time in s.

    Attributes:
        robot: Limits and topics.
        began_s: When the guard was started.
        fault: Why it stopped; None without a fault.
        why: What it waits for, or which stream it does not take up; empty if all is well.
        hits: How many commands were changed by which kind of limit.
        tool: Limits at the tool, once its kinematics are known; None for none.
    """

    robot: RobotDescription
    began_s: float
    fault: str | None = None
    why: str = ''
    hits: Counter[str] = field(default_factory=Counter)
    tool: ToolLimiter | None = None
    _bounds: Bounds = field(init=False)
    _arbiter: Arbiter = field(init=False)
    _motion: Motion = field(init=False)
    _active: str = ''
    _joints: JointsWatch = field(init=False)
    _servo: ServoWatch = field(init=False)
    _deadman_at_s: float = -np.inf
    _fault_at_s: float = -np.inf
    _tick_at_s: float | None = None
    _obstacles: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = self.robot.guard
        self._bounds = Bounds.of(self.robot)
        self._motion = Motion.rest((len(self.robot.joints),))
        timeouts_s = {
            TELEOP: settings.source_timeout_s,
            PLANNER: settings.policy_timeout_s,
            POLICY: settings.policy_timeout_s,
        }
        self._arbiter = Arbiter(timeouts_s, self.began_s)
        topics, max_age_s = self.robot.topics, self.robot.joint_states.max_age_s
        self._joints = JointsWatch(topics.joint_states, max_age_s)
        self._servo = ServoWatch(topics.servo_status)

    @property
    def output(self) -> Vector:
        """The newest command that was let through, (J,) in rad/s."""
        return self._motion.velocities.copy()

    # What comes in

    def on_command(
        self, source: str, names: Sequence[str], velocities: Sequence[float], now_s: float
    ) -> bool:
        """Take a command from a source; a malformed one is a fault and never sent on.

        Returns:
            Whether it says anything new.
        """
        flaw = find_flaw(self.robot, names, velocities)
        if flaw:
            self.stop(f'{source} sent {flaw}.', now_s)
            return True
        by_name = dict(zip(names, velocities, strict=True))
        ordered = np.array([by_name[name] for name in self.robot.joint_names], dtype=np.float64)
        return self._arbiter.take(source, ordered, now_s)

    def on_joint_state(
        self,
        positions: NDArray[np.float64],
        velocities: NDArray[np.float64],
        now_s: float,
        age_s: float = 0.0,
    ) -> None:
        """Take a measurement in robot-file order, (J,) each, and how old its stamp is."""
        self._joints.take(positions, velocities, now_s, age_s)

    def on_servo_status(self, code: int, message: str, now_s: float) -> None:
        """Take Servo's status; codes that mean a halt are faults."""
        self._servo.take(code, now_s)
        if code in SERVO_STOP_CODES:
            self.stop(
                f'Servo reports {SERVO_STOP_CODES[code]} ({message or "no detail"}), expected '
                'NO_WARNING; clear its cause.',
                now_s,
            )

    def on_servo_switched(self, is_switched: bool) -> None:
        """Take whether Servo has agreed to joint jogging."""
        self._servo.is_switched = is_switched

    def on_deadman(self, is_held: bool, now_s: float) -> None:
        """Take the state of the enabling switch; only a fresh True lets the arm move."""
        self._deadman_at_s = now_s if is_held else -np.inf

    def on_obstacle(self, name: str, reason: str, now_s: float) -> None:
        """Take a condition under which nothing may move, or its end, which has no reason.

        In motion it is a fault; at rest the guard waits for its end.
        """
        if not reason:
            self._obstacles.pop(name, None)
            return
        self._obstacles[name] = reason
        if not self._motion.is_rest:
            self.stop(reason, now_s)

    def stop(self, reason: str, now_s: float) -> None:
        """Latch a fault; the first reason is kept until `reset`."""
        if self.fault is None:
            self.fault = reason
            self._fault_at_s = now_s
        self._arbiter.bar()

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
        doubt = self._joints.find_doubt(now_s)
        if doubt:
            raise OrderError(f'Reset refused, since nobody knows whether the arm rests: {doubt}')
        if not self.is_at_rest:
            raise OrderError(
                'Reset refused: the arm still moves, expected every joint below '
                f'{REST_RAD_S} rad/s; wait until it rests.'
            )
        cause, self.fault = self.fault, None
        self._arbiter.bar()
        return cause

    # What goes out

    @property
    def is_at_rest(self) -> bool:
        """Whether the output is zero and every measured joint velocity is near it."""
        return self._joints.is_at_rest and self._motion.is_rest

    def tick(self, now_s: float) -> tuple[Vector, GuardState]:
        """Return the command to send now, (J,) in rad/s, and the state that explains it."""
        rate_hz = self.robot.guard.rate_hz
        since_s = 1.0 / rate_hz if self._tick_at_s is None else now_s - self._tick_at_s
        self._tick_at_s = now_s
        dt_s = float(np.clip(since_s, 0.0, 2.0 / rate_hz))  # a late tick must not jump
        if since_s >= SERVO_TIMEOUT_S and not self._motion.is_rest:
            self._motion = Motion.rest(self._motion.velocities.shape)  # Servo has halted by now
            self.stop(
                f'The guard did not get to run for {since_s:.3f} s in motion, expected less than '
                f'{SERVO_TIMEOUT_S} s; take load off this machine.',
                now_s,
            )
        if self.fault is None and not self._motion.is_rest:
            doubt = self._doubt_in_motion(now_s)
            if doubt:
                self.stop(doubt, now_s)
        state, target = self._decide(now_s)
        self._limit(target, dt_s)
        return self.output, state

    def _doubt_in_motion(self, now_s: float) -> str:
        """Return why the arm must not move on, or nothing."""
        doubt = self._joints.find_doubt(now_s) or self._servo.find_doubt(now_s)
        if doubt:
            return f'Stopped in motion: {doubt}'
        if not self._is_enabled(now_s):
            return (
                'The deadman switch was released in motion, expected it held; rest, call ~/reset '
                'and hold it again.'
            )
        if self._active in (PLANNER, POLICY) and self._arbiter.has_fallen_silent(
            self._active, now_s
        ):
            return (
                f'The {self._active} has been silent in motion for more than '
                f'{self._arbiter.timeouts_s[self._active]:g} s, expected a command; see whether '
                'its node runs.'
            )
        return ''

    def _decide(self, now_s: float) -> tuple[GuardState, Vector]:
        """Return who has the say and what they want."""
        zero = np.zeros_like(self._motion.velocities)
        self._active = ''
        if self.fault is not None:
            self.why = self.fault
            return GuardState.FAULT, zero
        self.why = self._missing(now_s)
        if self.why:
            self._arbiter.bar()  # what was missing may come back; motion must not
            return GuardState.WAITING, zero
        if not self._is_enabled(now_s):
            self.why = 'The deadman switch is not held.'
            return GuardState.DISABLED, zero
        chosen = self._arbiter.choose(now_s)
        if chosen is not None:
            self._active, velocities = chosen
            is_slow = self._servo.code in SERVO_SLOW_CODES
            if is_slow:
                self.why = f'Servo reports {SERVO_SLOW_CODES[self._servo.code]}: half the speed.'
            return GuardState(self._active), velocities * (_SLOW_SHARE if is_slow else 1.0)
        barred = self._arbiter.barred(now_s)
        if barred:
            self.why = (
                f'Not taken up: {" and ".join(barred)}, which commanded already before; it has '
                'to send zeros or to pause first.'
            )
        return GuardState.READY, zero

    def _missing(self, now_s: float) -> str:
        """Return what is not there that motion needs, or nothing."""
        if self._obstacles:
            return next(iter(self._obstacles.values()))
        return self._joints.find_doubt(now_s) or self._servo.find_doubt(now_s)

    def _is_enabled(self, now_s: float) -> bool:
        """Whether the deadman switch, if the robot file asks for one, was held just now."""
        settings = self.robot.guard
        return not settings.deadman or now_s - self._deadman_at_s <= settings.source_timeout_s

    def _limit(self, target: Vector, dt_s: float) -> None:
        """Move the output towards the target within all limits, and count those that it meets."""
        bounds, motion = self._bounds, self._motion
        if motion.is_rest and not target.any():
            self._motion = Motion.rest(target.shape)
            return
        low, high = -bounds.velocity, bounds.velocity
        share = float(share_within(target, low, high)[0])
        self.hits['velocity'] += share < 1.0
        if self._joints.positions is not None:
            low, high = velocity_range(self._joints.positions, bounds)
            narrower = float(share_within(target, low, high)[0])
            self.hits['position'] += narrower < share
            share = narrower
        wanted = target * share
        self._motion = approach(motion, wanted, low, high, bounds, dt_s)
        is_late = float(np.abs(self._motion.velocities - wanted).max()) > 1e-9
        self.hits['acceleration'] += is_late and self.fault is None
        if self.tool is not None and self._joints.positions is not None and target.any():
            braked = approach(motion, np.zeros_like(target), low, high, bounds, dt_s)
            # what was sent last is still on its way
            reached = self._joints.positions + motion.velocities / self.robot.guard.rate_hz
            at_tool = self.tool.find_share(reached, self._motion.velocities, braked.velocities)
            self.hits['tool'] += at_tool < 1.0
            self._motion = blend(braked, self._motion, at_tool)
