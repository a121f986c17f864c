"""Stamps that follow the wall clock without ever jumping with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

MAX_SLEW: Final = 0.01  # s gained or lost per s; frames keep their spacing to within 1 %

Clock = Callable[[], int]  # returns ns


class SteadyClock:
    """Maps a steady clock to ROS time.

    A wall clock is stepped by NTP, by hand or minutes after boot. Stamps taken straight from it
    then put two neighbouring frames hours apart, or in the wrong order. This one is the steady
    clock plus an offset that moves towards the wall clock by at most `MAX_SLEW`: small corrections
    are followed within seconds, a large one shows in `error_ns` until `reset`.

    Not thread-safe: one thread takes the stamps, others may read `error_ns`.
    """

    def __init__(self, steady_ns: Clock, wall_ns: Clock) -> None:
        """Agree with the wall clock for now.

        Args:
            steady_ns: A clock that nobody sets, in ns.
            wall_ns: ROS time, in ns.
        """
        self._steady_ns, self._wall_ns = steady_ns, wall_ns
        self.error_ns = 0  # how far the wall clock was ahead of the last stamp
        self.reset()

    def reset(self) -> None:
        """Take the wall clock's time at once; for a moment when no stream is running."""
        self._last_ns, wall_ns = self._read()
        self._offset_ns = wall_ns - self._last_ns
        self.error_ns = 0

    def now_ns(self) -> int:
        """Return ROS time in ns; rises as the steady clock does, within `MAX_SLEW`."""
        steady_ns, wall_ns = self._read()
        ahead_ns = wall_ns - (steady_ns + self._offset_ns)
        most_ns = int(MAX_SLEW * (steady_ns - self._last_ns))
        change_ns = max(-most_ns, min(most_ns, ahead_ns))
        self._offset_ns += change_ns
        self._last_ns, self.error_ns = steady_ns, ahead_ns - change_ns
        return steady_ns + self._offset_ns

    def _read(self) -> tuple[int, int]:
        """Return both clocks at the same moment, up to half the time that reading takes."""
        before_ns = self._steady_ns()
        wall_ns = self._wall_ns()
        return (before_ns + self._steady_ns()) // 2, wall_ns
