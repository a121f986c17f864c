"""Where a command would lead, for the eye: nothing moves by it."""

from __future__ import annotations

from builtin_interfaces.msg import Duration
import numpy as np
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector

HORIZON_S = 1.0
_POINTS = 10


def preview(robot: RobotDescription, positions: Vector, velocities: Vector) -> JointTrajectory:
    """Return the path of the next second if a command were held, within the position limits.

    Args:
        robot: Names and limits.
        positions: Where the arm is, (J,) in rad.
        velocities: The command, (J,) in rad/s.
    """
    message = JointTrajectory(joint_names=list(robot.joint_names))
    for number in range(_POINTS + 1):
        seconds = HORIZON_S * number / _POINTS
        place = positions + velocities * seconds
        point = JointTrajectoryPoint()
        point.positions = np.clip(place, robot.lower_limits, robot.upper_limits).tolist()
        point.velocities = velocities.tolist()
        whole_s, rest_s = divmod(seconds, 1.0)
        point.time_from_start = Duration(sec=int(whole_s), nanosec=round(rest_s * 1e9))
        message.points.append(point)
    return message
