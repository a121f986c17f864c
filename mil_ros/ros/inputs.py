"""What the policy sees: the newest image and joint state, unless they are too old."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from mil_ros.core.alignment import AsOf, check_age
from mil_ros.core.errors import OrderError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Observation, Vector
from mil_ros.data.joint_reader import JointReader
from mil_ros.data.messages import image_to_rgb, joints_in_order, stamp_ns
from mil_ros.ros.node import JOINT_STATES, NEWEST, now_ns


class Inputs:
    """Keeps the newest message of each topic that the policy needs."""

    def __init__(
        self, node: Node, robot: RobotDescription, on_image: Callable[[int], None]
    ) -> None:
        """Subscribe to the image and the joint states of a robot.

        Args:
            node: Whose clock counts.
            robot: Names topics and ages.
            on_image: Called with the stamp of each new image, in ns.
        """
        self._node, self._robot, self._tell = node, robot, on_image
        topics = robot.topics
        self._max_age_s = {
            topics.image: robot.camera.max_age_s,
            topics.joint_states: robot.joint_states.max_age_s,
        }
        self._newest: dict[str, Any] = {}
        self._joints = JointReader(robot.joint_names)
        self._foreign: Any = None  # joint states without our joints
        self._subscriptions = (
            node.create_subscription(Image, topics.image, self._on_image, NEWEST),
            node.create_subscription(
                JointState, topics.joint_states, self._on_joints, JOINT_STATES
            ),
        )

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def as_of_now(self) -> AsOf:
        """Return which messages stand for their topics now.

        Raises:
            DemoError: If only joint states of other joints have come.
            OrderError: If nothing has come yet.
            StaleDataError: If one is too old, or stamped later than now.
        """
        moment_ns, stamps_ns = now_ns(self._node), {}
        for topic, max_age_s in self._max_age_s.items():
            if topic not in self._newest:
                self._explain(topic)
            stamps_ns[topic] = stamp_ns(self._newest[topic].header)
            check_age(topic, stamps_ns[topic], moment_ns, max_age_s)
        return AsOf(moment_ns, stamps_ns)

    @property
    def joint_positions(self) -> Vector | None:
        """The newest, however old, (J,) in rad; for the eye alone."""
        state = self._newest.get(self._robot.topics.joint_states)
        return None if state is None else self._joints.positions(state)

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
        joints = joints_in_order(
            list(state.name), state.position, self._robot.joint_names, topics.joint_states
        )
        return Observation(image, joints), used

    def _explain(self, topic: str) -> None:
        """Raise the error that says why nothing stands for a topic."""
        if topic == self._robot.topics.joint_states and self._foreign is not None:
            names, values = list(self._foreign.name), self._foreign.position
            joints_in_order(names, values, self._robot.joint_names, topic)
        raise OrderError(
            f'Nothing has come on {topic} yet, expected a running stream; start its publisher or '
            'correct the robot file.'
        )

    def _on_image(self, message: Image) -> None:
        topic, stamp = self._robot.topics.image, stamp_ns(message.header)
        is_again = topic in self._newest and stamp_ns(self._newest[topic].header) == stamp
        self._newest[topic] = message
        if not is_again:
            self._tell(stamp)

    def _on_joints(self, message: JointState) -> None:
        if self._joints.positions(message) is None:
            self._foreign = message  # a gripper's, say
        else:
            self._newest[self._robot.topics.joint_states] = message
