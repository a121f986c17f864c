"""Publishes what cameras and a driver would, as cheaply as can be: bytes made beforehand.

Every message carries its number in ``header.frame_id``, so that whoever receives it can tell what
is missing. It is a process of its own, ``python -m mil_ros.tools.load``, that begins
when all its topics have a subscriber and ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import array
from dataclasses import dataclass
import json
import math
import signal
import struct
import sys
import time
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from mil_ros.core.robot import load_robot, RobotDescription

DIGITS = 10  # of a message's number
_STAMP_AT = 4  # in the CDR of a message that begins with a header
_NUMBER_AT = 16  # of frame_id's characters
_POSES = 200  # joint states to take turns with
_AMPLITUDE_RAD = 0.1
_LATEST_S = 0.5  # what is later than that is not caught up with


@dataclass(slots=True)
class Stream:
    """One topic.

    Attributes:
        publisher: Of raw bytes.
        variants: Serialised messages to take turns with.
        period_s: Between two messages.
        due_s: When the next one is.
        sent: How many have been.
    """

    publisher: Publisher
    variants: list[bytearray]
    period_s: float
    due_s: float = 0.0
    sent: int = 0

    def publish(self) -> None:
        """Send the next message, stamped now."""
        data = self.variants[self.sent % len(self.variants)]
        struct.pack_into('<iI', data, _STAMP_AT, *divmod(time.time_ns(), 1_000_000_000))
        data[_NUMBER_AT : _NUMBER_AT + DIGITS] = b'%0*d' % (DIGITS, self.sent)
        self.publisher.publish(bytes(data))
        self.sent += 1


def read_number(data: bytes | memoryview) -> int:
    """Return the number of a message that this process has sent."""
    return int(bytes(data[_NUMBER_AT : _NUMBER_AT + DIGITS]))


def camera_topics(robot: RobotDescription, cameras: int) -> list[str]:
    """Return where images are published, the first being that of the robot file."""
    return [robot.topics.image, *(f'/camera_{i}/image_raw' for i in range(2, cameras + 1))]


def main() -> int:
    """Publish until SIGTERM, then print how many messages were sent."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--robot', default='panda')
    parser.add_argument('--cameras', type=int, default=2)
    parser.add_argument('--camera-hz', type=float, default=30.0)
    parser.add_argument('--joints-hz', type=float, default=500.0)
    args = parser.parse_args()
    robot = load_robot(args.robot)
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('load')
    streams = make_streams(node, robot, args.cameras, args.camera_hz, args.joints_hz)
    is_ending: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: is_ending.append(number))
    while not is_ending and any(s.publisher.get_subscription_count() == 0 for s in streams):
        time.sleep(0.01)
    began_s = time.monotonic()
    for i, stream in enumerate(streams):
        stream.due_s = began_s + i * 0.003  # cameras that fire at once are the exception
    while not is_ending:
        publish_next(streams)
    seconds = time.monotonic() - began_s
    print(json.dumps({'seconds': seconds, 'sent': [stream.sent for stream in streams]}))
    node.destroy_node()
    rclpy.shutdown()
    return 0


def make_streams(
    node: Node, robot: RobotDescription, cameras: int, camera_hz: float, joints_hz: float
) -> list[Stream]:
    """Return the streams to publish, images first."""
    camera = robot.camera
    noise = np.random.default_rng(0).integers(0, 256, (camera.height, camera.width, 3), np.uint8)
    image = Image(height=camera.height, width=camera.width, encoding='rgb8')
    image.step = 3 * camera.width
    image.data.frombytes(noise.data.cast('B'))
    image.header.frame_id = '0' * DIGITS
    frame = serialize_message(image)
    streams = [
        Stream(
            node.create_publisher(Image, topic, qos_profile_sensor_data),
            [bytearray(frame)],
            1.0 / camera_hz,
        )
        for topic in camera_topics(robot, cameras)
    ]
    driver = node.create_publisher(JointState, robot.topics.joint_states, QoSProfile(depth=10))
    return [*streams, Stream(driver, _joint_states(robot), 1.0 / joints_hz)]


def publish_next(streams: list[Stream]) -> None:
    """Wait for the stream that is due next and publish it."""
    stream = min(streams, key=lambda s: s.due_s)
    wait_s = stream.due_s - time.monotonic()
    if wait_s > 0.0:
        time.sleep(wait_s)
    stream.publish()
    stream.due_s += stream.period_s
    if wait_s < -_LATEST_S:
        stream.due_s = time.monotonic()


def _joint_states(robot: RobotDescription) -> list[bytearray]:
    """Return joint states of an arm that sways about its home pose."""
    found = []
    for i in range(_POSES):
        angle = 2.0 * math.pi * i / _POSES
        message: Any = JointState(name=list(robot.joint_names))
        message.position = array.array('d', robot.home + _AMPLITUDE_RAD * math.sin(angle))
        message.velocity = array.array('d', [_AMPLITUDE_RAD * math.cos(angle)] * len(robot.joints))
        message.effort = message.velocity
        message.header.frame_id = '0' * DIGITS
        found.append(bytearray(serialize_message(message)))
    return found


if __name__ == '__main__':
    sys.exit(main())
