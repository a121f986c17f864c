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
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from std_msgs.msg import String

from mil_ros.core.alignment import AsOf, NS_PER_S
from mil_ros.core.errors import MilError, OrderError
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Observation, Vector
from mil_ros.data.messages import stamp_ns
from mil_ros.inference.bundle import check_robot, load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.inputs import Inputs
from mil_ros.ros.node import (
    add_trigger,
    COMMAND,
    in_thread,
    LATCHED,
    now_ns,
    run_node,
    status,
)

_STATE_PERIOD_S = 0.5
_TICKS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class ControlNode(LifecycleNode):
    """Runs the adapted policy; active means armed, ``~/start`` means go."""

    def __init__(self) -> None:
        """Declare parameters; everything else happens on configure."""
        super().__init__('control')
        self.declare_parameter('robot', 'sim_panda')
        self.declare_parameter('dry_run', True)
        self._policy: OnnxPolicy | None = None
        self._policy_error = ''
        self._is_running = False
        self._started_ns = 0
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
        self._jog = self.create_publisher(JointJog, '~/joint_jog', COMMAND)
        self._preview = self.create_publisher(JointJog, '~/preview', COMMAND)
        self._used = self.create_publisher(DiagnosticStatus, '~/tick', _TICKS)
        self._state = self.create_publisher(DiagnosticStatus, '~/state', LATCHED)
        self._inputs = Inputs(self, self.robot)
        self._announced = self.create_subscription(
            String, '/adaptation/policy', self._on_policy, LATCHED
        )
        self._calls = (
            add_trigger(self, '~/start', self._start),
            add_trigger(self, '~/stop', self._stop),
            add_trigger(self, '~/observe', lambda: str(self._inputs.as_of_now())),
        )
        self._timer = self.create_timer(1.0 / self.robot.policy.rate_hz, self._tick)
        self._timer.cancel()  # until ~/start
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # goes on while a simulated clock stands
        self.create_timer(_STATE_PERIOD_S, self._publish_state, clock=steady)
        self._outcome = 'idle'
        return super().on_configure(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything that configuring made."""
        for timer in list(self.timers):
            self.destroy_timer(timer)
        self._inputs.destroy()
        self.destroy_subscription(self._announced)
        for service in self._calls:
            self.destroy_service(service)
        for publisher in (self._jog, self._preview, self._used, self._state):
            self.destroy_publisher(publisher)
        self._policy = None
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
        observation, _ = self._inputs.observe()
        away = np.abs(observation.joint_positions - self.robot.home)
        worst = int(away.argmax())
        tolerance = self.robot.policy.start_tolerance_rad
        if away[worst] > tolerance:
            raise OrderError(
                f'Run refused: {self.robot.joint_names[worst]} is {away[worst]:.2f} rad from the '
                f'start pose, expected at most {tolerance} rad; move the arm home first.'
            )
        self._started_ns, self._ticks, self._tick_ms = now_ns(self), 0, []
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

    # The loop

    def _tick(self) -> None:
        if now_ns(self) - self._started_ns > self.robot.policy.max_run_s * NS_PER_S:
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
            observation, used = self._inputs.observe()
        except MilError as err:
            self._end(str(err))
            return
        self._is_thinking = True
        thought = in_thread(self, self._pool, self._policy.act, observation)
        thought.add_done_callback(partial(self._on_thought, self._ended_runs, began_s, used))

    def _on_thought(self, run: int, began_s: float, used: AsOf, thought: Future) -> None:
        self._is_thinking = False
        if not self._is_running or run != self._ended_runs:
            return  # the run that asked is over
        if thought.exception() is not None:
            self._end(f'the policy failed: {thought.exception()}')
            return
        command_ns = self._command(thought.result())
        self._ticks += 1
        self._tick_ms.append(1e3 * (time.perf_counter() - began_s))
        self._publish_tick(command_ns, used)

    def _command(self, velocities: Vector) -> int:
        """Publish a command and return its stamp."""
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = self.get_clock().now().to_msg()
        message.velocities = array.array('d', velocities)
        (self._preview if self._is_dry_run else self._jog).publish(message)
        return stamp_ns(message.header)

    def _publish_tick(self, command_ns: int, used: AsOf) -> None:
        """Say what the command of a stamp was made of."""
        values: dict[str, object] = {'command_ns': command_ns, 'moment_ns': used.moment_ns}
        for topic, age_s in used.ages_s.items():
            values[f'{topic} stamp_ns'] = used.stamps_ns[topic]
            values[f'{topic} age_s'] = f'{age_s:.4f}'
        values['tick_ms'] = f'{self._tick_ms[-1]:.3f}'
        self._used.publish(status('control', DiagnosticStatus.OK, str(used), **values))

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
