"""What a bench sees of a graph: the arm's motion, the commands to Servo and what control used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from trajectory_msgs.msg import JointTrajectory

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.robot import RobotDescription
from mil_ros.data.messages import stamp_ns
from mil_ros.ros.tap import Tap
from mil_ros.tools.bench.stops.trace import Trace, TraceRecorder

_WHOLE = QoSProfile(depth=500)  # the bench may be busy; nothing may get lost
_IMAGES = QoSProfile(depth=500, reliability=ReliabilityPolicy.BEST_EFFORT)
_ROUNDING = 1e-9


class Observer:
    """Keeps what has come since `clear`; it has to be asked to `look` now and then.

    Attributes:
        bad_commands: What Servo must never be sent, a phrase each.
        ticks: Control ticks: when the policy looked, and the stamp of the image it saw, in ns.
        image_stamps_ns: Of all images.
    """

    def __init__(self, robot: RobotDescription) -> None:
        """Subscribe to everything; rclpy must be up."""
        self._robot = robot
        self._rated = np.array([joint.velocity_rad_s for joint in robot.joints])
        self._trace = TraceRecorder()
        self.bad_commands: list[str] = []
        self.ticks: list[tuple[int, int]] = []
        self.image_stamps_ns: list[int] = []
        self._node = Node('bench_observer')
        image, command = robot.topics.image, robot.topics.command
        info = image.rsplit('/', 1)[0] + '/camera_info'  # small, and stamped as the image
        self._taps: tuple[tuple[Tap, Callable[[Any], None]], ...] = (
            (Tap(self._node, JointTrajectory, '/sim/trace', _WHOLE), self._on_trace),
            (Tap(self._node, JointJog, command, _WHOLE), self._on_command),
            (Tap(self._node, DiagnosticStatus, '/control/tick', _WHOLE), self._on_tick),
            (Tap(self._node, CameraInfo, info, _IMAGES), self._on_info),
        )

    def close(self) -> None:
        """Leave the graph."""
        self._node.destroy_node()

    def look(self) -> Trace:
        """Take in what has come; return how the arm has moved."""
        for tap, take in self._taps:
            for message, _ in tap.fetch():
                take(message)
        return self._trace.read()

    def clear(self) -> None:
        """Forget everything."""
        self.look()
        self._trace.clear()
        self.bad_commands.clear()
        self.ticks.clear()
        self.image_stamps_ns.clear()

    def _on_trace(self, message: JointTrajectory) -> None:
        began_ns = stamp_ns(message.header)
        for point in message.points:
            since = point.time_from_start
            moment_ns = began_ns + since.sec * NS_PER_S + since.nanosec
            self._trace.add(moment_ns, np.array(point.velocities))

    def _on_command(self, message: JointJog) -> None:
        velocities = np.array(message.velocities)
        if list(message.joint_names) != list(self._robot.joint_names):
            self.bad_commands.append(f'joints {list(message.joint_names)}')
        elif velocities.shape != self._rated.shape:
            self.bad_commands.append(f'{len(velocities)} velocities')
        elif not np.isfinite(velocities).all():
            self.bad_commands.append('non-finite velocities')
        elif (np.abs(velocities) > self._rated * (1.0 + _ROUNDING)).any():
            self.bad_commands.append(f'{np.abs(velocities).max():.3f} rad/s')

    def _on_tick(self, message: DiagnosticStatus) -> None:
        values = {v.key: v.value for v in message.values}
        image = f'{self._robot.topics.image} stamp_ns'
        self.ticks.append((int(values['moment_ns']), int(values[image])))

    def _on_info(self, message: CameraInfo) -> None:
        self.image_stamps_ns.append(stamp_ns(message.header))
