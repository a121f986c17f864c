"""The planner without MoveIt: along a straight line of joints, through the guard."""

from __future__ import annotations

import array
import time

from control_msgs.msg import JointJog
import numpy as np
from rclpy.node import Node

from mil_ros.core.errors import MotionError
from mil_ros.core.homing import check_may_begin, Homing, homing_limits, RATE_HZ
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector
from mil_ros.ros.arm_watch import ArmWatch
from mil_ros.ros.node import COMMAND
from mil_ros.ros.profiles import RuckigProfile
from mil_ros.ros.waiting import repeat, wait_until

_GUARD_NODE = 'guard'
_MEET_S = 2.0  # how long the guard may take to hear of our publisher


class JointSpaceBackend:
    """Streams a jerk-limited profile; the guard limits and watches it like any command."""

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        """Advertise the commands."""
        self._node, self._robot = node, robot
        self._jog = node.create_publisher(JointJog, '~/joint_jog', COMMAND)
        self._watch = ArmWatch(node, robot)
        self._homing: Homing | None = None
        self._stop_reason = ''

    async def go_home(self) -> str:
        """Move the arm to the start pose and say how it went.

        Raises:
            MilError: If it may not begin, or ends before the arm is there.
        """
        self._stop_reason = ''
        try:
            await self._watch.open()
            await wait_until(self._node, self._is_heard, _MEET_S)
            began_s = time.monotonic()
            self._homing = self._begin()
            await repeat(self._node, RATE_HZ, self._tick)
            return self._report(self._homing, time.monotonic() - began_s)
        finally:
            self._homing = None
            self._watch.close()

    def stop(self, reason: str) -> None:
        """End the motion; `go_home` raises once the arm rests."""
        self._stop_reason = reason
        if self._homing is not None:
            self._homing.stop(reason, time.monotonic())

    async def check(self) -> str:
        """Say that nobody can tell.

        Raises:
            MotionError: Always.
        """
        raise MotionError(
            'Nobody can tell whether the arm is in collision: the planner runs without MoveIt, '
            'expected a robot file with moveit.group, and moveit_py; look at the arm.'
        )

    def _begin(self) -> Homing:
        if self._stop_reason:
            raise MotionError(f'Motion refused: {self._stop_reason}.')
        start = check_may_begin(self._robot, self._watch.now())
        if not self._is_heard():
            raise MotionError(
                f'Motion refused: the guard does not listen to {self._jog.topic_name}, expected '
                'it to; start the guard of this version.'
            )
        profile = RuckigProfile(start, self._robot.home, homing_limits(self._robot))
        return Homing(self._robot, profile, time.monotonic())

    def _is_heard(self) -> bool:
        listeners = self._node.get_subscriptions_info_by_topic(self._jog.topic_name)
        return any(listener.node_name == _GUARD_NODE for listener in listeners)

    def _tick(self) -> bool:
        """Send what is to be sent now, and return whether that was the last."""
        assert self._homing is not None
        self._send(self._homing.tick(time.monotonic(), self._watch.now()))
        return self._homing.is_over

    def _send(self, velocities: Vector) -> None:
        message = JointJog(joint_names=list(self._robot.joint_names))
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.velocities = array.array('d', velocities)
        self._jog.publish(message)

    def _report(self, homing: Homing, duration_s: float) -> str:
        positions = self._watch.now().positions
        assert positions is not None
        away = np.abs(positions - self._robot.home)
        worst = int(away.argmax())
        if homing.failure:
            raise MotionError(
                f'Motion ended after {duration_s:.1f} s with {self._robot.joint_names[worst]} '
                f'{away[worst]:.2f} rad from the start pose: {homing.failure}.'
            )
        return (
            f'The arm is at the start pose (within {away[worst]:.3f} rad, after '
            f'{duration_s:.1f} s). Nothing is known of obstacles: none was looked for on the way.'
        )
