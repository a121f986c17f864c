"""When an arm began to slow down, and when it was at rest; pure functions of its speed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.watches import REST_RAD_S

SLOWED_SHARE = 0.02  # below its steady speed by that much, the arm has begun to slow
STEADY_SHARE = 0.01  # that much does a steady speed vary
STEADY_S = 0.15  # for that long
HELD_S = 0.05  # at rest for that long is at rest


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """The speed of the fastest joint over time.

    Attributes:
        times_ns: When, by the clock of the graph, (N,) int64.
        speeds_rad_s: How fast, (N,).
    """

    times_ns: NDArray[np.int64]
    speeds_rad_s: NDArray[np.float64]

    def since(self, moment_ns: int) -> Trace:
        """Return what was at or after a moment."""
        is_in = self.times_ns >= moment_ns
        return Trace(self.times_ns[is_in], self.speeds_rad_s[is_in])


@dataclass(eq=False, slots=True)
class TraceRecorder:
    """Gathers a trace while it comes."""

    _times_ns: list[int] = field(default_factory=list)
    _speeds_rad_s: list[float] = field(default_factory=list)

    def add(self, time_ns: int, velocities: NDArray[np.float64]) -> None:
        """Take the velocities of all joints at one moment, (J,) in rad/s."""
        self._times_ns.append(time_ns)
        self._speeds_rad_s.append(float(np.abs(velocities).max()))

    def clear(self) -> None:
        """Forget everything."""
        self._times_ns.clear()
        self._speeds_rad_s.clear()

    def read(self) -> Trace:
        """Return what has come so far."""
        return Trace(np.array(self._times_ns, np.int64), np.array(self._speeds_rad_s))


def find_steady_speed(trace: Trace, least_rad_s: float) -> float | None:
    """Return the speed that the arm has been keeping lately, in rad/s.

    None if it has not been moving for long enough, has been slower than the least or has varied.
    """
    if not len(trace.times_ns):
        return None
    begin_ns = int(trace.times_ns[-1] - STEADY_S * NS_PER_S)
    if trace.times_ns[0] > begin_ns:
        return None
    lately = trace.since(begin_ns).speeds_rad_s
    speed = float(np.median(lately))
    is_steady = float(np.abs(lately - speed).max()) <= STEADY_SHARE * speed
    return speed if is_steady and speed >= least_rad_s else None


def find_slowing(trace: Trace, moment_ns: int, steady_rad_s: float) -> int | None:
    """Return when the arm began to slow after a moment, never to be fast again, in ns.

    None if it is fast to the end.
    """
    after = trace.since(moment_ns)
    fast = np.flatnonzero(after.speeds_rad_s >= (1.0 - SLOWED_SHARE) * steady_rad_s)
    first = int(fast[-1]) + 1 if len(fast) else 0
    return int(after.times_ns[first]) if first < len(after.times_ns) else None


def find_rest(trace: Trace, moment_ns: int) -> int | None:
    """Return when the arm came to the rest that it is in at the end, in ns.

    None if it is not at rest, or has not been for long enough to be sure.
    """
    after = trace.since(moment_ns)
    moving = np.flatnonzero(after.speeds_rad_s >= REST_RAD_S)
    first = int(moving[-1]) + 1 if len(moving) else 0
    if first >= len(after.times_ns):
        return None
    rest_ns = int(after.times_ns[first])
    return rest_ns if after.times_ns[-1] - rest_ns >= HELD_S * NS_PER_S else None


def find_pause_s(trace: Trace, moment_ns: int) -> float:
    """Return the longest time after a moment for which nothing was seen of the arm, in s."""
    times_ns = trace.since(moment_ns).times_ns
    return float(np.diff(times_ns, prepend=moment_ns).max(initial=0)) / NS_PER_S
