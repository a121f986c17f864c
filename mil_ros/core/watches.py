"""What the guard hears of the arm and of Servo, and whether it may be relied on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from mil_ros.core.types import Vector

REST_RAD_S: Final = 0.01
SERVO_SILENCE_S: Final = 0.2
# moveit_msgs/ServoStatus codes at which the arm must not be driven on, or only slowly
SERVO_STOP_CODES: Final = {
    -1: 'INVALID',
    2: 'HALT_FOR_SINGULARITY',
    5: 'HALT_FOR_COLLISION',
    6: 'JOINT_BOUND',
}
SERVO_SLOW_CODES: Final = {
    1: 'DECELERATE_FOR_APPROACHING_SINGULARITY',
    3: 'DECELERATE_FOR_LEAVING_SINGULARITY',
    4: 'DECELERATE_FOR_COLLISION',
}
_CLOCK_TOLERANCE_S: Final = 0.02  # by which a stamp may seem to lie in the future


@dataclass(slots=True)
class JointsWatch:
    """The newest measurement of the joints.

    Attributes:
        topic: Where it comes from.
        max_age_s: How old it may be.
        positions: In robot-file order, (J,) in rad; None before the first.
        velocities: Likewise, in rad/s.
    """

    topic: str
    max_age_s: float
    positions: Vector | None = None
    velocities: Vector | None = None
    _measured_s: float = -np.inf

    def take(self, positions: Vector, velocities: Vector, now_s: float, age_s: float) -> None:
        """Take a measurement and how old its stamp says that it is.

        One that seems to come from the future was stamped by another clock: nobody can tell how
        old it is.
        """
        self.positions, self.velocities = positions, velocities
        self._measured_s = now_s - age_s if age_s >= -_CLOCK_TOLERANCE_S else -np.inf

    @property
    def is_at_rest(self) -> bool:
        """Whether every joint was measured to be as good as still."""
        return self.velocities is not None and bool(np.all(np.abs(self.velocities) < REST_RAD_S))

    def find_doubt(self, now_s: float) -> str:
        """Return why the measurement cannot be relied on, or nothing."""
        if self.positions is None:
            return (
                f'Nothing usable has come on {self.topic}, expected the joints of the robot file; '
                'check the driver.'
            )
        if np.isneginf(self._measured_s):
            return (
                f'{self.topic} is stamped later than now, expected stamps by the clock of this '
                'machine; synchronise the clocks.'
            )
        age_s = now_s - self._measured_s
        if age_s > self.max_age_s:
            return (
                f'The newest of {self.topic} is {age_s:.3f} s old, expected at most '
                f'{self.max_age_s:g} s; check the driver.'
            )
        return ''


@dataclass(slots=True)
class ServoWatch:
    """The newest status of Servo.

    Attributes:
        topic: Where it comes from.
        is_switched: Whether Servo has agreed to joint jogging.
        code: Of moveit_msgs/ServoStatus.
    """

    topic: str
    is_switched: bool = False
    code: int = 0
    _heard_s: float = -np.inf

    def take(self, code: int, now_s: float) -> None:
        """Take a status."""
        self.code, self._heard_s = code, now_s

    def find_doubt(self, now_s: float) -> str:
        """Return why Servo cannot be relied on, or nothing."""
        age_s = now_s - self._heard_s
        if np.isinf(age_s):
            return f'Nothing has come on {self.topic}, expected the status of Servo; start it.'
        if age_s > SERVO_SILENCE_S:
            return (
                f'{self.topic} has been silent for {age_s:.3f} s, expected at most '
                f'{SERVO_SILENCE_S} s; start or unpause Servo.'
            )
        if not self.is_switched:
            return 'Servo has not agreed to joint jogging yet, expected it to; see its log.'
        return ''
