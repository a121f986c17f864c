"""What came shortly before a recording was started."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

NS_PER_S: Final = 1_000_000_000
_LATCHED_DEPTH: Final = 64  # messages of a latched topic, which may have many publishers


class Arrival(NamedTuple):
    """One serialised message and when it came, by the clock that the bag is written in."""

    topic: str
    data: bytes
    received_ns: int


class PreRoll:
    """A ring of the last moments of all topics; latched topics are kept whatever their age.

    Messages are kept by reference, as the bytes that came.
    """

    def __init__(self, length_s: float, capacity_bytes: int) -> None:
        """Begin empty.

        Args:
            length_s: How far back to remember.
            capacity_bytes: How much to remember at most; what is older goes then.
        """
        self._length_ns = round(length_s * NS_PER_S)
        self._capacity = capacity_bytes
        self._ring: deque[tuple[int, Arrival]] = deque()
        self._bytes = 0
        self._latched: dict[str, deque[Arrival]] = {}

    def latch(self, topic: str) -> None:
        """Keep the messages of a topic from now on whatever their age."""
        self._latched.setdefault(topic, deque(maxlen=_LATCHED_DEPTH))

    def add(self, arrival: Arrival, now_ns: int) -> None:
        """Remember a message.

        Args:
            arrival: The message.
            now_ns: By a steady clock: a clock that is set must not empty the ring or fill it.
        """
        latched = self._latched.get(arrival.topic)
        if latched is not None:
            latched.append(arrival)
            return
        ring = self._ring
        ring.append((now_ns, arrival))
        self._bytes += len(arrival.data)
        oldest_ns = now_ns - self._length_ns
        while ring and (ring[0][0] < oldest_ns or self._bytes > self._capacity):
            self._bytes -= len(ring.popleft()[1].data)

    def arrivals(self, now_ns: int, start_ns: int) -> list[Arrival]:
        """Return what an episode that starts now begins with, in the order of arrival.

        A latched message is dated to the beginning: a player would wait for hours between it and
        the rest otherwise.

        Args:
            now_ns: By the steady clock.
            start_ns: The same moment by the clock of the bag.
        """
        oldest_ns = now_ns - self._length_ns
        recent = [arrival for moment_ns, arrival in self._ring if moment_ns >= oldest_ns]
        begin_ns = min([start_ns - self._length_ns, *(a.received_ns for a in recent[:1])])
        latched = [
            arrival._replace(received_ns=begin_ns)
            for arrivals in self._latched.values()
            for arrival in arrivals
        ]
        return latched + recent

    def newest(self, topic: str) -> Arrival | None:
        """Return the newest message of a topic that is remembered."""
        return next(self.recent(topic), None)

    def recent(self, topic: str) -> Iterator[Arrival]:
        """Yield the messages of a topic that are remembered, the newest first."""
        return (arrival for _, arrival in reversed(self._ring) if arrival.topic == topic)
