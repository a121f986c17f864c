"""The guard: the only node that commands the arm.

It streams at a fixed rate whatever comes in; all rules are in `core.safety.CommandGuard`.
"""

from __future__ import annotations

import array
from functools import partial
import math
import sys
import time

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool

from mil_ros.core.errors import DemoError
from mil_ros.core.robot import load_robot
from mil_ros.core.safety import CommandGuard, GuardState
from mil_ros.data.messages import joints_in_order
from mil_ros.ros.node import add_trigger, COMMAND, LATCHED, NEWEST, run_node, status

_SOURCES = {'teleop': '/teleop/joint_jog', 'policy': '/control/joint_jog'}
_STATE_PERIOD_S = 0.5
_SWITCH_PERIOD_S = 1.0
_STOP_S = 1.0  # how long to stream a stop before the process ends


class GuardNode(Node):
    """Arbitrates between teleoperation and policy, limits, and stops."""

    def __init__(self) -> None:
        """Subscribe to everything that could want or forbid motion."""
        super().__init__('guard')
        self.robot = load_robot(self.declare_parameter('robot', 'sim_panda').value)
        self.guard = CommandGuard(self.robot)
        self._shown: tuple[GuardState, str | None] | None = None
        self._is_switched = False
        self._is_finishing = False
        topics = self.robot.topics
        self._commands = self.create_publisher(JointJog, topics.command, COMMAND)
        self._state = self.create_publisher(DiagnosticStatus, '~/state', LATCHED)
        for source, topic in _SOURCES.items():
            self.create_subscription(JointJog, topic, partial(self._on_jog, source), COMMAND)
        self.create_subscription(JointState, topics.joint_states, self._on_joints, NEWEST)
        self.create_subscription(ServoStatus, topics.servo_status, self._on_servo, NEWEST)
        if self.robot.guard.deadman:
            self.create_subscription(Bool, '/teleop/deadman', self._on_deadman, NEWEST)
        self._switch = self.create_client(ServoCommandType, topics.switch_command_type)
        add_trigger(self, '~/estop', self._estop)
        add_trigger(self, '~/reset', self._reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # no clock step can freeze the stream
        self._stream = self.create_timer(1.0 / self.robot.guard.rate_hz, self._tick, clock=steady)
        self.create_timer(_SWITCH_PERIOD_S, self._switch_servo, clock=steady)
        self.create_timer(_STATE_PERIOD_S, self._repeat_state, clock=steady)
        self._switch_servo()

    def _estop(self) -> str:
        self.guard.stop('Emergency stop was called on ~/estop.', time.monotonic())
        return 'Stopping; call ~/reset at rest to go on.'

    def _reset(self) -> str:
        return f'Cleared: {self.guard.reset(time.monotonic())}'

    def _on_jog(self, source: str, message: JointJog) -> None:
        names, velocities = list(message.joint_names), list(message.velocities)
        self.guard.on_command(source, names, velocities, time.monotonic())

    def _on_joints(self, message: JointState) -> None:
        names, expected = list(message.name), self.robot.joint_names
        try:
            positions = joints_in_order(names, message.position, expected, 'joint_states')
            velocities = joints_in_order(names, message.velocity, expected, 'joint_states')
        except DemoError:
            return  # another publisher's joints (a gripper, say); silence of ours is watched
        if np.isfinite(positions).all() and np.isfinite(velocities).all():
            self.guard.on_joint_state(positions, velocities, time.monotonic())

    def _on_servo(self, message: ServoStatus) -> None:
        self.guard.on_servo_status(int(message.code), message.message, time.monotonic())

    def _on_deadman(self, message: Bool) -> None:
        self.guard.on_deadman(bool(message.data), time.monotonic())

    def _switch_servo(self) -> None:
        """Ask Servo for joint jogging until it agrees; it moves nothing before."""
        if self._is_switched or not self._switch.service_is_ready():
            return
        request = ServoCommandType.Request(command_type=int(ServoCommandType.Request.JOINT_JOG))
        self._switch.call_async(request).add_done_callback(self._on_switched)

    def _on_switched(self, future: object) -> None:
        self._is_switched = bool(future.result().success)  # type: ignore[attr-defined]
        if not self._is_switched:
            self.get_logger().warning('Servo refused joint jogging, expected it to accept it.')

    def _tick(self) -> None:
        velocities, state = self.guard.tick(time.monotonic())
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = self.get_clock().now().to_msg()
        message.velocities = array.array('d', velocities)
        self._commands.publish(message)
        if (state, self.guard.fault) != self._shown:
            self._show(state)

    def _show(self, state: GuardState) -> None:
        is_news = self._shown != (state, self.guard.fault)
        if is_news and self.guard.fault is not None and not self._is_finishing:
            self.get_logger().error(f'Stopped: {self.guard.fault}')
        self._shown = (state, self.guard.fault)
        level = DiagnosticStatus.ERROR if self.guard.fault else DiagnosticStatus.OK
        speed = float(np.abs(self.guard.output).max())
        text = self.guard.fault or state.value
        self._state.publish(
            status('guard', level, text, state=state.value, speed_rad_s=f'{speed:.3f}')
        )

    def _repeat_state(self) -> None:
        if self._shown is not None:
            self._show(self._shown[0])

    def finish(self, executor: Executor) -> None:
        """Bring the arm to rest before the process ends."""
        self._is_finishing = True
        self.guard.stop('The guard is shutting down.', time.monotonic())
        end_s = time.monotonic() + _STOP_S
        zeros = 0
        while time.monotonic() < end_s and zeros < math.ceil(self.robot.guard.rate_hz / 10):
            executor.spin_once(0.05)
            zeros = zeros + 1 if self.guard.is_at_rest else 0


def main() -> int:
    """Run the node."""
    return run_node(GuardNode, is_streaming=True)


if __name__ == '__main__':
    sys.exit(main())
