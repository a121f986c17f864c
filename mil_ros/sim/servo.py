"""The rules of MoveIt Servo for JointJog, and of the position controller behind it.

Behaviour follows ``servo_node`` of Jazzy as far as a sender can notice it: fresh stamps only, the
command type must be chosen first, invalid commands publish nothing, a pause is silent, and a stale
command halts smoothly. With nothing published the arm holds its position.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

COMMAND_TIMEOUT_S = 0.1  # incoming_command_timeout
LIMIT_MARGIN_RAD = 0.1  # joint_limit_margins
JOINT_JOG = 0  # moveit_msgs/srv/ServoCommandType
INVALID, NO_WARNING, JOINT_BOUND = -1, 0, 6  # moveit_msgs/msg/ServoStatus
_HALTED_RAD_S = 1e-4


@dataclass(frozen=True, slots=True)
class ServoOutput:
    """What Servo does in one period: joint velocities, (J,) in rad/s, and its status.

    `status` is None while nothing is published.
    """

    velocities: Vector
    status: int | None
    message: str = ''


@dataclass(eq=False)
class ServoEmulator:
    """Turns JointJog commands into joint velocities, once per period."""

    robot: RobotDescription
    paused: bool = False
    _is_joint_jog: bool = False
    _stamp_ns: int | None = None
    _target: Vector | None = None
    _invalid: str = ''
    _velocities: Vector = field(init=False)

    def __post_init__(self) -> None:
        self._velocities = np.zeros(len(self.robot.joints))

    def switch_command_type(self, command_type: int) -> bool:
        """Choose the kind of command; only joint jogging is simulated."""
        self._is_joint_jog = command_type == JOINT_JOG
        return self._is_joint_jog

    def on_joint_jog(self, stamp_ns: int, names: list[str], velocities: Vector) -> None:
        """Take a command; joints that it does not name shall rest."""
        self._stamp_ns, self._target, self._invalid = stamp_ns, None, ''
        unknown = [name for name in names if name not in self.robot.joint_names]
        if len(names) != len(velocities):
            self._invalid = f'{len(names)} joint names but {len(velocities)} velocities'
        elif unknown:
            self._invalid = f'unknown joints {unknown}'
        elif not np.isfinite(velocities).all():
            self._invalid = 'non-finite velocities'
        else:
            by_name = dict(zip(names, velocities, strict=True))
            self._target = np.array([by_name.get(n, 0.0) for n in self.robot.joint_names])

    def is_stale(self, now_ns: int) -> bool:
        """Whether nobody commands any more, or never did."""
        return self._stamp_ns is None or now_ns - self._stamp_ns >= COMMAND_TIMEOUT_S * NS_PER_S

    def step(self, now_ns: int, positions: Vector, period_s: float) -> ServoOutput:
        """Advance one period from the measured positions, (J,) in rad."""
        hold = np.zeros_like(self._velocities)
        if self.paused or not self._is_joint_jog:
            self._velocities = hold
            return ServoOutput(hold, None if self.paused else NO_WARNING)
        if self._invalid:
            message, self._invalid = self._invalid, ''
            self._velocities = hold
            return ServoOutput(hold, INVALID, message)
        if self.is_stale(now_ns) or self._target is None:
            self._velocities = self._halt(period_s)
            return ServoOutput(self._velocities.copy(), NO_WARNING)
        rated = np.array([joint.velocity_rad_s for joint in self.robot.joints])
        excess = float(np.max(np.abs(self._target) / rated))
        target = self._target / max(excess, 1.0)
        bounded = self._joints_at_bound(positions, target)
        if bounded:
            self._velocities = self._halt(period_s)
            message = f'{", ".join(bounded)} close to a position limit'
            return ServoOutput(self._velocities.copy(), JOINT_BOUND, message)
        self._velocities = target
        return ServoOutput(target.copy(), NO_WARNING)

    def _halt(self, period_s: float) -> Vector:
        """Return the velocities one period further into a halt, all joints alike."""
        rated = np.array([joint.acceleration_rad_s2 for joint in self.robot.joints])
        left_s = float(np.max(np.abs(self._velocities) / rated))
        slower = self._velocities * max(0.0, 1.0 - period_s / max(left_s, 1e-9))
        return np.where(np.abs(slower) < _HALTED_RAD_S, 0.0, slower)

    def _joints_at_bound(self, positions: Vector, target: Vector) -> list[str]:
        names = []
        for joint, position, velocity in zip(self.robot.joints, positions, target, strict=True):
            too_high = velocity > 0 and position > joint.upper_rad - LIMIT_MARGIN_RAD
            too_low = velocity < 0 and position < joint.lower_rad + LIMIT_MARGIN_RAD
            if too_high or too_low:
                names.append(joint.name)
        return names
