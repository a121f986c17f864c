"""Talking to a running graph: only the services and topics that anyone else can use too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription
from rclpy.task import Future
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Image
from mil_ros.data.messages import image_to_rgb
from mil_ros.ros.node import LATCHED, NEWEST

_REPEAT_S = 2.0  # an answer that takes longer may have got lost


class GraphClient:
    """A blocking client; every wait also watches the graph."""

    def __init__(self, robot: RobotDescription, check: Callable[[], None]) -> None:
        """Join the graph.

        Args:
            robot: Whose topics to listen to.
            check: Called while waiting; raises if waiting makes no sense any more.
        """
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        self._check = check
        self.node = Node('mil_client')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._clients: dict[str, Any] = {}
        self.states: dict[str, DiagnosticStatus] = {}
        self.is_success = False
        self._frames: list[Image] | None = None
        for topic in ('control/state', 'adaptation/report', 'guard/state', 'recorder/status'):
            self.node.create_subscription(
                DiagnosticStatus,
                f'/{topic}',
                partial(self.states.__setitem__, topic),
                LATCHED,
            )
        self.node.create_subscription(Bool, '/sim/success', self._on_success, LATCHED)
        self._image_topic = robot.topics.image
        self._images: Subscription | None = None

    def close(self) -> None:
        """Leave the graph."""
        self.node.destroy_node()
        rclpy.shutdown()

    def wait(self, until: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Spin until a condition holds.

        Raises:
            MilError: If it does not within the time.
        """
        end_s = time.monotonic() + timeout_s
        while not until():
            self._check()
            if time.monotonic() > end_s:
                raise MilError(
                    f'Waited {timeout_s:g} s for {what}; expected it sooner. See the logs of the '
                    'nodes, and whether the machine is overloaded.'
                )
            self._executor.spin_once(0.02)

    def spin_for(self, duration_s: float) -> None:
        """Let messages come in for a while."""
        end_s = time.monotonic() + duration_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(left_s)

    def start_frames(self) -> None:
        """Keep what the camera sees from now on."""
        if self._images is None:  # who wants no frames shall not pay for them
            self._images = self.node.create_subscription(
                ImageMessage, self._image_topic, self._on_image, NEWEST
            )
        self._frames = []

    def take_frames(self) -> list[Image]:
        """Stop keeping frames and return them, (H, W, 3) RGB each."""
        frames, self._frames = self._frames or [], None
        return frames

    def trigger(self, service: str, timeout_s: float = 10.0) -> str:
        """Call a Trigger service and return its answer.

        Raises:
            MilError: With the service's own sentence if it refuses.
        """
        future = self.call_trigger(service, timeout_s)
        self.wait(future.done, timeout_s, f'an answer from {service}')
        response = future.result()
        if not response.success:
            raise MilError(response.message)
        return str(response.message)

    def call_trigger(self, service: str, timeout_s: float = 10.0) -> Future:
        """Call a Trigger service without waiting for its answer."""
        return self._call_async(Trigger, service, Trigger.Request(), timeout_s)

    def ask(self, service: str, timeout_s: float = 10.0) -> str:
        """Return what a Trigger service says, be it a refusal; it may be called twice."""
        return str(self._ask(Trigger, service, Trigger.Request(), timeout_s).message)

    def meet(self, *services: str) -> None:
        """Have nodes know of us some time before their Trigger services are called.

        An answer to a client that a node has only just heard of can get lost.
        """
        for service in services:
            self._find_client(Trigger, service)

    def adapt(self, timeout_s: float = 10.0) -> dict[str, str]:
        """Take the inner step, wait until the control node has the policy, return the report."""
        self.states.pop('adaptation/report', None)
        self.trigger('/adaptation/adapt', timeout_s)
        self.wait(lambda: 'adaptation/report' in self.states, timeout_s, 'the adaptation report')
        report = self.values('adaptation/report')
        name = Path(report['path']).name
        self.wait(
            lambda: self.values('control/state').get('policy') == name,
            timeout_s,
            'the control node to take over the adapted policy',
        )
        return report

    def change_state(self, node: str, transition: int, timeout_s: float = 30.0) -> None:
        """Take a lifecycle node through a transition.

        An answer to a client that a node has only just heard of can get lost, and a transition
        must not be asked for twice. A node hears of clients in the order in which they were made,
        so once it has answered the second it knows the first.
        """
        self._find_client(ChangeState, f'/{node}/change_state')
        self._ask(GetState, f'/{node}/get_state', GetState.Request(), timeout_s)
        request = ChangeState.Request()
        request.transition.id = transition
        if not self._call(ChangeState, f'/{node}/change_state', request, timeout_s).success:
            raise MilError(f'Node {node!r} refused transition {transition}; see its log.')

    def set_parameter(
        self, node: str, name: str, value: bool | int | str, timeout_s: float = 10.0
    ) -> None:
        """Set a parameter of a node."""
        if isinstance(value, bool):
            typed = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value)
        elif isinstance(value, int):
            typed = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=value)
        else:
            typed = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=typed)])
        response = self._ask(SetParameters, f'/{node}/set_parameters', request, timeout_s)
        if not response.results[0].successful:
            raise MilError(f'Node {node!r} refused {name}={value!r}: {response.results[0].reason}')

    def values(self, topic: str) -> dict[str, str]:
        """Return the key-value pairs of the newest state on a topic."""
        message = self.states.get(topic)
        return {v.key: v.value for v in message.values} if message else {}

    def _call(self, kind: Any, service: str, request: Any, timeout_s: float = 10.0) -> Any:
        future = self._call_async(kind, service, request, timeout_s)
        self.wait(future.done, timeout_s, f'an answer from {service}')
        return future.result()

    def _ask(self, kind: Any, service: str, request: Any, timeout_s: float) -> Any:
        """Call a service that may be called twice, until an answer comes."""
        futures: list[Future] = []
        due_s = 0.0

        def is_answered() -> bool:
            nonlocal due_s
            if time.monotonic() >= due_s:
                futures.append(self._call_async(kind, service, request, timeout_s))
                due_s = time.monotonic() + _REPEAT_S
            return any(future.done() for future in futures)

        self.wait(is_answered, timeout_s, f'an answer from {service}')
        return next(future for future in futures if future.done()).result()

    def _call_async(self, kind: Any, service: str, request: Any, timeout_s: float) -> Future:
        client = self._find_client(kind, service)
        self.wait(client.service_is_ready, timeout_s, f'the service {service}')
        return client.call_async(request)

    def _find_client(self, kind: Any, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        return self._clients[service]

    def _on_success(self, message: Bool) -> None:
        self.is_success = bool(message.data)

    def _on_image(self, message: ImageMessage) -> None:
        if self._frames is not None:
            self._frames.append(np.array(image_to_rgb(message)))
