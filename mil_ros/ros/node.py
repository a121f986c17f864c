"""What all nodes share: running, signals, services that answer in sentences, QoS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import isawaitable
import signal
import sys
import threading
from typing import Any, TypeVar

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from std_srvs.srv import Trigger

from mil_ros.core.errors import MilError

Result = TypeVar('Result')

LATCHED = QoSProfile(
    depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL, reliability=ReliabilityPolicy.RELIABLE
)
COMMAND = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
NEWEST = QoSProfile(
    depth=1, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.BEST_EFFORT
)
_WAKE_S = 0.1  # how late a signal may be noticed by an idle node


def run_node(make: Callable[[], Node], args: list[str] | None = None) -> int:
    """Run a node until SIGINT or SIGTERM, then let it finish what it must.

    rclpy's own signal handling would close the context at once, so that nothing could be
    published any more; a node with a method ``finish`` is given the chance to bring the arm to
    rest or a file to its end. Returns the exit code: 2 for a mistake of the user.
    """
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    node = None
    try:
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not stop.is_set():
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


def add_trigger(node: Node, name: str, handler: Callable[[], str | Awaitable[str]]) -> None:
    """Serve a Trigger whose handler returns the answer or raises `MilError`.

    The handler may be a coroutine; the node goes on working while it waits.
    """

    async def serve(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            answer = handler()
            message = await answer if isawaitable(answer) else answer
            response.success, response.message = True, str(message)
        except MilError as err:
            response.success, response.message = False, str(err)
            node.get_logger().warning(str(err))
        return response

    # A coroutine that waits would keep every other callback of a mutually exclusive group from
    # running; there is one thread, so a reentrant group is safe.
    node.create_service(Trigger, name, serve, callback_group=ReentrantCallbackGroup())


def in_thread(
    node: Node, pool: ThreadPoolExecutor, work: Callable[..., Result], *args: Any
) -> Future:
    """Run `work` off the executor's thread; await the returned future in a callback."""
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


def now_ns(node: Node) -> int:
    """Return the node's clock in ns."""
    return int(node.get_clock().now().nanoseconds)


def status(name: str, level: bytes, message: str, **values: object) -> DiagnosticStatus:
    """Return a state message that any diagnostics viewer can show."""
    return DiagnosticStatus(
        level=level,
        name=name,
        message=message,
        values=[KeyValue(key=k, value=str(v)) for k, v in values.items()],
    )
