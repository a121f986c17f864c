"""A process that keeps what passes between camera, control, guard and Servo.

It must disturb nothing on a machine with two cores, so it takes messages as bytes with the times
that the middleware gives them, and reads them only when it has been asked to end.
"""

from __future__ import annotations

from pathlib import Path
import signal
import sys
import time
from typing import Any

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.messages import stamp_ns
from mil_ros.ros.tap import Tap
from mil_ros.tools.passage import Commands, Passage, Ticks

READY = 'listening'
_WHOLE = QoSProfile(depth=200)
_IMAGES = QoSProfile(depth=200, reliability=ReliabilityPolicy.BEST_EFFORT)
_FETCH_PERIOD_S = 0.05  # less than it takes to fill the depth of the fastest topic


class _Track:
    """Keeps the bytes of one topic, and when each message was sent and came."""

    def __init__(self, node: Node, kind: Any, topic: str, qos: QoSProfile) -> None:
        self._kind, self._bytes = kind, list[bytes]()
        self.sent_ns, self.received_ns = list[int](), list[int]()
        self._tap = Tap(node, kind, topic, qos, is_raw=True)

    def fetch(self) -> None:
        """Take what has come."""
        for message, info in self._tap.fetch():
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
        self._jogs = _Track(node, JointJog, robot.topics.command, _WHOLE)
        self._wanted = _Track(node, JointJog, '/control/joint_jog', _WHOLE)
        self._ticks = _Track(node, DiagnosticStatus, '/control/tick', _WHOLE)
        self._infos = _Track(node, CameraInfo, info, _IMAGES)

    def fetch(self) -> None:
        """Take what has come."""
        for track in (self._jogs, self._wanted, self._ticks, self._infos):
            track.fetch()

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


def _read_commands(track: _Track) -> Commands:
    messages = track.read()
    return Commands(
        np.array(track.sent_ns, np.int64),
        np.array(track.received_ns, np.int64),
        np.array([stamp_ns(m.header) for m in messages], np.int64),
        np.array([list(m.velocities) for m in messages]),
    )


def main() -> int:
    """Listen for the robot file of the command line until a signal, then write the other file."""
    robot, file = sys.argv[1:3]
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: stops.append(signum))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node('bench_monitor')
    monitor = Monitor(node, load_robot(robot))
    print(READY, flush=True)
    while not stops:
        time.sleep(_FETCH_PERIOD_S)
        monitor.fetch()
    monitor.fetch()
    monitor.read().save(Path(file))
    node.destroy_node()
    rclpy.shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
