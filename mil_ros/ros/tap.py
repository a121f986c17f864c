"""Messages of one topic without an executor: they are fetched, which costs next to nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription


class Tap:
    """A subscription that no executor looks after.

    An executor in Python wakes up for every message, which is dear where hundreds a second come
    of which the newest is enough. The depth must hold what is wanted of them between two fetches.
    """

    def __init__(
        self, node: Node, kind: Any, topic: str, qos: QoSProfile, is_raw: bool = False
    ) -> None:
        """Subscribe.

        Args:
            node: In no executor, or it leaves the subscription out (see `TappingNode`).
            kind: Of the messages.
            topic: Their topic.
            qos: Of the subscription.
            is_raw: Whether bytes are fetched instead of messages.
        """
        self._kind, self._is_raw = kind, is_raw
        self.subscription = node.create_subscription(kind, topic, _leave, qos, raw=is_raw)

    def fetch(self) -> Iterator[tuple[Any, dict[str, int]]]:
        """Yield what has come, with the times that the middleware gives it, in ns."""
        handle: Any = self.subscription.handle
        with handle:
            while (taken := handle.take_message(self._kind, self._is_raw)) is not None:
                yield taken


class TappingNode(Node):
    """A node with subscriptions that its executor is not told of.

    Attributes:
        taps: Made with `tap`.
    """

    taps: tuple[Tap, ...] = ()

    def tap(self, kind: Any, topic: str, qos: QoSProfile) -> Tap:
        """Subscribe to the bytes of a topic; they wait until they are fetched."""
        made = Tap(self, kind, topic, qos, is_raw=True)
        self.taps = (*self.taps, made)
        return made

    @property
    def subscriptions(self) -> Iterator[Subscription]:
        """Those that an executor looks after."""
        own = {id(tap.subscription) for tap in self.taps}
        return (s for s in super().subscriptions if id(s) not in own)


def _leave(_: object) -> None:
    """Stand for a callback; no executor will ever call it."""
