"""The scripted teleoperator's hand: carries the tip somewhere and keeps the tool upright."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mil_ros.core.types import Vector

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

TIP_RADIUS_M = 0.014
TIP_FROM_LINK7_M = 0.26
_UPRIGHT_GAIN_HZ = 2.0
_HOME_GAIN_HZ = 0.5
_DAMPING = 0.02
_TOOL_DOWN = np.diag([1.0, -1.0, -1.0])  # tip z axis straight down, x axis forward


def approach(simulation: Simulation, goal: Vector, gain_hz: float, max_speed_m_s: float) -> Vector:
    """Return joint velocities that carry the tip straight to `goal`, (J,) in rad/s.

    Args:
        simulation: The arm.
        goal: Where to, (3,) in m.
        gain_hz: Tip speed per distance left.
        max_speed_m_s: Bound of the tip's speed.
    """
    linear = gain_hz * (goal - simulation.tip)
    return joint_velocities(simulation, bound_speed(linear, max_speed_m_s))


def joint_velocities(simulation: Simulation, linear: Vector, heading_rad: float = 0.0) -> Vector:
    """Return joint velocities that move the tip at `linear`, (3,) in m/s; (J,) in rad/s.

    Damped least squares on the tip's twist, with a pull towards the home pose in the null space;
    a smooth function of joint positions and velocity, which is what makes it learnable.

    Args:
        simulation: The arm.
        linear: Velocity of the tip, (3,) in m/s.
        heading_rad: Where the front of the upright tool shall point, 0 being straight ahead.
    """
    cosine, sine = np.cos(heading_rad), np.sin(heading_rad)
    turn = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    angular = 0.5 * np.cross(simulation.tip_rotation, turn @ _TOOL_DOWN, axis=0).sum(axis=1)
    twist = np.concatenate([linear, _UPRIGHT_GAIN_HZ * angular])
    jacobian = simulation.tip_jacobian()  # (6, J)
    inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6))
    homing = _HOME_GAIN_HZ * (simulation.robot.home - simulation.joint_positions)
    velocities = inverse @ twist + homing - inverse @ (jacobian @ homing)
    excess = float(np.max(np.abs(velocities) / simulation.robot.velocity_limits))
    return velocities / max(excess, 1.0)


def bound_speed(velocity: Vector, most_m_s: float) -> Vector:
    """Return a velocity in the same direction and no faster than a bound."""
    speed = float(np.linalg.norm(velocity))
    return velocity * min(1.0, most_m_s / max(speed, 1e-9))


def ramp(value: float, start: float, end: float) -> float:
    """Return 0 up to `start`, 1 from `end` on and a smooth passage between; `end` may be lower."""
    share = min(max((value - start) / (end - start), 0.0), 1.0)
    return share * share * (3.0 - 2.0 * share)
