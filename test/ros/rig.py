"""A recorder as a process, a driver and a camera that misbehave on demand, and a client."""

from __future__ import annotations

import array
from collections.abc import Callable
import os
from pathlib import Path
import subprocess
import sys
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from mil_ros.core.robot import RobotDescription
from mil_ros.ros.node import LATCHED
from mil_ros.tools.graph import make_environment

PATIENCE_S = 60.0
RELIABLE = QoSProfile(depth=10)


class Driver:
    """Publishes images and joint states from a thread, until told otherwise.

    Attributes:
        images_on: Whether images are published.
        joints_on: Whether joint states are.
        image_lag_s: How far the camera's clock is behind.
        zero_stamps: Whether images are stamped zero.
        encoding: Of images.
        size: Height and width of images.
        names: Of joints.
        sent: How many joint states were published.
    """

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        self.node, self.robot = node, robot
        self.sent = 0
        self.behave()
        self.images = node.create_publisher(Image, robot.topics.image, qos_profile_sensor_data)
        self.joints = node.create_publisher(JointState, robot.topics.joint_states, RELIABLE)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def behave(self) -> None:
        """Publish as the robot file says."""
        self.images_on = self.joints_on = True
        self.image_lag_s = 0.0
        self.zero_stamps = False
        self.encoding = 'rgb8'
        self.names = list(self.robot.joint_names)
        self.size = (self.robot.camera.height, self.robot.camera.width)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self.node.destroy_publisher(self.images)
        self.node.destroy_publisher(self.joints)

    def make_image(self) -> Image:
        height, width = self.size
        message = Image(height=height, width=width, encoding=self.encoding, step=3 * width)
        message.data.frombytes(np.full((height, width, 3), 90, np.uint8).data.cast('B'))
        if not self.zero_stamps:
            self._stamp(message, self.image_lag_s)
        return message

    def _run(self) -> None:
        began_s, count = time.monotonic(), 0
        while not self._end.wait(max(0.0, began_s + count / 100.0 - time.monotonic())):
            if self.joints_on:
                message = JointState(name=self.names)
                position = self.robot.home + 0.2 * np.sin(count / 50.0)
                message.position = array.array('d', position)
                self._stamp(message, 0.0)
                self.joints.publish(message)
                self.sent += 1
            if self.images_on and count % 3 == 0:
                self.images.publish(self.make_image())
            count += 1

    def _stamp(self, message: Any, lag_s: float) -> None:
        sec, nanosec = divmod(time.time_ns() - round(lag_s * 1e9), 1_000_000_000)
        message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec


class Rig:
    """All of it, with one recorder that hears whatever a test publishes."""

    def __init__(self, robot_file: Path, robot: RobotDescription, directory: Path) -> None:
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self.robot, self.directory = robot, directory
        self.node = Node('rig')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.driver = Driver(self.node, robot)
        self.statuses: list[DiagnosticStatus] = []
        self.announced: list[str] = []
        self.node.create_subscription(
            DiagnosticStatus, '/recorder/status', self.statuses.append, LATCHED
        )
        self.node.create_subscription(String, '/recorder/episode', self._on_episode, LATCHED)
        self._clients: dict[str, Any] = {}
        command = [sys.executable, '-m', 'mil_ros.ros.recorder_node', '--ros-args']
        command += [word for p in self._parameters(robot_file) for word in ('-p', p)]
        environment = {**os.environ, **make_environment()}
        self.recorder = subprocess.Popen(command, env=environment)

    def _parameters(self, robot_file: Path) -> list[str]:
        return [
            f'robot:={robot_file}',
            f'directory:={self.directory}',
            'preroll_s:=2.0',
            'min_free_mb:=0',
            "topics:=['/robot_description', '/big']",
            'task:=reach red',
            'operator:=Ada',
            'joy_topic:=/pad',
            'joy_start_button:=0',
            'joy_stop_button:=1',
            'joy_discard_button:=2',
        ]

    def close(self) -> None:
        if self.recorder.poll() is None:
            self.recorder.terminate()
            self.recorder.wait(PATIENCE_S)
        self.driver.close()
        self.node.destroy_node()
        rclpy.shutdown()

    def settle(self) -> None:
        """Bring everything to where a test can begin."""
        self.driver.behave()
        self.call('discard')  # refuses if there is nothing to discard
        topics = self.robot.topics
        self.wait(lambda: self.state == 'READY', 'the recorder')
        self.wait(
            lambda: {self.value(t) for t in (topics.image, topics.joint_states)} <= {'OK', 'SLOW'},
            'the streams',
        )
        self.announced.clear()

    def wait(self, until: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not until():
            assert self.recorder.poll() is None, 'the recorder has died'
            assert time.monotonic() < end_s, f'waited for {what}'
            self._executor.spin_once(0.02)

    def wait_for_messages(self, count: int) -> None:
        """Let that many joint states come."""
        wanted = self.driver.sent + count
        self.wait(lambda: self.driver.sent >= wanted, f'{count} joint states')

    def call(self, verb: str) -> tuple[bool, str]:
        """Call a service of the recorder."""
        if verb not in self._clients:
            self._clients[verb] = self.node.create_client(Trigger, f'/recorder/{verb}')
        client = self._clients[verb]
        self.wait(client.service_is_ready, f'/recorder/{verb}')
        future = client.call_async(Trigger.Request())
        self.wait(future.done, f'an answer from /recorder/{verb}')
        response = future.result()
        return bool(response.success), str(response.message)

    def start(self) -> Path:
        """Start; a stream that a busy machine holds up is waited for."""
        end_s = time.monotonic() + PATIENCE_S
        while not (answer := self.call('start'))[0]:
            assert 'nothing came on' in answer[1], answer[1]
            assert time.monotonic() < end_s, answer[1]
        return Path(answer[1].removeprefix('RECORDING '))

    def expect_refusal(self, beginning: str, *, is_known: bool = True) -> str:
        """Ask for a start until it is refused with a sentence.

        It must never be granted, unless the recorder may not know yet what is wrong.
        """
        end_s = time.monotonic() + PATIENCE_S
        while True:
            is_done, answer = self.call('start')
            if is_done and not is_known:
                self.call('discard')
            assert not is_done or not is_known, answer
            if answer.startswith(beginning):
                return answer
            assert time.monotonic() < end_s, answer

    @property
    def status(self) -> DiagnosticStatus:
        return self.statuses[-1]

    @property
    def state(self) -> str:
        return str(self.status.message).partition(';')[0] if self.statuses else ''

    def value(self, key: str) -> str:
        """Return a value of the newest status."""
        if not self.statuses:
            return ''
        return {v.key: v.value for v in self.status.values}.get(key, '')

    def _on_episode(self, message: String) -> None:
        self.announced.append(message.data)
