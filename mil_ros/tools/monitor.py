"""A process that keeps what passes between camera, control, guard and Servo.

It must disturb nothing on a machine with two cores, so it takes messages as bytes with the times
that the middleware gives them, and reads them only when it has been asked to end.
"""

from __future__ import annotations

from pathlib import Path
import signal
import sys
import threading
from typing import Any

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.messages import stamp_ns
from mil_ros.tools.passage import Commands, Passage, Ticks

READY = 'listening'
_WHOLE = QoSProfile(depth=200)
_TAKE_PERIOD_S = 0.05  # less than it takes to fill the depth of the fastest topic


class _Tap:
    """Keeps the bytes of one topic, and when each message was sent and came."""

    def __init__(self, node: Node, kind: Any, topic: str, qos: QoSProfile) -> None:
        self._kind, self._bytes = kind, list[bytes]()
        self.sent_ns, self.received_ns = list[int](), list[int]()
        self._subscription = node.create_subscription(kind, topic, _leave, qos, raw=True)

    def take(self) -> None:
        """Take what has come."""
        handle: Any = self._subscription.handle
        with handle:
            while (taken := handle.take_message(self._kind, True)) is not None:
                message, info = taken
                self._bytes.append(message)
                self.sent_ns.append(info['source_timestamp'])
                self.received_ns.append(info['received_timestamp'])

    def read(self) -> list[Any]:
        """Return all messages."""
        return [deserialize_message(data, self._kind) for data in self._bytes]


class Monitor:
    """Listens until it shall end, then tells what has passed."""

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        """Subscribe."""
        self._image = robot.topics.image
        info = self._image.rsplit('/', 1)[0] + '/camera_info'
        self._jogs = _Tap(node, JointJog, robot.topics.command, _WHOLE)
        self._wanted = _Tap(node, JointJog, '/control/joint_jog', _WHOLE)
        self._ticks = _Tap(node, DiagnosticStatus, '/control/tick', _WHOLE)
        self._infos = _Tap(node, CameraInfo, info, qos_profile_sensor_data)

    def take(self) -> None:
        """Take what has come, without an executor, which would cost more than all the rest."""
        for tap in (self._jogs, self._wanted, self._ticks, self._infos):
            tap.take()

    def read(self) -> Passage:
        """Return all that was taken."""
        infos = self._infos.read()
        return Passage(
            jogs=_read_commands(self._jogs),
            wanted=_read_commands(self._wanted),
            ticks=self._read_ticks(),
            drawn_ms=(np.array(self._infos.sent_ns) - [stamp_ns(i.header) for i in infos]) / 1e6,
        )

    def _read_ticks(self) -> Ticks:
        read = [{v.key: v.value for v in message.values} for message in self._ticks.read()]
        image = f'{self._image} stamp_ns'
        command, moment, used = (
            np.array([int(values[key]) for values in read], np.int64)
            for key in ('command_ns', 'moment_ns', image)
        )
        return Ticks(command, moment, used, np.array([float(v['tick_ms']) for v in read]))


def _read_commands(tap: _Tap) -> Commands:
    messages = tap.read()
    return Commands(
        np.array(tap.sent_ns, np.int64),
        np.array(tap.received_ns, np.int64),
        np.array([stamp_ns(m.header) for m in messages], np.int64),
        np.array([list(m.velocities) for m in messages]),
    )


def _leave(_: object) -> None:
    """Stand for a callback; no executor will ever call it."""


def main() -> int:
    """Listen for the robot file of the command line until a signal, then write the other file."""
    robot, file = sys.argv[1:3]
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node('bench_monitor')
    monitor = Monitor(node, load_robot(robot))
    print(READY, flush=True)
    while not stop.wait(_TAKE_PERIOD_S):
        monitor.take()
    monitor.take()
    monitor.read().save(Path(file))
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
