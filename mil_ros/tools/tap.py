"""Messages of one topic without an executor: they are fetched, which costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile


class Tap:
    """A subscription of a node that nobody spins.

    An executor in Python wakes up for every message, which on a small machine disturbs what a
    bench wants to measure. The depth must hold what comes between two fetches.
    """

    def __init__(
        self, node: Node, kind: Any, topic: str, qos: QoSProfile, is_raw: bool = False
    ) -> None:
        """Subscribe.

        Args:
            node: Must not be in an executor.
            kind: Of the messages.
            topic: Their topic.
            qos: Of the subscription.
            is_raw: Whether bytes are fetched instead of messages.
        """
        self._kind, self._is_raw = kind, is_raw
        self._subscription = node.create_subscription(kind, topic, _leave, qos, raw=is_raw)

    def fetch(self) -> Iterator[tuple[Any, dict[str, int]]]:
        """Yield what has come, with the times that the middleware gives it, in ns."""
        handle: Any = self._subscription.handle
        with handle:
            while (taken := handle.take_message(self._kind, self._is_raw)) is not None:
                yield taken


def _leave(_: object) -> None:
    """Stand for a callback; no executor will ever call it."""
