"""The control node: image and joint states in, joint velocities out, at the policy's rate."""

from __future__ import annotations

import array
from concurrent.futures import ThreadPoolExecutor
from functools import partial
import math
import sys
import time

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from mil_ros.core.alignment import check_age
from mil_ros.core.errors import MilError, OrderError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Observation, Vector
from mil_ros.data.messages import image_to_rgb, joints_in_order, stamp_ns
from mil_ros.inference.bundle import check_robot, load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.node import (
    add_trigger,
    COMMAND,
    in_thread,
    LATCHED,
    NEWEST,
    now_ns,
    run_node,
    status,
)

_STATE_PERIOD_S = 0.5


class ControlNode(LifecycleNode):
    """Runs the adapted policy; active means armed, ``~/start`` means go."""

    def __init__(self) -> None:
        """Declare parameters; everything else happens on configure."""
        super().__init__('control')
        self.declare_parameter('robot', 'sim_panda')
        self.declare_parameter('dry_run', True)
        self._policy: OnnxPolicy | None = None
        self._policy_error = ''
        self._image: Image | None = None
        self._joints: JointState | None = None
        self._is_running = False
        self._started_s = -math.inf
        self._ticks = 0
        self._ended_runs = 0
        self._tick_ms: list[float] = []
        self._outcome = 'not configured'
        self._is_active = False
        self._is_thinking = False
        self._pool = ThreadPoolExecutor(1, 'policy')

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read the robot file and subscribe; a mistake leaves the node unconfigured."""
        try:
            self.robot = load_robot(self.get_parameter('robot').value)
        except MilError as err:
            self.get_logger().error(str(err))
            return TransitionCallbackReturn.FAILURE
        topics = self.robot.topics
        self._jog = self.create_publisher(JointJog, '~/joint_jog', COMMAND)
        self._preview = self.create_publisher(JointJog, '~/preview', COMMAND)
        self._state = self.create_publisher(DiagnosticStatus, '~/state', LATCHED)
        self._inputs = (
            self.create_subscription(String, '/adaptation/policy', self._on_policy, LATCHED),
            self.create_subscription(Image, topics.image, self._on_image, NEWEST),
            self.create_subscription(JointState, topics.joint_states, self._on_joints, NEWEST),
        )
        self._calls = (
            add_trigger(self, '~/start', self._start),
            add_trigger(self, '~/stop', self._stop),
        )
        self._timer = self.create_timer(1.0 / self.robot.policy.rate_hz, self._tick)
        self._timer.cancel()  # until ~/start
        self.create_timer(_STATE_PERIOD_S, self._publish_state)
        self._outcome = 'idle'
        return super().on_configure(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything that configuring made."""
        for timer in list(self.timers):
            self.destroy_timer(timer)
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        for service in self._calls:
            self.destroy_service(service)
        for publisher in (self._jog, self._preview, self._state):
            self.destroy_publisher(publisher)
        self._policy, self._image, self._joints = None, None, None
        return super().on_cleanup(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Arm; nothing moves before ``~/start``."""
        self._is_active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Disarm, ending a run."""
        self._is_active = False
        if self._is_running:
            self._end('deactivated')
        return super().on_deactivate(state)

    # Services

    def _start(self) -> str:
        if not self._is_active:
            raise OrderError(
                'Run refused: the control node is not active; activate it first '
                '(ros2 lifecycle set /control activate).'
            )
        if self._is_running:
            raise OrderError('Run refused: one is already going; call /control/stop first.')
        if self._policy is None:
            raise OrderError(
                self._policy_error
                or 'Run refused: no adapted policy has been announced on /adaptation/policy; '
                'record a demonstration and call /adaptation/adapt first.'
            )
        observation = self._observe()
        away = np.abs(observation.joint_positions - self.robot.home)
        worst = int(away.argmax())
        tolerance = self.robot.policy.start_tolerance_rad
        if away[worst] > tolerance:
            raise OrderError(
                f'Run refused: {self.robot.joint_names[worst]} is {away[worst]:.2f} rad from the '
                f'start pose, expected at most {tolerance} rad; move the arm home first.'
            )
        self._started_s, self._ticks, self._tick_ms = time.monotonic(), 0, []
        self._outcome = 'running'
        self._is_running = True
        self._timer.reset()
        self._publish_state()
        how = 'dry run, nothing moves' if self._is_dry_run else 'the arm moves'
        return f'Running {self._policy.bundle.name} ({how}).'

    def _stop(self) -> str:
        if not self._is_running:
            raise OrderError('No run to stop; call /control/start first.')
        self._end('stopped')
        return f'Stopped after {self._ticks} ticks.'

    # Data

    def _on_policy(self, message: String) -> None:
        """Take over an announced policy between two ticks, or keep none and remember why."""
        try:
            bundle = load_bundle(message.data)
            check_robot(bundle, self.robot)
            policy = OnnxPolicy(bundle)
            size = (self.robot.policy.image_height, self.robot.policy.image_width, 3)
            warm_up = Observation(np.zeros(size, dtype=np.uint8), self.robot.home)
            policy.act(warm_up)  # the first call allocates; do it before the arm waits for it
            self._policy, self._policy_error = policy, ''
        except MilError as err:
            self._policy, self._policy_error = None, f'Run refused: {err}'
            self.get_logger().error(str(err))

    def _on_image(self, message: Image) -> None:
        self._image = message

    def _on_joints(self, message: JointState) -> None:
        self._joints = message

    def _observe(self) -> Observation:
        """Return the newest observation, or raise if any part of it is too old."""
        topics, now = self.robot.topics, now_ns(self)
        if self._image is None or self._joints is None:
            missing = topics.image if self._image is None else topics.joint_states
            raise OrderError(
                f'Nothing has come on {missing} yet, expected a running stream; start its '
                'publisher or correct the robot file.'
            )
        ages = (
            (topics.image, self._image, self.robot.camera.max_age_s),
            (topics.joint_states, self._joints, self.robot.joint_states.max_age_s),
        )
        for topic, message, max_age_s in ages:
            check_age(topic, stamp_ns(message.header), now, max_age_s)
        size = self.robot.policy
        image = resize_area(image_to_rgb(self._image), size.image_height, size.image_width)
        names, positions = list(self._joints.name), self._joints.position
        joints = joints_in_order(names, positions, self.robot.joint_names, topics.joint_states)
        return Observation(image, joints)

    # The loop

    def _tick(self) -> None:
        if time.monotonic() - self._started_s > self.robot.policy.max_run_s:
            self._end('time is up')
        elif self._is_thinking:
            self._end('the policy takes longer than its period')
        else:
            self._think()

    def _think(self) -> None:
        """Start the policy on the newest observation, off the executor's thread."""
        began_s = time.perf_counter()
        if self._policy is None:  # what was announced in mid-run cannot be used
            self._end(self._policy_error)
            return
        try:
            observation = self._observe()
        except MilError as err:
            self._end(str(err))
            return
        self._is_thinking = True
        thought = in_thread(self, self._pool, self._policy.act, observation)
        thought.add_done_callback(partial(self._on_thought, self._ended_runs, began_s))

    def _on_thought(self, run: int, began_s: float, thought: Future) -> None:
        self._is_thinking = False
        if not self._is_running or run != self._ended_runs:
            return  # the run that asked is over
        if thought.exception() is not None:
            self._end(f'the policy failed: {thought.exception()}')
            return
        self._command(thought.result())
        self._ticks += 1
        self._tick_ms.append(1e3 * (time.perf_counter() - began_s))

    def _command(self, velocities: Vector) -> None:
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = self.get_clock().now().to_msg()
        message.velocities = array.array('d', velocities)
        (self._preview if self._is_dry_run else self._jog).publish(message)

    @property
    def _is_dry_run(self) -> bool:
        return bool(self.get_parameter('dry_run').value)

    def _end(self, outcome: str) -> None:
        """End the run; the guard brings the arm to rest from the zero that is sent here."""
        self._timer.cancel()
        self._is_running = False
        self._command(np.zeros(len(self.robot.joints)))
        self._outcome = outcome
        self._ended_runs += 1
        self.get_logger().info(f'Run ended: {outcome}.')
        self._publish_state()

    def _publish_state(self) -> None:
        text = self._outcome
        level = DiagnosticStatus.OK
        if self._tick_ms:
            p50, p99 = np.percentile(self._tick_ms, (50, 99))
        else:
            p50 = p99 = math.nan
        self._state.publish(
            status(
                'control',
                level,
                text,
                running=self._is_running,
                active=self._is_active,
                dry_run=self._is_dry_run,
                ticks=self._ticks,
                ended_runs=self._ended_runs,
                tick_ms_p50=f'{p50:.3f}',
                tick_ms_p99=f'{p99:.3f}',
                tick_ms=','.join(f'{ms:.2f}' for ms in self._tick_ms)
                if not self._is_running
                else '',
                policy=self._policy.bundle.name if self._policy else '',
            )
        )


def main() -> int:
    """Run the node."""
    return run_node(ControlNode, is_streaming=True)


if __name__ == '__main__':
    sys.exit(main())
