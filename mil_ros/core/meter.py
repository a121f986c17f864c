"""How a stream is doing right now."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math
from typing import Final

from mil_ros.core.streams import Expectation

OK: Final = 'OK'
SLOW: Final = 'SLOW'
STALLED: Final = 'STALLED'
IDLE: Final = 'IDLE'  # nothing comes, and nothing needs to
STALLED_S: Final = 0.5  # half of the second within which a stall is reported
_WINDOW_S: Final = 1.0
_WINDOW_MESSAGES: Final = 10.0  # of a slow stream it takes more time to know its rate
_LOW_RATE: Final = 0.85  # share of the expected rate; a window holds one message more or less


@dataclass(frozen=True, slots=True)
class StreamState:
    """State, rate and age of the newest message; the age is infinite before the first one."""

    name: str
    rate_hz: float
    age_s: float


class StreamMeter:
    """Counts the messages of one stream; noting one costs next to nothing.

    Attributes:
        count: Messages so far.
        last_s: When the newest came, by a steady clock.
    """

    __slots__ = ('_expected', '_marks', '_window_s', 'count', 'last_s')

    def __init__(self, expected: Expectation | None) -> None:
        """Begin to count; `expected` is None for a stream that need not come."""
        self._expected = expected
        slowest_s = 0.0 if expected is None else _WINDOW_MESSAGES / expected.rate_hz
        self._window_s = max(_WINDOW_S, slowest_s)
        self._marks: deque[tuple[float, int]] = deque()
        self.count = 0
        self.last_s = -math.inf

    def note(self, now_s: float) -> None:
        """Count one message."""
        self.count += 1
        self.last_s = now_s

    def measure(self, now_s: float) -> StreamState:
        """Return how the stream does; to be called a few times a second."""
        marks = self._marks
        marks.append((now_s, self.count))
        while len(marks) > 2 and marks[1][0] <= now_s - self._window_s:
            marks.popleft()
        since_s, count = marks[0]
        elapsed_s = now_s - since_s
        rate_hz = (self.count - count) / elapsed_s if elapsed_s > 0.0 else 0.0
        age_s = now_s - self.last_s
        if self._expected is None:
            return StreamState(IDLE if age_s > _WINDOW_S else OK, rate_hz, age_s)
        if age_s > max(STALLED_S, 3.0 / self._expected.rate_hz):
            return StreamState(STALLED, rate_hz, age_s)
        is_slow = elapsed_s >= self._window_s and rate_hz < _LOW_RATE * self._expected.rate_hz
        return StreamState(SLOW if is_slow else OK, rate_hz, age_s)
