"""Jerk-limited profiles in joint space, by the library Ruckig."""

from __future__ import annotations

from typing import Any

import numpy as np

from mil_ros.core.errors import ConfigError, MotionError
from mil_ros.core.homing import MotionLimits
from mil_ros.core.types import Vector

_NOWHERE_RAD = 1e-9


class RuckigProfile:
    """The quickest motion from rest to rest within limits, along a straight line of joints.

    All joints start and arrive together.
    """

    def __init__(self, start: Vector, goal: Vector, limits: MotionLimits) -> None:
        """Compute the motion.

        Args:
            start: Where all joints rest, (J,) in rad.
            goal: Where they shall rest, (J,) in rad.
            limits: What to keep.

        Raises:
            ConfigError: If Ruckig is not installed.
            MotionError: If it finds no such motion.
        """
        way = goal - start
        length = float(np.abs(way).max())
        self._start, self._goal = start.copy(), goal.copy()
        self.duration_s = 0.0
        if length < _NOWHERE_RAD:
            return
        # One motion of all joints, measured by the one with the longest way. Ruckig's own
        # synchronisation leaves the straight line where joints have limits of different shapes.
        self._direction = way / length
        self._trajectory = _plan_distance(
            length,
            self._along(limits.velocity),
            self._along(limits.acceleration),
            self._along(limits.jerk),
        )
        self.duration_s = float(self._trajectory.duration)

    def at(self, time_s: float) -> tuple[Vector, Vector]:
        """Return position and velocity, (J,) each in rad and rad/s; the end lasts for ever."""
        moment_s = max(time_s, 0.0)
        if moment_s >= self.duration_s:
            return self._goal.copy(), np.zeros_like(self._goal)
        done, speed, _ = self._trajectory.at_time(moment_s)
        return self._start + done[0] * self._direction, speed[0] * self._direction

    def _along(self, limits: Vector) -> float:
        """Return the limit of the joint with the longest way, so that all keep theirs."""
        return float(np.min(limits / np.maximum(np.abs(self._direction), _NOWHERE_RAD)))


def _plan_distance(length: float, velocity: float, acceleration: float, jerk: float) -> Any:
    """Return Ruckig's trajectory from 0 to a distance in rad, in one dimension."""
    try:
        import ruckig
    except ImportError as err:
        raise ConfigError(
            'Motion refused: ruckig is not installed, expected it for motions in joint space; '
            'install it (pip install ruckig).'
        ) from err
    wanted, trajectory = ruckig.InputParameter(1), ruckig.Trajectory(1)
    wanted.target_position = [length]
    wanted.max_velocity, wanted.max_acceleration = [velocity], [acceleration]
    wanted.max_jerk = [jerk]
    try:
        result = ruckig.Ruckig(1).calculate(wanted, trajectory)
    except ruckig.RuckigError:
        result = ruckig.Result.Error
    if result != ruckig.Result.Working:
        raise MotionError(
            f'Motion refused: ruckig finds no motion over {length:.3f} rad ({result.name}) at '
            f'most {velocity:g} rad/s, {acceleration:g} rad/s^2 and {jerk:g} rad/s^3, expected '
            'one; check the limits of the robot file.'
        )
    return trajectory
