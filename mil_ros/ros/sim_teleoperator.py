"""The scripted person at the simulated arm, who answers when the demonstration is over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import threading

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from mil_ros.ros.node import add_trigger


class Teleoperator:
    """Serves ``/sim/demonstrate`` in threads of its own.

    The answer takes seconds, and the executor of the arm has neither coroutines nor time to wait.
    """

    def __init__(self, demonstrate: Callable[[], str]) -> None:
        """Serve; a second call is answered while the first is still being worked on."""
        self._node = Node('sim_teleoperator', start_parameter_services=False)
        group = ReentrantCallbackGroup()
        add_trigger(self._node, '/sim/demonstrate', demonstrate, group)
        self._executor = MultiThreadedExecutor(num_threads=2)
        self._executor.add_node(self._node)
        threading.Thread(target=self._spin, daemon=True).start()

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self) -> None:
        """Serve no more."""
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
