"""What the policy sees: the newest image and joint state, unless they are too old."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from mil_ros.core.alignment import AsOf, check_age
from mil_ros.core.errors import OrderError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Observation
from mil_ros.data.messages import image_to_rgb, joints_in_order, stamp_ns
from mil_ros.ros.node import NEWEST, now_ns


class Inputs:
    """Keeps the newest message of each topic that the policy needs."""

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        """Subscribe to the image and the joint states of a robot."""
        self._node, self._robot = node, robot
        topics = robot.topics
        self._max_age_s = {
            topics.image: robot.camera.max_age_s,
            topics.joint_states: robot.joint_states.max_age_s,
        }
        self._newest: dict[str, Any] = {}
        self._subscriptions = (
            node.create_subscription(Image, topics.image, self._on_image, NEWEST),
            node.create_subscription(JointState, topics.joint_states, self._on_joints, NEWEST),
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def as_of_now(self) -> AsOf:
        """Return which messages stand for their topics now.

        Raises:
            OrderError: If one has not come yet.
            StaleDataError: If one is too old, or stamped later than now.
        """
        moment_ns, stamps_ns = now_ns(self._node), {}
        for topic, max_age_s in self._max_age_s.items():
            if topic not in self._newest:
                raise OrderError(
                    f'Nothing has come on {topic} yet, expected a running stream; start its '
                    'publisher or correct the robot file.'
                )
            stamps_ns[topic] = stamp_ns(self._newest[topic].header)
            check_age(topic, stamps_ns[topic], moment_ns, max_age_s)
        return AsOf(moment_ns, stamps_ns)

    def observe(self) -> tuple[Observation, AsOf]:
        """Return what the policy sees now, and of when it is.

        Raises:
            MilError: As `as_of_now`, or if a message does not fit the robot file.
        """
        used = self.as_of_now()
        topics, size = self._robot.topics, self._robot.policy
        rgb = image_to_rgb(self._newest[topics.image])
        image = resize_area(rgb, size.image_height, size.image_width)
        state = self._newest[topics.joint_states]
        names, positions = list(state.name), state.position
        expected = self._robot.joint_names
        joints = joints_in_order(names, positions, expected, topics.joint_states)
        return Observation(image, joints), used

    def _on_image(self, message: Image) -> None:
        self._newest[self._robot.topics.image] = message

    def _on_joints(self, message: JointState) -> None:
        self._newest[self._robot.topics.joint_states] = message
