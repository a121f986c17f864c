"""The simulated arm: stands where driver, camera and ``servo_node`` stand on a real one."""

from __future__ import annotations

import array
import sys
import threading
import time

from control_msgs.msg import JointJog
from moveit_msgs.msg import ServoStatus
from moveit_msgs.srv import ServoCommandType
import numpy as np
from rcl_interfaces.msg import ParameterDescriptor, SetParametersResult
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from mil_ros.core.errors import ConfigError, OrderError
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Vector
from mil_ros.core.watches import REST_RAD_S
from mil_ros.ros.node import (
    add_trigger,
    COMMAND,
    LATCHED,
    now_ns,
    run_node,
    to_stamp,
)
from mil_ros.ros.sim_camera import SimCamera
from mil_ros.ros.sim_teleoperator import Teleoperator
from mil_ros.sim.families import get_family, Judge, Outcome, Task
from mil_ros.sim.faults import FaultInjector, FAULTS
from mil_ros.sim.scene import TIMESTEP_S
from mil_ros.sim.servo import ServoEmulator
from mil_ros.sim.simulation import Simulation

_TELEOP_EVERY = 2  # a command every other tick, 50 Hz as from a joystick
_SCENE_STREAM = 13  # keeps the scenes apart from those of training and evaluation
_LAG_S = 0.1  # a longer pause is not caught up with
_OUTLIVE_S = 2.5  # how long the arm may take to rest once the process shall end
_WHOLE = QoSProfile(depth=100)  # of the trace nothing may get lost
_FAULT = ParameterDescriptor(
    description=f'what goes wrong, empty for nothing: {", ".join(FAULTS)}',
)
_TRACE = ParameterDescriptor(
    description='publish the joint velocities of every step of the physics on ~/trace',
    read_only=True,
)


class SimNode(Node):
    """Physics in real time, Servo's rules, a camera, and a scripted teleoperator."""

    def __init__(self) -> None:
        """Build the scene of the first task."""
        super().__init__('sim')
        self.robot = load_robot(self.declare_parameter('robot', 'sim_panda').value)
        self.family = get_family(self.declare_parameter('family', 'reach').value)
        self.declare_parameter('split', 'test')
        self.declare_parameter('seed', 0)
        self.declare_parameter('task_index', 0)
        self.simulation = Simulation(self.robot, self.family)
        self.servo = ServoEmulator(self.robot)
        self._judge: Judge = self.family.judge()
        self._outcome: Outcome | None = None
        self._teleop_end_s: float | None = None  # simulated time
        self._teleop_done = threading.Event()
        self._ticks = 0
        self._scenes = 0
        self._task: Task | None = None
        self.faults = FaultInjector()
        self._declare_fault()
        self._make_publishers()
        self._camera = SimCamera(self, self.simulation, self.faults)
        topics = self.robot.topics
        self.create_subscription(JointJog, topics.command, self._on_joint_jog, COMMAND)
        self.create_service(ServoCommandType, topics.switch_command_type, self._on_switch)
        self.create_service(SetBool, topics.pause_servo, self._on_pause)
        add_trigger(self, '~/reset', self._reset)
        add_trigger(self, '~/judge', self._end_trial)
        self._reset()
        self._teleoperator = Teleoperator(self.demonstrate)
        self._time_ns = now_ns(self)
        self.create_timer(1.0 / self.robot.joint_states.rate_hz, self._tick)
        self.get_logger().info('Simulated arm is up.')

    def _make_publishers(self) -> None:
        topics = self.robot.topics
        depth = QoSProfile(depth=5)
        self._joint_states = self.create_publisher(JointState, topics.joint_states, depth)
        self._status = self.create_publisher(ServoStatus, topics.servo_status, depth)
        self._teleop = self.create_publisher(JointJog, '/teleop/joint_jog', COMMAND)
        self._success = self.create_publisher(Bool, '~/success', LATCHED)
        self._trace = None
        if self.declare_parameter('trace', False, _TRACE).value:
            self._trace = self.create_publisher(JointTrajectory, '~/trace', _WHOLE)

    def _declare_fault(self) -> None:
        chosen = self.declare_parameter('fault', '', _FAULT).value
        self.faults.choose(chosen)
        self.add_on_set_parameters_callback(self._on_parameters)

    def _on_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        """Take over a fault; it is the only parameter that means something at once."""
        try:
            for parameter in parameters:
                if parameter.name == 'fault':
                    self.faults.choose(parameter.value)
        except ConfigError as err:
            return SetParametersResult(successful=False, reason=str(err))
        return SetParametersResult(successful=True)

    # Services

    def _reset(self) -> str:
        if self._teleop_end_s is not None:
            raise OrderError(
                'Reset refused: a demonstration is running; wait until ~/demonstrate answers.'
            )
        index = int(self.get_parameter('task_index').value)
        split, seed = self.get_parameter('split').value, int(self.get_parameter('seed').value)
        if self._task is None or (self._task.index, self._task.split) != (index, split):
            self._task, self._scenes = self.family.sample_task(split, seed, index), 0
        self._camera.wait()
        rng = np.random.default_rng([seed, index, self._scenes, _SCENE_STREAM])
        self._scenes += 1
        self.family.reset(self.simulation, self._task, rng)
        self._judge, self._outcome = self.family.judge(), None
        self._success.publish(Bool(data=False))
        return f'New scene {self._scenes} of {split} task {index}: {self._task}.'

    def demonstrate(self) -> str:
        """Have the teleoperator do the task; called in a thread of its own, for it waits.

        Raises:
            OrderError: If a demonstration is running.
        """
        if self._teleop_end_s is not None:
            raise OrderError(
                'Demonstration refused: one is already running; wait until it has ended.'
            )
        self._teleop_done.clear()
        duration_s = self.family.demo_steps / self.robot.policy.rate_hz
        self._teleop_end_s = self.simulation.time_s + duration_s
        at_rest = np.zeros(len(self.robot.joints))
        self._teleop.publish(self._jog(now_ns(self), at_rest))  # a free stick
        self._teleop_done.wait()
        return self._outcome.text if self._outcome is not None else 'The arm was shut down.'

    def _end_trial(self) -> str:
        """End the trial, if it has not ended, and say how."""
        if self._outcome is None:
            self._outcome = self._judge.finish(self.simulation)
            self._success.publish(Bool(data=self._outcome.success))
        return self._outcome.text

    def _on_switch(
        self, request: ServoCommandType.Request, response: ServoCommandType.Response
    ) -> ServoCommandType.Response:
        response.success = bool(self.servo.switch_command_type(request.command_type))
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.servo.paused = bool(request.data)
        response.success = True
        return response

    # The loop

    def _on_joint_jog(self, message: JointJog) -> None:
        stamp = message.header.stamp
        self.servo.on_joint_jog(
            stamp.sec * 1_000_000_000 + stamp.nanosec,
            list(message.joint_names),
            np.array(message.velocities),
        )

    def _tick(self) -> None:
        now = now_ns(self)
        elapsed_s = (now - self._time_ns) / 1e9
        if elapsed_s > _LAG_S:
            self.get_logger().warning(f'Simulation lost {elapsed_s:.2f} s; the machine is busy.')
            self._time_ns, elapsed_s = now - round(_LAG_S * 1e9), _LAG_S
        steps = int(elapsed_s / TIMESTEP_S)
        self._time_ns += round(steps * TIMESTEP_S * 1e9)
        output = self.servo.step(now, self.simulation.joint_positions, steps * TIMESTEP_S)
        self._advance(now, output.velocities, steps)
        stamp_ns = now_ns(self)
        self._publish_joints(self.faults.joints_stamp_ns(stamp_ns))
        code, message = self.faults.status(output.status, output.message)
        if code is not None:
            self._status.publish(ServoStatus(code=int(code), message=message))
        is_over = self._outcome is None and self._judge.update(self.simulation)
        if is_over and self._teleop_end_s is None:  # a teleoperator shows the task to its end
            self._end_trial()
        self._teleoperate(stamp_ns)
        self._camera.tick(stamp_ns)

    def _advance(self, now: int, velocities: Vector, steps: int) -> None:
        """Hold joint velocities for a number of physics steps.

        The time that has passed since the last tick is simulated with the command of now. The
        trace stamps it from now on instead, so that no effect is stamped before its cause.
        """
        if self._trace is None:
            self.simulation.step(velocities, steps * TIMESTEP_S)
            return
        message = JointTrajectory(joint_names=list(self.robot.joint_names))
        message.header.stamp = to_stamp(now)
        for step in range(steps):
            self.simulation.step(velocities, TIMESTEP_S)
            point = JointTrajectoryPoint(velocities=self.simulation.joint_velocities.tolist())
            point.time_from_start.nanosec = round((step + 1) * TIMESTEP_S * 1e9)
            message.points.append(point)
        self._trace.publish(message)

    def _teleoperate(self, stamp_ns: int) -> None:
        if self._teleop_end_s is None:
            return
        is_last = self.simulation.time_s >= self._teleop_end_s
        self._ticks += 1
        if is_last or self._ticks % _TELEOP_EVERY == 0:
            velocities = self.family.expert(self.simulation)
            if is_last:
                velocities = np.zeros_like(velocities)  # a person lets go of the stick
            self._teleop.publish(self._jog(stamp_ns, velocities))
        if is_last:
            self._teleop_end_s = None
            self._end_trial()
            self._teleop_done.set()

    def _jog(self, stamp_ns: int, velocities: Vector) -> JointJog:
        message = JointJog(joint_names=list(self.robot.joint_names))
        message.header.stamp = to_stamp(stamp_ns)
        message.velocities = array.array('d', velocities)
        return message

    def _publish_joints(self, stamp_ns: int | None) -> None:
        if stamp_ns is None:
            return
        message = JointState(name=list(self.robot.joint_names))
        message.header.stamp = to_stamp(stamp_ns)
        message.position = array.array('d', self.simulation.joint_positions)
        message.velocity = array.array('d', self.simulation.joint_velocities)
        self._joint_states.publish(message)

    def finish(self, executor: Executor) -> None:
        """Go on, as an arm does whatever becomes of its masters, until it rests uncommanded."""
        end_s = time.monotonic() + _OUTLIVE_S
        while time.monotonic() < end_s and not self._is_left_alone:
            executor.spin_once(0.05)

    @property
    def _is_left_alone(self) -> bool:
        speed = float(np.abs(self.simulation.joint_velocities).max())
        return self.servo.is_stale(now_ns(self)) and speed < REST_RAD_S

    def destroy_node(self) -> None:
        """Free the renderer before MuJoCo goes."""
        self._teleop_done.set()
        self._teleoperator.close()
        self._camera.close()
        super().destroy_node()


def main() -> int:
    """Run the node."""
    # It stands for hardware, which no other process holds up.
    return run_node(SimNode, is_streaming=True, priority=5)


if __name__ == '__main__':
    sys.exit(main())
