"""The scripted teleoperator: moves the tip in a straight line and keeps the tool upright."""

from __future__ import annotations

import numpy as np

from mil_ros.core.types import Vector
from mil_ros.sim import reach
from mil_ros.sim.simulation import Simulation

MAX_TIP_SPEED_M_S = 0.22
_GAIN_HZ = 3.0  # tip speed per distance left
_UPRIGHT_GAIN_HZ = 2.0
_HOME_GAIN_HZ = 0.5
_DAMPING = 0.02
_TIP_RADIUS_M = 0.014
_PRESS_DEPTH_M = 0.01  # aim below the surface: touching means to press on, not to hover
_TOOL_DOWN = np.diag([1.0, -1.0, -1.0])  # tip z axis straight down, x axis forward


def target_point(simulation: Simulation, target: int = 0) -> Vector:
    """Return where the tip must go to touch an object's top, (3,) in m."""
    x, y = simulation.layout[target]
    return np.array([x, y, reach.OBJECT_HEIGHT_M + _TIP_RADIUS_M - _PRESS_DEPTH_M])


def joint_velocities(simulation: Simulation, goal: Vector) -> Vector:
    """Return joint velocities that carry the tip to `goal`, (J,) in rad/s.

    Damped least squares on the tip's twist, with a pull towards the home pose in the null space;
    a smooth function of joint positions and goal, which is what makes it learnable.
    """
    linear = _GAIN_HZ * (goal - simulation.tip)
    speed = float(np.linalg.norm(linear))
    if speed > MAX_TIP_SPEED_M_S:
        linear *= MAX_TIP_SPEED_M_S / speed
    rotation = simulation.tip_rotation
    angular = 0.5 * sum(np.cross(rotation[:, i], _TOOL_DOWN[:, i]) for i in range(3))
    twist = np.concatenate([linear, _UPRIGHT_GAIN_HZ * angular])
    jacobian = simulation.tip_jacobian()  # (6, J)
    inverse = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + _DAMPING**2 * np.eye(6))
    homing = _HOME_GAIN_HZ * (simulation.robot.home - simulation.joint_positions)
    velocities = inverse @ twist + homing - inverse @ (jacobian @ homing)
    excess = float(np.max(np.abs(velocities) / simulation.robot.velocity_limits))
    return velocities / max(excess, 1.0)
