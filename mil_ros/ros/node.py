"""What all nodes share: running, signals, services that answer in sentences, QoS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
import os
import signal
import sys
from typing import Any, TypeVar

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from lifecycle_msgs.srv import ChangeState
import rclpy
from rclpy.callback_groups import CallbackGroup, ReentrantCallbackGroup
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.service import Service
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import Trigger

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import MilError

Result = TypeVar('Result')
RCLError = rclpy_implementation.RCLError

LATCHED = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
# Whoever shares the topic with the arm (a gripper, say) must not push its message out.
JOINT_STATES = QoSProfile(
    depth=20, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
NAMELESS = 'a node that has not told its name yet'
_WAKE_S = 0.1  # how late a signal may be noticed by an idle node


def run_node(make: Callable[[], Node], is_streaming: bool = False, priority: int = 0) -> int:
    """Run a node until SIGINT or SIGTERM, then let it finish what it must.

    rclpy's own signal handling would close the context at once, so that nothing could be
    published any more; a node with a method ``finish`` is given the chance to bring the arm to
    rest or a file to its end.

    Args:
        make: Returns the node.
        is_streaming: Whether hundreds of messages a second come in. Such a node must have no
            coroutine as a callback.
        priority: In real time (SCHED_FIFO), where the system allows it; 0 for none. Servo asks
            for 40, so stay below.

    Returns:
        The exit code: 2 for a mistake of the user.
    """
    if priority:
        _ask_for_real_time(priority)  # before the middleware starts its threads, which inherit it
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    # A list, no event: a handler that a second signal interrupts must not wait for a lock of its
    # own, as Event.set does.
    stops: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _: stops.append(signum))
    node = None
    try:
        node = make()
        executor = _make_executor(is_streaming)
        executor.add_node(node)
        while not stops:
            executor.spin_once(_WAKE_S)
        finish = getattr(node, 'finish', None)
        if finish is not None:
            finish(executor)
        return 0
    except MilError as err:
        print(f'{sys.argv[0].rsplit("/", 1)[-1]}: {err}', file=sys.stderr, flush=True)
        return 2
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.shutdown()


def _ask_for_real_time(priority: int) -> None:
    """Run before everything else that wants the processor; without permission, like the others."""
    with suppress(AttributeError, OSError):  # not Linux; not allowed
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))


def _make_executor(is_streaming: bool) -> Executor:
    """Return an executor with one thread.

    The events executor takes less than half the processor time of the wait sets (which rebuild
    themselves in Python for every message), but older ROS distributions lack it and Jazzy's
    first releases cannot run coroutines with it.
    """
    if is_streaming:
        try:
            from rclpy.experimental.events_executor import EventsExecutor

            return EventsExecutor()
        except ImportError:
            pass
    return SingleThreadedExecutor()


def add_trigger(
    node: Node, name: str, handler: Callable[[], str], group: CallbackGroup | None = None
) -> Service:
    """Serve a Trigger whose handler returns the answer or raises `MilError`."""

    def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, handler()
        except MilError as err:
            _refuse(node, response, err)
        return response

    return node.create_service(Trigger, name, serve, callback_group=group)


def add_waiting_trigger(node: Node, name: str, handler: Callable[[], Awaitable[str]]) -> None:
    """Serve a Trigger whose handler is a coroutine; the node goes on working while it waits."""

    async def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.success, response.message = True, await handler()
        except MilError as err:
            _refuse(node, response, err)
        return response

    # A coroutine that waits would keep every other callback of a mutually exclusive group from
    # running; there is one thread, so a reentrant group is safe.
    node.create_service(Trigger, name, serve, callback_group=ReentrantCallbackGroup())


def _refuse(node: Node, response: Trigger.Response, err: MilError) -> None:
    response.success, response.message = False, str(err)
    node.get_logger().warning(str(err))


def in_thread(
    node: Node, pool: ThreadPoolExecutor, work: Callable[..., Result], *args: Any
) -> Future:
    """Run `work` off the executor's thread.

    Returns:
        A future to await in a coroutine, or whose done callback runs in the executor's thread.
    """
    future = Future(executor=node.executor)

    def run() -> None:
        try:
            future.set_result(work(*args))
        except BaseException as err:  # handed to whoever awaits
            future.set_exception(err)
        if node.executor is not None:
            node.executor.wake()

    pool.submit(run)
    return future


def survive_wrong_order(node: LifecycleNode) -> None:
    """Have a lifecycle node refuse a transition that its state does not allow.

    rclpy raises in the service's callback instead, which ends the process.
    """
    service = node._service_change_state
    serve = service.callback

    def answer(
        request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        _, state = node._state_machine.current_state
        try:
            return serve(request, response)
        except RCLError:
            wanted = request.transition.label or f'number {request.transition.id}'
            open_to = ', '.join(sorted(t[1] for t in node._state_machine.available_transitions))
            node.get_logger().error(
                f'Transition {wanted} refused: this node is {state}, expected one of: {open_to}.'
            )
            response.success = False
            return response

    service.callback = answer


def name_rivals(node: Node, topic: str) -> list[str]:
    """Return who else may publish on a topic, by name; empty if nobody else does.

    The middleware finds a publisher a little before the name of its node.
    """
    if node.count_publishers(topic) <= 1:
        return []
    infos = node.get_publishers_info_by_topic(topic)
    names = [f'{i.node_namespace.rstrip("/")}/{i.node_name}' for i in infos]
    others = [name for name in names if name != node.get_fully_qualified_name()]
    return [NAMELESS if 'UNKNOWN' in name else name for name in others or ['a node of this name']]


def now_ns(node: Node) -> int:
    """Return the node's clock in ns."""
    return int(node.get_clock().now().nanoseconds)


class StatePublisher:
    """Publishes a node's state on ``~/state``, latched, and on ``/diagnostics``."""

    def __init__(self, node: Node) -> None:
        """Make both publishers."""
        self._node = node
        self._state = node.create_publisher(DiagnosticStatus, '~/state', LATCHED)
        self._diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)

    def publish(self, level: bytes, message: str, **values: object) -> None:
        """Publish a state; see `status`."""
        entry = status(self._node.get_name(), level, message, **values)
        self._state.publish(entry)
        array = DiagnosticArray(status=[entry])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._diagnostics.publish(array)

    def destroy(self) -> None:
        """Publish no more."""
        self._node.destroy_publisher(self._state)
        self._node.destroy_publisher(self._diagnostics)


def to_stamp(stamp_ns: int) -> Time:
    """Return a moment in ns as a message's stamp."""
    sec, nanosec = divmod(stamp_ns, NS_PER_S)
    return Time(sec=sec, nanosec=nanosec)


def status(name: str, level: bytes, message: str, **values: object) -> DiagnosticStatus:
    """Return a state message that any diagnostics viewer can show."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        values=[KeyValue(key=k, value=str(v)) for k, v in values.items()],
    )
