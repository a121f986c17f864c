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
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.executors import Executor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.task import Future
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from mil_ros.core.alignment import AsOf
from mil_ros.core.commands import find_flaw
from mil_ros.core.errors import MilError, OrderError
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Observation, Vector
from mil_ros.data.messages import stamp_ns
from mil_ros.inference.bundle import check_robot, load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.guard_link import GuardLink
from mil_ros.ros.inputs import Inputs
from mil_ros.ros.node import (
    add_trigger,
    COMMAND,
    in_thread,
    LATCHED,
    now_ns,
    run_node,
    StatePublisher,
    status,
    survive_wrong_order,
)
from mil_ros.ros.preview import preview
from mil_ros.ros.run import Run

_STATE_PERIOD_S = 0.5
_WATCH_PERIOD_S = 0.01
_WATCHES_PER_COMMAND = 4  # the last command is repeated at 25 Hz: silence means that we are dead
_TICKS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class ControlNode(LifecycleNode):
    """Runs the adapted policy; active means armed, ``~/start`` means go."""

    def __init__(self) -> None:
        """Declare parameters; everything else happens on configure."""
        super().__init__('control')
        survive_wrong_order(self)
        self.declare_parameter('robot', 'sim_panda')
        self.declare_parameter('bundle', '')
        self.declare_parameter('dry_run', True)
        self.add_on_set_parameters_callback(self._check_parameters)
        self._policy: OnnxPolicy | None = None
        self._policy_error = ''
        self._announcements = 0
        self._run: Run | None = None
        self._last_run: Run | None = None
        self._ended_runs = 0
        self._watches = 0
        self._outcome = 'not configured'
        self._is_active = False
        self._thinking = ThreadPoolExecutor(1, 'policy')
        self._loading = ThreadPoolExecutor(1, 'loading')

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Read and check everything; a mistake leaves the node unconfigured."""
        try:
            self.robot = load_robot(self.get_parameter('robot').value)
            bundle = self.get_parameter('bundle').value
            if bundle:
                check_robot(load_bundle(bundle), self.robot)
        except MilError as err:
            self.get_logger().error(str(err))
            return TransitionCallbackReturn.FAILURE
        self._connect()
        try:
            self._check_link()
        except MilError as err:
            self.get_logger().error(str(err))
            self._disconnect()
            return TransitionCallbackReturn.FAILURE
        self._outcome = 'idle'
        return super().on_configure(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything that configuring made."""
        self._disconnect()
        return super().on_cleanup(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Arm; nothing moves before ``~/start``."""
        try:
            self._check_link()
        except MilError as err:
            self.get_logger().error(str(err))
            return TransitionCallbackReturn.FAILURE
        self._is_active = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Disarm, ending a run."""
        self._is_active = False
        self._end('deactivated')
        return super().on_deactivate(state)

    def _connect(self) -> None:
        self._link = GuardLink(self, self._on_guard)
        self._preview = self.create_publisher(JointJog, '~/preview', COMMAND)
        self._path = self.create_publisher(JointTrajectory, '~/preview_trajectory', COMMAND)
        self._used = self.create_publisher(DiagnosticStatus, '~/tick', _TICKS)
        self._state = StatePublisher(self)
        self._inputs = Inputs(self, self.robot, self._on_image)
        self._announced = self.create_subscription(
            String, '/adaptation/policy', self._on_policy, LATCHED
        )
        self._calls = (
            add_trigger(self, '~/start', self._start),
            add_trigger(self, '~/stop', self._stop),
            add_trigger(self, '~/observe', lambda: str(self._inputs.as_of_now())),
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # no clock step can freeze the watch
        self._watch_timer = self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)
        self._watch_timer.cancel()  # until ~/start
        self.create_timer(_STATE_PERIOD_S, self._publish_state, clock=steady)

    def _disconnect(self) -> None:
        for timer in list(self.timers):
            self.destroy_timer(timer)
        self._inputs.destroy()
        self._link.destroy()
        self._state.destroy()
        self.destroy_subscription(self._announced)
        for service in self._calls:
            self.destroy_service(service)
        for publisher in (self._preview, self._path, self._used):
            self.destroy_publisher(publisher)
        self._policy, self._outcome = None, 'not configured'
        self._announcements += 1  # what is being loaded is not wanted any more

    def _check_link(self) -> None:
        """Raise `MilError` unless commands would go to the guard, and come from here alone."""
        self._link.check_alone()
        if not self._is_dry_run:
            self._link.await_guard()

    def _check_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Refuse to change in a run whether the arm moves."""
        is_refused = self._run is not None and any(p.name == 'dry_run' for p in parameters)
        reason = 'a run is going, expected none; call /control/stop first.' if is_refused else ''
        return SetParametersResult(successful=not is_refused, reason=reason)

    # Services

    def _start(self) -> str:
        if not self._is_active:
            raise OrderError(
                'Run refused: the control node is not active; activate it first '
                '(ros2 lifecycle set /control activate).'
            )
        if self._run is not None:
            raise OrderError('Run refused: one is already going; call /control/stop first.')
        if self._policy is None:
            raise OrderError(
                self._policy_error
                or 'Run refused: no adapted policy has been announced on /adaptation/policy; '
                'record a demonstration and call /adaptation/adapt first.'
            )
        if not self._is_dry_run:
            self._link.check_ready()
        self._check_pose()
        self._run = self._last_run = Run(self.robot, now_ns(self))
        self._outcome = 'running'
        self._watch_timer.reset()
        self._send(self._run)  # zero: this is where our stream begins
        self._publish_state()
        how = 'dry run, nothing moves' if self._is_dry_run else 'the arm moves'
        return f'Running {self._policy.bundle.name} ({how}).'

    def _check_pose(self) -> None:
        observation, _ = self._inputs.observe()
        away = np.abs(observation.joint_positions - self.robot.home)
        worst = int(away.argmax())
        tolerance = self.robot.policy.start_tolerance_rad
        if away[worst] > tolerance:
            raise OrderError(
                f'Run refused: {self.robot.joint_names[worst]} is {away[worst]:.2f} rad from the '
                f'start pose, expected at most {tolerance} rad; call /planner/go_home or move the '
                'arm home first.'
            )

    def _stop(self) -> str:
        if self._run is None:
            raise OrderError('No run to stop; call /control/start first.')
        ticks = len(self._run.tick_ms)
        self._end('stopped')
        return f'Stopped after {ticks} ticks.'

    # The policy

    def _on_policy(self, message: String) -> None:
        """Load an announced policy off the executor's thread; the newest one wins."""
        self._announcements += 1
        loaded = in_thread(self, self._loading, self._load, message.data)
        loaded.add_done_callback(partial(self._on_loaded, self._announcements))

    def _load(self, path: str) -> OnnxPolicy:
        bundle = load_bundle(path)
        check_robot(bundle, self.robot)
        policy = OnnxPolicy(bundle)
        size = (self.robot.policy.image_height, self.robot.policy.image_width, 3)
        warm_up = Observation(np.zeros(size, dtype=np.uint8), self.robot.home)
        policy.act(warm_up)  # the first call allocates; do it before the arm waits for it
        return policy

    def _on_loaded(self, announcement: int, loaded: Future) -> None:
        """Take a policy over between two ticks, or keep none and remember why."""
        if announcement != self._announcements:
            return
        error = loaded.exception()
        if error is None:
            self._policy, self._policy_error = loaded.result(), ''
        else:
            self._policy, self._policy_error = None, f'Run refused: {error}'
            self.get_logger().error(str(error))
            self._end(self._policy_error)
        self._publish_state()

    # The loop

    def _on_guard(self, reason: str) -> None:
        """The guard does not let commands through any more."""
        if not self._is_dry_run:
            self._end(reason)

    def _on_image(self, stamp: int) -> None:
        run = self._run
        if run is None or not run.is_due(stamp):
            return
        if run.is_over(now_ns(self)):
            self._end('time is up')
        elif run.is_thinking:
            self._end('the policy takes longer than its period')
        else:
            self._think(run)

    def _think(self, run: Run) -> None:
        """Start the policy on the newest observation, off the executor's thread."""
        began_s = time.perf_counter()
        assert self._policy is not None
        try:
            observation, used = self._inputs.observe()
        except MilError as err:
            self._end(str(err))
            return
        run.is_thinking = True
        thought = in_thread(self, self._thinking, self._policy.act, observation)
        thought.add_done_callback(partial(self._on_thought, run, began_s, used))

    def _on_thought(self, run: Run, began_s: float, used: AsOf, thought: Future) -> None:
        if self._run is not run:
            return  # the run that asked is over
        run.is_thinking = False
        flaw = ''
        if thought.exception() is not None:
            flaw = f'the policy failed: {thought.exception()}'
        else:
            velocities = np.atleast_1d(thought.result())
            flaw = find_flaw(self.robot, self.robot.joint_names, velocities.tolist())
            flaw = flaw and f'the policy gave {flaw}'
        if flaw:
            self._end(flaw)
            self._publish_tick(0, used, math.nan)
            return
        run.velocities = velocities
        command_ns = self._send(run)
        run.tick_ms.append(1e3 * (time.perf_counter() - began_s))
        self._publish_tick(command_ns, used, run.tick_ms[-1])

    def _watch(self) -> None:
        """End a run whose data are too old; repeat the command of one that goes on."""
        run = self._run
        if run is None:
            return
        if run.is_over(now_ns(self)):
            self._end('time is up')
            return
        if self._is_dry_run:
            return  # nothing can happen, and in a replay time stands still between its steps
        try:
            self._inputs.as_of_now()
        except MilError as err:
            self._end(str(err))
            return
        self._watches += 1
        if self._watches % _WATCHES_PER_COMMAND == 0:
            self._send(run)

    def _send(self, run: Run) -> int:
        """Send what a run wants now, or show it in a dry run; return the stamp."""
        moment = self.get_clock().now()
        velocities = run.command(int(moment.nanoseconds))
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = moment.to_msg()
        message.velocities = array.array('d', velocities)
        if self._is_dry_run:
            self._preview.publish(message)
            self._show_path(message, velocities)
        else:
            self._link.publish(message)
        return stamp_ns(message.header)

    def _show_path(self, message: JointJog, velocities: Vector) -> None:
        """Show where the command would lead; only for whoever looks."""
        positions = self._inputs.joint_positions
        if positions is not None and self._path.get_subscription_count():
            path = preview(self.robot, positions, velocities)
            path.header.stamp = message.header.stamp
            self._path.publish(path)

    def _publish_tick(self, command_ns: int, used: AsOf, tick_ms: float) -> None:
        """Say what the command of a stamp was made of; it is zero if none came of it."""
        values: dict[str, object] = {'command_ns': command_ns, 'moment_ns': used.moment_ns}
        for topic, age_s in used.ages_s.items():
            values[f'{topic} stamp_ns'] = used.stamps_ns[topic]
            values[f'{topic} age_s'] = f'{age_s:.4f}'
        values['tick_ms'] = f'{tick_ms:.3f}'
        self._used.publish(status('control', DiagnosticStatus.OK, str(used), **values))

    @property
    def _is_dry_run(self) -> bool:
        return bool(self.get_parameter('dry_run').value)

    def _end(self, outcome: str) -> None:
        """End a run if there is one; the guard brings the arm to rest from the zero sent here."""
        run = self._run
        if run is None:
            return
        self._watch_timer.cancel()
        self._run, run.velocities = None, None
        self._send(run)
        self._outcome = outcome
        self._ended_runs += 1
        self.get_logger().info(f'Run ended: {outcome}.')
        self._publish_state()

    def _publish_state(self) -> None:
        tick_ms = self._last_run.tick_ms if self._last_run is not None else []
        p50, p99 = np.percentile(tick_ms, (50, 99)) if tick_ms else (math.nan, math.nan)
        is_running = self._run is not None
        self._state.publish(
            DiagnosticStatus.OK,
            self._outcome,
            running=is_running,
            active=self._is_active,
            dry_run=self._is_dry_run,
            ticks=len(tick_ms),
            ended_runs=self._ended_runs,
            tick_ms_p50=f'{p50:.3f}',
            tick_ms_p99=f'{p99:.3f}',
            tick_ms='' if is_running else ','.join(f'{ms:.2f}' for ms in tick_ms),
            policy=self._policy.bundle.name if self._policy else '',
        )

    def finish(self, executor: Executor) -> None:
        """End a run before the process ends."""
        if self._run is not None:
            self._end('the control node is shutting down')
            executor.spin_once(_WATCH_PERIOD_S)


def main() -> int:
    """Run the node."""
    return run_node(ControlNode, is_streaming=True, priority=10)


if __name__ == '__main__':
    sys.exit(main())
