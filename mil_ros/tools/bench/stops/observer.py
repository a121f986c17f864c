"""What a bench sees of a graph: the arm's motion, the commands to Servo and what control used."""

from __future__ import annotations

from collections.abc import Callable

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from sensor_msgs.msg import CameraInfo
from trajectory_msgs.msg import JointTrajectory

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.robot import RobotDescription
from mil_ros.data.messages import stamp_ns
from mil_ros.tools.bench.stops.trace import Trace, TraceRecorder

_WHOLE = QoSProfile(depth=200)  # the bench may be busy; nothing may get lost
_ROUNDING = 1e-9


class Observer:
    """Subscribes, and keeps what has come since `clear`.

    Attributes:
        bad_commands: What Servo must never be sent, a phrase each.
        ticks: Control ticks: when the policy looked, and the stamp of the image it saw, in ns.
        image_stamps_ns: Of all images.
    """

    def __init__(self, node: Node, robot: RobotDescription) -> None:
        """Subscribe to everything."""
        self._robot = robot
        self._rated = np.array([joint.velocity_rad_s for joint in robot.joints])
        self._trace = TraceRecorder()
        self.bad_commands: list[str] = []
        self.ticks: list[tuple[int, int]] = []
        self.image_stamps_ns: list[int] = []
        topics = robot.topics
        info = topics.image.rsplit('/', 1)[0] + '/camera_info'  # small, and stamped as the image
        subscribe: Callable[..., object] = node.create_subscription
        subscribe(JointTrajectory, '/sim/trace', self._on_trace, _WHOLE)
        subscribe(JointJog, topics.command, self._on_command, _WHOLE)
        subscribe(DiagnosticStatus, '/control/tick', self._on_tick, _WHOLE)
        subscribe(CameraInfo, info, self._on_info, qos_profile_sensor_data)

    def clear(self) -> None:
        """Forget everything."""
        self._trace.clear()
        self.bad_commands.clear()
        self.ticks.clear()
        self.image_stamps_ns.clear()

    @property
    def trace(self) -> Trace:
        """How the arm has moved."""
        return self._trace.read()

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
