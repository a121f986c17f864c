"""Looks at a graph for a while: listens and asks, and publishes nothing."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from functools import partial
import importlib
import os
from pathlib import Path
import time
from typing import Any, Final

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import GetState
from rcl_interfaces.msg import Log, ParameterValue
from rcl_interfaces.srv import GetParameters
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import Bool

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.ros.node import LATCHED, NEWEST
from mil_ros.tools.doctor.samples import ImageLog, JointLog, to_switch
from mil_ros.tools.doctor.snapshot import (
    camera_info_topic,
    CLOCK,
    CONTROL,
    CONTROL_STATE,
    Controller,
    DEADMAN,
    GUARD_STATE,
    LIST_CONTROLLERS,
    NodeState,
    ServoReport,
    Snapshot,
)
from mil_ros.tools.doctor.surroundings import (
    find_nodes,
    find_services,
    find_timekeepers,
    find_topics,
    NAME,
)

_STREAM: Final = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_PACKAGES: Final = ('control_msgs', 'moveit_msgs')
# A node that answers a client which it has only just met, or which has gone, waits for it, and a
# guard must not wait. So clients are made some time before they call, and stay for the answer.
_ACQUAINT_S: Final = 0.5
_REPEAT_S: Final = 2.0
_LINGER_S: Final = 1.0
_WARN: Final = 30  # rcl_interfaces/Log; some distributions have its constants as bytes
_SIM_TIME: Final = 'use_sim_time'
_SERVO_OUTPUT: Final = 'moveit_servo.command_out_topic'
_CONTROL_STATE: Final = f'{CONTROL}/get_state'


class Collector:
    """A node that only listens, in a context of its own."""

    def __init__(self, robot: RobotDescription) -> None:
        """Join the graph and begin to listen."""
        self._robot = robot
        self._servo_name = robot.topics.switch_command_type.rpartition('/')[0]
        self._context = Context()
        rclpy.init(args=[], context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(
            NAME, context=self._context, enable_rosout=False, start_parameter_services=False
        )
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._began_s = time.monotonic()
        self._joints, self._images = JointLog(robot), ImageLog(robot.topics.image)
        self._info: tuple[int, int, float] | None = None
        self._servo: ServoReport | None = None
        self._deadman: list[tuple[float, bool]] = []
        self._logs: list[str] = []
        self._clock_ns: int | None = None
        self._clock_ticks = 0
        self._states: dict[str, NodeState] = {}
        self._answers: dict[str, Any] = {}
        self._due_s: dict[str, float] = {}
        self._waiting: set[str] = set()
        self._clients: dict[str, Any] = {}
        self._listen()

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        self._executor.shutdown()
        rclpy.shutdown(context=self._context)

    def spin(self, seconds: float) -> None:
        """Listen for a while, and ask whoever has turned up."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)
        self._ask()

    def linger(self) -> None:
        """Wait for answers that are still to come, so that nobody is left answering in vain."""
        end_s = time.monotonic() + _LINGER_S
        while self._waiting and (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def _listen(self) -> None:
        topics, listen = self._robot.topics, self.node.create_subscription
        listen(JointState, topics.joint_states, self._on_joints, _STREAM)
        listen(Image, topics.image, self._on_image, _STREAM)
        listen(CameraInfo, camera_info_topic(self._robot), self._on_info, NEWEST)
        listen(Bool, DEADMAN, self._on_deadman, _STREAM)
        listen(Clock, CLOCK, self._on_clock, NEWEST)
        listen(Log, '/rosout', self._on_log, QoSProfile(depth=100))
        for topic in (GUARD_STATE, CONTROL_STATE):
            listen(DiagnosticStatus, topic, partial(self._on_state, topic), LATCHED)
        with suppress(ImportError):  # the check `packages` tells
            status = _find_type('moveit_msgs.msg', 'ServoStatus')
            listen(status, topics.servo_status, self._on_servo, NEWEST)

    # Messages

    def _on_joints(self, message: JointState) -> None:
        self._joints.add(message, time.time_ns(), self._clock_ns)

    def _on_image(self, message: Image) -> None:
        self._images.add(message, time.time_ns(), self._clock_ns)

    def _on_info(self, message: CameraInfo) -> None:
        self._info = (int(message.width), int(message.height), float(message.k[0]))

    def _on_servo(self, message: Any) -> None:
        self._servo = ServoReport(int(message.code), str(message.message))

    def _on_deadman(self, message: Bool) -> None:
        self._deadman.append((time.monotonic(), bool(message.data)))

    def _on_clock(self, message: Clock) -> None:
        self._clock_ns = message.clock.sec * 1_000_000_000 + message.clock.nanosec
        self._clock_ticks += 1

    def _on_log(self, message: Log) -> None:
        if message.level >= _WARN:
            self._logs.append(f'{message.name}: {message.msg}')

    def _on_state(self, topic: str, message: DiagnosticStatus) -> None:
        values = {pair.key: pair.value for pair in message.values}
        is_error = message.level == DiagnosticStatus.ERROR
        self._states[topic] = NodeState(is_error, message.message, values)

    # Questions

    def _ask(self) -> None:
        """Ask for lifecycle state, parameters and controllers, again until there is an answer."""
        services = dict(self.node.get_service_names_and_types())
        if _CONTROL_STATE in services:
            self._call(_CONTROL_STATE, GetState, _CONTROL_STATE, GetState.Request())
        for node in find_timekeepers(self.node, self._robot):
            self._ask_parameter(services, node, _SIM_TIME)
        self._ask_parameter(services, self._servo_name, _SERVO_OUTPUT)
        if LIST_CONTROLLERS in services:
            with suppress(ImportError):  # `_find_controllers` tells
                kind = _find_type('controller_manager_msgs.srv', 'ListControllers')
                self._call(LIST_CONTROLLERS, kind, LIST_CONTROLLERS, kind.Request())

    def _ask_parameter(self, services: Container[str], node: str, name: str) -> None:
        service = f'{node}/get_parameters'
        if service in services:
            request = GetParameters.Request(names=[name])
            self._call(f'{node} {name}', GetParameters, service, request)

    def _call(self, key: str, kind: Any, service: str, request: Any) -> None:
        """Call a service unless it has answered or is about to; `key` is what is asked."""
        now_s = time.monotonic()
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        due_s = self._due_s.setdefault(key, now_s + _ACQUAINT_S)
        is_due = key not in self._answers and now_s >= due_s
        if is_due and self._clients[service].service_is_ready():
            self._due_s[key] = now_s + _REPEAT_S
            self._waiting.add(key)
            future = self._clients[service].call_async(request)
            future.add_done_callback(partial(self._on_answer, key))

    def _on_answer(self, key: str, future: Future) -> None:
        self._answers[key] = future.result()
        self._waiting.discard(key)

    # What was seen

    def snapshot(self) -> Snapshot:
        """Return all that was seen so far."""
        sim_time = self._find_sim_time()
        is_simulated = any(sim_time.values()) and self._clock_ns is not None
        controllers, reason = self._find_controllers()
        output = self._find_parameter(self._servo_name, _SERVO_OUTPUT)
        state = self._answers.get(_CONTROL_STATE)
        return Snapshot(
            loaded=self._robot,
            known_robots=_find_robots(),
            environment={k: v for k, v in os.environ.items() if k.startswith(('ROS_', 'RMW_'))},
            missing_packages=tuple(name for name in _PACKAGES if not _is_installed(name)),
            nodes=find_nodes(self.node),
            topics=find_topics(self.node, self._robot),
            services=find_services(self.node),
            joint_states=self._joints.streams(is_simulated),
            images=self._images.stream(is_simulated),
            camera_info=self._info,
            servo=self._servo,
            servo_output='' if output is None else str(output.string_value),
            logs=tuple(self._logs),
            clock_ticks=self._clock_ticks,
            sim_time=sim_time,
            states=dict(self._states),
            lifecycle='' if state is None else str(state.current_state.label),
            deadman=to_switch(self._deadman),
            controllers=controllers,
            controllers_reason=reason,
            seconds=time.monotonic() - self._began_s,
            end_ns=self._clock_ns if is_simulated and self._clock_ns else time.time_ns(),
        )

    def _find_sim_time(self) -> Mapping[str, bool]:
        nodes = [key.partition(' ')[0] for key in self._answers if key.endswith(_SIM_TIME)]
        found = {node: self._find_parameter(node, _SIM_TIME) for node in nodes}
        return {node: bool(value.bool_value) for node, value in found.items() if value}

    def _find_parameter(self, node: str, name: str) -> ParameterValue | None:
        """Return what a node answered; None if it did not, or has no such parameter."""
        answer = self._answers.get(f'{node} {name}')
        return answer.values[0] if answer is not None and answer.values else None

    def _find_controllers(self) -> tuple[tuple[Controller, ...] | None, str]:
        """Return the controllers, or why they are not known."""
        answer = self._answers.get(LIST_CONTROLLERS)
        if answer is not None:
            return tuple(map(_to_controller, answer.controller)), ''
        if LIST_CONTROLLERS not in dict(self.node.get_service_names_and_types()):
            return None, f'nobody serves {LIST_CONTROLLERS}; the simulated arm has no controllers'
        if not _is_installed('controller_manager_msgs'):
            return None, 'controller_manager_msgs is not installed here, so nobody was asked'
        return None, f'no answer from {LIST_CONTROLLERS}'


def look(robot: RobotDescription, slices: Iterable[float]) -> Snapshot:
    """Look at the graph for some seconds, given in slices, and return what was seen."""
    collector = Collector(robot)
    try:
        for seconds in slices:
            collector.spin(seconds)
        collector.linger()
        return collector.snapshot()
    finally:
        collector.close()


def _to_controller(state: Any) -> Controller:
    interfaces = state.claimed_interfaces or state.required_command_interfaces
    return Controller(state.name, state.state, tuple(interfaces))


def _find_robots() -> dict[str, tuple[str, ...]]:
    """Return the joint names of every shipped robot file."""
    files: Iterable[Path] = sorted((share_dir() / 'config' / 'robots').glob('*.yaml'))
    return {file.stem: load_robot(file.stem).joint_names for file in files}


def _find_type(module: str, name: str) -> Any:
    """Return a message or service type.

    Raises:
        ImportError: If its package is not installed, or older.
    """
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError as err:
        raise ImportError(f'{module} has no {name}') from err


def _is_installed(package: str) -> bool:
    try:
        importlib.import_module(package)
    except ImportError:
        return False
    return True
