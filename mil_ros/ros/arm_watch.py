"""What the planner knows of the arm, the guard and the deadman switch."""

from __future__ import annotations

import math
import time

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.homing import Situation
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector
from mil_ros.data.joint_reader import JointReader
from mil_ros.data.messages import stamp_ns
from mil_ros.ros.node import JOINT_STATES, LATCHED, NEWEST, now_ns
from mil_ros.ros.waiting import wait_until

_FIRST_S = 2.0  # how long the first messages may take to come


class ArmWatch:
    """Listens to the guard always, and to the fast streams only while it is open."""

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        """Subscribe to the guard's state."""
        self._node, self._robot = node, robot
        self._began_s = time.monotonic()
        self._guard = DiagnosticStatus()
        self._guard_at_s = -math.inf
        self._joints = JointReader(robot.joint_names)
        self._positions: Vector | None = None
        self._velocities: Vector | None = None
        self._joints_at_s = -math.inf
        self._deadman_at_s = -math.inf
        self._fast: list[Subscription] = []
        node.create_subscription(DiagnosticStatus, '/guard/state', self._on_guard, LATCHED)

    async def open(self) -> None:
        """Listen to the joint states, and wait for the first messages of all that is needed."""
        topic = self._robot.topics.joint_states
        self._positions = self._velocities = None
        self._joints_at_s = self._deadman_at_s = -math.inf
        self._joints = JointReader(self._robot.joint_names)
        create = self._node.create_subscription
        self._fast = [create(JointState, topic, self._on_joints, JOINT_STATES)]
        if self._robot.guard.deadman:
            self._fast.append(create(Bool, '/teleop/deadman', self._on_deadman, NEWEST))
        await wait_until(
            self._node, lambda: self._positions is not None and bool(self._guard.values), _FIRST_S
        )

    def close(self) -> None:
        """Listen to the guard alone."""
        for subscription in self._fast:
            self._node.destroy_subscription(subscription)
        self._fast = []

    def now(self) -> Situation:
        """Return what is known at this moment."""
        now_s = time.monotonic()
        values = {pair.key: pair.value for pair in self._guard.values}
        return Situation(
            positions=self._positions,
            velocities=self._velocities,
            joints_age_s=now_s - self._joints_at_s,
            guard=values.get('state', ''),
            guard_says=self._guard.message,
            guard_age_s=now_s - max(self._guard_at_s, self._began_s),
        )

    @property
    def is_enabled(self) -> bool:
        """Whether the deadman switch is held, where the robot file asks for one."""
        settings = self._robot.guard
        age_s = time.monotonic() - self._deadman_at_s
        return not settings.deadman or age_s <= settings.source_timeout_s

    def _on_guard(self, message: DiagnosticStatus) -> None:
        self._guard, self._guard_at_s = message, time.monotonic()

    def _on_joints(self, message: JointState) -> None:
        positions = self._joints.positions(message)
        velocities = None if positions is None else self._joints.velocities(message)
        if positions is None or velocities is None:
            return  # another publisher's joints; silence of ours is noticed
        if np.isfinite(positions).all() and np.isfinite(velocities).all():
            lag_s = (now_ns(self._node) - stamp_ns(message.header)) / NS_PER_S
            self._positions, self._velocities = positions, velocities
            self._joints_at_s = time.monotonic() - lag_s

    def _on_deadman(self, message: Bool) -> None:
        self._deadman_at_s = time.monotonic() if message.data else -math.inf
