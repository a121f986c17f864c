"""From the velocities that are wanted to those that are sent: every limit of the joints.

Pure functions over arrays whose last axis are joints: the guard calls them for one arm, tests for
thousands of arms at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.robot import RobotDescription

Joints = NDArray[np.float64]  # (..., J)
_TINY = 1e-12
_REACTION_PERIODS = 2.0  # of the stream: one to decide in, one until Servo has it


@dataclass(frozen=True, eq=False, slots=True)
class Bounds:
    """Limits in use, (J,) each: rad, rad/s, rad/s^2, rad/s^3 (infinite for no limit).

    `reaction_s` passes until a command that stops has any effect.
    """

    lower: Joints
    upper: Joints
    velocity: Joints
    acceleration: Joints
    jerk: Joints
    reaction_s: float

    @classmethod
    def of(cls, robot: RobotDescription) -> Bounds:
        """Return what a robot file asks for."""
        return cls(
            robot.lower_limits,
            robot.upper_limits,
            robot.velocity_limits,
            robot.acceleration_limits,
            robot.jerk_limits,
            _REACTION_PERIODS / robot.guard.rate_hz,
        )


@dataclass(frozen=True, eq=False, slots=True)
class Motion:
    """What is sent: velocities and, where jerk is limited, accelerations, (..., J)."""

    velocities: Joints
    accelerations: Joints

    @classmethod
    def rest(cls, shape: tuple[int, ...]) -> Motion:
        """Return no motion."""
        return cls(np.zeros(shape), np.zeros(shape))

    @property
    def is_rest(self) -> bool:
        """Whether nothing moves."""
        return not self.velocities.any()


def stopping_distance(velocities: Joints, bounds: Bounds) -> Joints:
    """Return how far each joint goes at most until the arm rests, (..., J) in rad.

    All joints slow down alike, so the one that takes longest counts for each.
    """
    speed = np.abs(velocities)
    duration_s = speed / bounds.acceleration + _overhead_s(bounds)
    return np.asarray(speed * duration_s.max(axis=-1, keepdims=True))


def velocity_range(positions: Joints, bounds: Bounds) -> tuple[Joints, Joints]:
    """Return the velocities from which every joint can still stop before its position limits.

    A joint alone needs v^2/a plus what it does in the meantime: half of the deceleration is kept
    in reserve, for the arm that lags behind. Solved for the speed, and at most the speed limit.

    Args:
        positions: Measured, (..., J) in rad.
        bounds: Of the arm.

    Returns:
        Lowest and highest velocity, (..., J) in rad/s each; past a limit, none that leads on.
    """
    meantime = bounds.acceleration * _overhead_s(bounds)  # rad/s

    def fastest(room: Joints) -> Joints:
        discriminant = meantime**2 + 4.0 * bounds.acceleration * np.maximum(room, 0.0)
        stoppable = (np.sqrt(discriminant) - meantime) / 2.0
        return np.asarray(np.minimum(bounds.velocity, stoppable))

    return -fastest(positions - bounds.lower), fastest(bounds.upper - positions)


def _overhead_s(bounds: Bounds) -> Joints:
    """Return what passes before a joint slows down at its full deceleration, (J,) in s."""
    return bounds.reaction_s + bounds.acceleration / bounds.jerk


def share_within(target: Joints, low: Joints, high: Joints) -> Joints:
    """Return the share of a velocity that keeps a range in every joint, (..., 1) in [0, 1]."""
    bound, speed = np.where(target > 0.0, high, -low), np.abs(target)
    share = np.divide(bound, speed, out=np.ones_like(speed), where=speed > bound)
    return np.asarray(share.min(axis=-1, keepdims=True))


def approach(
    motion: Motion, target: Joints, low: Joints, high: Joints, bounds: Bounds, dt_s: float
) -> Motion:
    """Bring what is sent closer to a target within the limits of acceleration and jerk.

    All joints are slowed down alike, so that the direction stays. A joint that must brake for a
    limit of its position or velocity does not wait for the others, nor for its jerk limit.

    Args:
        motion: What is sent now.
        target: Velocities to come to, within `low` and `high`, (..., J) in rad/s.
        low: Of `velocity_range`.
        high: Of `velocity_range`.
        bounds: Of the arm.
        dt_s: Until this is sent.
    """
    now, step = motion.velocities, bounds.acceleration * dt_s
    if np.isinf(bounds.jerk).all():
        change = target - now
        over = np.max(np.abs(change) / np.maximum(step, _TINY), axis=-1, keepdims=True)
        wanted = now + change / np.maximum(over, 1.0)
    else:
        wanted = now + _with_jerk(motion, target - now, bounds, dt_s) * dt_s
    sent = np.clip(wanted, np.minimum(low, now + step), np.maximum(high, now - step))
    return Motion(sent, (sent - now) / max(dt_s, _TINY))


def _with_jerk(motion: Motion, change: Joints, bounds: Bounds, dt_s: float) -> Joints:
    """Return accelerations towards a change of velocity, (..., J) in rad/s^2.

    As fast as may be while the acceleration can still be gone when the change is done: taken back
    by j*dt in each step, a leads on by (a + j*dt/2)^2 / 2j at most.
    """
    size, step = np.abs(change), bounds.jerk * dt_s
    fading = np.sqrt(2.0 * bounds.jerk * size) - step / 2.0
    last = np.minimum(size / max(dt_s, _TINY), step)  # done in one step, or in the one after it
    most = np.minimum(bounds.acceleration, np.maximum(fading, last))
    share = np.divide(most, size, out=np.full_like(size, np.inf), where=size > _TINY)
    gain = np.minimum(share.min(axis=-1, keepdims=True), 1.0 / max(dt_s, _TINY))
    turn = change * gain - motion.accelerations
    over = np.max(np.abs(turn) / np.maximum(step, _TINY), axis=-1, keepdims=True)
    return np.asarray(motion.accelerations + turn / np.maximum(over, 1.0))


def blend(first: Motion, second: Motion, share: float) -> Motion:
    """Return a motion between two; what keeps a limit in both keeps it here."""
    velocities = first.velocities + share * (second.velocities - first.velocities)
    accelerations = first.accelerations + share * (second.accelerations - first.accelerations)
    return Motion(velocities, accelerations)
