"""The guard: the only node that commands the arm.

It streams at a fixed rate whatever comes in, and at once when a command changes or something is
wrong; all rules are in `core.safety.CommandGuard`.
"""

from __future__ import annotations

from functools import partial
import math
import sys
import time

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot
from mil_ros.core.safety import (
    CommandGuard,
    GuardState,
    PLANNER,
    POLICY,
    TELEOP,
)
from mil_ros.core.tool_limits import ToolLimiter
from mil_ros.core.urdf import check_urdf
from mil_ros.core.watches import SERVO_SILENCE_S
from mil_ros.data.fast_joints import FastJoints
from mil_ros.ros.distro import check_distro, ServoCommandType, ServoStatus
from mil_ros.ros.jog_bytes import JogBytes
from mil_ros.ros.kinematics import ToolKinematics
from mil_ros.ros.node import (
    add_trigger,
    COMMAND,
    JOINT_STATES,
    LATCHED,
    name_rivals,
    NEWEST,
    now_ns,
    run_node,
    StatePublisher,
)
from mil_ros.ros.parameters import declare_parameters, RobotParameter
from mil_ros.ros.tap import TappingNode

SOURCES = {
    TELEOP: '/teleop/joint_jog',
    PLANNER: '/planner/joint_jog',
    POLICY: '/control/joint_jog',
}
DEADMAN = '/teleop/deadman'
_TOOL, _RIVAL = 'tool', 'rival'  # what may stand in the way of all motion
_STATE_PERIOD_S = 0.5
_SWITCH_PERIOD_S = 1.0
_RIVALS_PERIOD_S = 0.05
_STOP_S = 2.0  # how long to stream a stop before the process ends


class GuardNode(TappingNode):
    """Arbitrates between person, planner and policy, limits, and stops."""

    def __init__(self) -> None:
        """Subscribe to everything that could want or forbid motion.

        Raises:
            ConfigError: If the robot file or the ROS distribution is not one to move an arm with.
        """
        check_distro()
        super().__init__('guard')
        self.robot = load_robot(declare_parameters(self, RobotParameter).robot)
        self.guard = CommandGuard(self.robot, time.monotonic())
        self._joints = FastJoints(self.robot.joint_names)
        self._status = b''  # as it came last
        self._shown: tuple[GuardState, str | None] | None = None
        self._servo_at_s = -math.inf
        self._urdf = ''
        self._is_switched = False
        self._is_finishing = False
        self._jog = JogBytes(self.robot.joint_names)
        self._commands = self.create_publisher(JointJog, self.robot.topics.command, COMMAND)
        self._state = StatePublisher(self)
        self._subscribe()
        self._switch = self.create_client(ServoCommandType, self.robot.topics.switch_command_type)
        add_trigger(self, '~/estop', self._estop)
        add_trigger(self, '~/reset', self._reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # no clock step can freeze the stream
        for period_s, callback in (
            (1.0 / self.robot.guard.rate_hz, self._tick),
            (_SWITCH_PERIOD_S, self._switch_servo),
            (_RIVALS_PERIOD_S, self._look_for_rivals),
            (_STATE_PERIOD_S, self._repeat_state),
        ):
            self.create_timer(period_s, callback, clock=steady)
        self._switch_servo()
        # The first log line takes tens of ms; it must not be one that is written in motion.
        self.get_logger().info('The guard is up.')

    def _subscribe(self) -> None:
        topics = self.robot.topics
        for source, topic in SOURCES.items():
            self.create_subscription(JointJog, topic, partial(self._on_jog, source), COMMAND)
        self._joint_states = self.tap(JointState, topics.joint_states, JOINT_STATES)
        self._statuses = self.tap(ServoStatus, topics.servo_status, NEWEST)
        self.create_subscription(String, topics.robot_description, self._on_urdf, LATCHED)
        if self.robot.tool.link:
            self.guard.on_obstacle(
                _TOOL,
                f'Nothing has come on {topics.robot_description} yet, which the limits of the '
                'tool need; start robot_state_publisher.',
                time.monotonic(),
            )
        if self.robot.guard.deadman:
            self.create_subscription(Bool, DEADMAN, self._on_deadman, NEWEST)

    # Services

    def _estop(self) -> str:
        self.guard.stop('Emergency stop was called on ~/estop.', time.monotonic())
        self._tick()
        return 'Stopping; call ~/reset at rest to go on.'

    def _reset(self) -> str:
        return f'Cleared: {self.guard.reset(time.monotonic())}'

    # What comes in

    def _on_jog(self, source: str, message: JointJog) -> None:
        is_news = self.guard.on_command(
            source, message.joint_names, message.velocities, time.monotonic()
        )
        if is_news:
            self._tick()  # a fresh command need not wait for its turn

    def _on_joints(self, data: bytes) -> bool:
        """Take a message, and tell whether it is of the arm; silence of the arm is watched."""
        sample = self._joints.read(data)
        if sample is None or sample.velocities is None:
            return False  # another publisher's joints (a gripper, say)
        if np.isfinite(sample.positions).all() and np.isfinite(sample.velocities).all():
            age_s = (now_ns(self) - sample.stamp_ns) / 1e9
            self.guard.on_joint_state(sample.positions, sample.velocities, time.monotonic(), age_s)
        return True

    def _on_servo(self, data: bytes) -> None:
        self._servo_at_s = time.monotonic()
        if data != self._status:  # a hundred times a second it says the same
            self._status, self._servo = data, deserialize_message(data, ServoStatus)
        self.guard.on_servo_status(int(self._servo.code), self._servo.message, self._servo_at_s)

    def _on_deadman(self, message: Bool) -> None:
        self.guard.on_deadman(bool(message.data), time.monotonic())
        if not message.data:
            self._tick()

    def _on_urdf(self, message: String) -> None:
        """Check the robot file against the arm's own description, and learn where its tool is."""
        if message.data == self._urdf:
            return
        self._urdf, reason = message.data, ''
        try:
            check_urdf(self.robot, message.data)
            if self.robot.tool.link:
                self.guard.tool = self._make_tool_limiter(message.data)
        except ConfigError as err:
            reason = str(err)
            self.get_logger().error(reason)
        self.guard.on_obstacle(_TOOL, reason, time.monotonic())
        self._react()

    def _make_tool_limiter(self, urdf: str) -> ToolLimiter:
        robot = self.robot
        kinematics = ToolKinematics(urdf, robot.joint_names, robot.tool.link)
        # half in reserve: for the arm that lags behind, and for a jerk limit
        deceleration = robot.acceleration_limits / 2.0
        return ToolLimiter(kinematics, robot.tool, deceleration, 1.0 / robot.guard.rate_hz)

    def _react(self) -> None:
        """Do not wait for the next turn to stop."""
        if self.guard.fault is not None and self._shown != (GuardState.FAULT, self.guard.fault):
            self._tick()

    # What is looked after

    def _look_for_rivals(self) -> None:
        """Nobody else may command the arm."""
        topic = self.robot.topics.command
        reason = ''
        if rivals := name_rivals(self, topic):
            reason = (
                f'{" and ".join(rivals)} may publish on {topic} too, expected this guard alone; '
                'end that node.'
            )
        self.guard.on_obstacle(_RIVAL, reason, time.monotonic())
        self._react()

    def _switch_servo(self) -> None:
        """Ask Servo for joint jogging until it agrees, and again after it was gone."""
        if time.monotonic() - self._servo_at_s > SERVO_SILENCE_S:
            self._set_switched(False)
        if not self._is_switched and self._switch.service_is_ready():
            kind = int(ServoCommandType.Request.JOINT_JOG)
            request = ServoCommandType.Request(command_type=kind)
            self._switch.call_async(request).add_done_callback(self._on_switched)

    def _on_switched(self, future: object) -> None:
        self._set_switched(bool(future.result().success))  # type: ignore[attr-defined]
        if not self._is_switched:
            self.get_logger().warning('Servo refused joint jogging, expected it to accept it.')

    def _set_switched(self, is_switched: bool) -> None:
        self._is_switched = is_switched
        self.guard.on_servo_switched(is_switched)

    # What goes out

    def _fetch(self) -> None:
        """Take the newest of what comes all the time: once a tick is enough."""
        for data, _ in reversed(list(self._joint_states.fetch())):
            if self._on_joints(data):
                break
        for data, _ in self._statuses.fetch():
            self._on_servo(data)

    def _tick(self) -> None:
        self._fetch()
        velocities, state = self.guard.tick(time.monotonic())
        self._commands.publish(self._jog.write(now_ns(self), velocities))
        if (state, self.guard.fault) != self._shown:
            self._show(state)

    def _show(self, state: GuardState) -> None:
        guard = self.guard
        is_news = self._shown is None or self._shown[0] is not state
        if is_news and guard.fault is not None and not self._is_finishing:
            self.get_logger().error(f'Stopped: {guard.fault}')
        self._shown = (state, guard.fault)
        level = DiagnosticStatus.OK
        if guard.why:
            level = DiagnosticStatus.ERROR if guard.fault else DiagnosticStatus.WARN
        self._state.publish(
            level,
            guard.why or state.value,
            state=state.value,
            speed_rad_s=f'{np.abs(guard.output).max():.3f}',
            **{f'limited_by_{kind}': count for kind, count in guard.hits.items()},
        )

    def _repeat_state(self) -> None:
        if self._shown is not None:
            self._show(self._shown[0])

    def finish(self, executor: Executor) -> None:
        """Bring the arm to rest before the process ends."""
        self._is_finishing = True
        self.guard.stop('The guard is shutting down.', time.monotonic())
        self._tick()
        end_s = time.monotonic() + _STOP_S
        zeros = 0
        while time.monotonic() < end_s and zeros < math.ceil(self.robot.guard.rate_hz / 10):
            executor.spin_once(0.05)
            zeros = zeros + 1 if self.guard.is_at_rest else 0


def main() -> int:
    """Run the node."""
    return run_node(GuardNode, is_streaming=True, priority=20)


if __name__ == '__main__':
    sys.exit(main())
