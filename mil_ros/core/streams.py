"""When the messages of a stream come: what is measured, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import NS_PER_S

CLOCKS_APART_S: Final = 0.5  # no camera or driver is later than that


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a stream that is required must be like.

    Attributes:
        rate_hz: How often it comes.
        max_age_s: How old its newest sample may be and still count.
    """

    rate_hz: float
    max_age_s: float


@dataclass(frozen=True, eq=False, slots=True)
class StreamTimes:
    """When the messages of one stream came.

    Attributes:
        topic: Its name.
        received_ns: By this machine's clock, in order, (N,) int64.
        stamps_ns: Header stamps, (N,) int64; None if its messages carry none.
        dropped: Messages that came and could not be written.
        lost: Messages that the middleware says never came.
    """

    topic: str
    received_ns: NDArray[np.int64]
    stamps_ns: NDArray[np.int64] | None
    dropped: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class StreamReport:
    """Figures of one stream; None where there are too few messages to tell."""

    count: int
    rate_hz: float | None
    max_gap_s: float | None
    max_gap_at_s: float | None  # from the start of the episode
    delay_p95_s: float | None  # from stamp to arrival
    dropped: int
    lost: int


def check_stamps(topic: str, stamps_ns: NDArray[np.int64]) -> str:
    """Return what is wrong with the stamps of a stream whatever its clock; empty if nothing."""
    zeros = int((stamps_ns == 0).sum())
    if zeros:
        return (
            f'{topic} has {zeros} of {len(stamps_ns)} messages stamped zero; expected the moment '
            'of measurement in header.stamp. Have its driver set it.'
        )
    steps = np.diff(stamps_ns)
    back = steps < 0
    if back.any():
        return (
            f'The stamps of {topic} jump back {int(back.sum())} times, by up to '
            f'{-steps.min() / NS_PER_S:.3f} s; expected rising ones. Check for a second publisher '
            'and for a clock that is being set.'
        )
    return ''


def check_clocks(offsets_s: Mapping[str, float]) -> str:
    """Return a sentence if streams are stamped by clocks that disagree; empty if they agree.

    Args:
        offsets_s: From stamp to arrival, by topic.
    """
    if not offsets_s or max(offsets_s.values()) - min(offsets_s.values()) <= CLOCKS_APART_S:
        return ''
    late, early = (
        max(offsets_s, key=offsets_s.__getitem__),
        min(offsets_s, key=offsets_s.__getitem__),
    )
    return (
        f'{late} is stamped {offsets_s[late]:.3f} s before it arrives and {early} '
        f'{offsets_s[early]:.3f} s; expected one clock, less than {CLOCKS_APART_S:g} s apart. '
        'Synchronise the clocks of their machines (chrony, PTP) or set use_sim_time on all nodes.'
    )


def moments_of(stream: StreamTimes) -> NDArray[np.int64]:
    """Return when each message was measured, by this machine's clock, (N,) in ns.

    That is its stamp, moved by the usual delay, where stamps can be trusted: a message that is
    late was still measured in time. It is its arrival where they cannot.
    """
    received, stamps = stream.received_ns, stream.stamps_ns
    if stamps is None or not len(stamps) or check_stamps(stream.topic, stamps):
        return received
    return np.asarray(stamps + np.int64(np.median(received - stamps)))


def measure(stream: StreamTimes, span_ns: tuple[int, int]) -> StreamReport:
    """Return the figures of a stream between start and stop of an episode."""
    gap = _find_gap(stream, span_ns)
    duration_s = (span_ns[1] - span_ns[0]) / NS_PER_S
    inside = stream.received_ns[stream.received_ns >= span_ns[0]]
    delay_s = None
    if stream.stamps_ns is not None and len(stream.stamps_ns):
        delay_s = float(np.percentile(stream.received_ns - stream.stamps_ns, 95)) / NS_PER_S
    return StreamReport(
        count=len(stream.received_ns),
        rate_hz=len(inside) / duration_s if len(inside) and duration_s > 0 else None,
        max_gap_s=None if gap is None else gap[0],
        max_gap_at_s=None if gap is None else gap[1],
        delay_p95_s=delay_s,
        dropped=stream.dropped,
        lost=stream.lost,
    )


def skew_p95_s(required: Sequence[StreamTimes]) -> float | None:
    """Return the 95th percentile of the age of the other streams at samples of the first.

    None if fewer than two streams have stamped messages.
    """
    stamps = [s.stamps_ns for s in required if s.stamps_ns is not None and len(s.stamps_ns)]
    if len(stamps) < 2:
        return None
    moments, ages = np.sort(stamps[0]), []
    for other in map(np.sort, stamps[1:]):
        index = np.searchsorted(other, moments, side='right') - 1
        ages.append(moments[index >= 0] - other[index[index >= 0]])
    merged = np.concatenate(ages)
    return float(np.percentile(merged, 95)) / NS_PER_S if len(merged) else None


def _find_gap(stream: StreamTimes, span_ns: tuple[int, int]) -> tuple[float, float] | None:
    """Return the longest silence and when it began, in s; None if there is no message.

    Before the first and after the last message, only arrival can tell.
    """
    if not len(stream.received_ns):
        return None
    begin_ns, end_ns = span_ns
    received = stream.received_ns
    first = max(0, int(np.searchsorted(received, begin_ns)) - 1)  # the newest at the start
    received, moments = received[first:], moments_of(stream)[first:]
    gaps = np.diff(moments, prepend=moments[0], append=moments[-1])
    gaps[0] = max(0, received[0] - begin_ns)
    gaps[-1] = max(0, end_ns - received[-1])
    worst = int(np.argmax(gaps))
    since_ns = begin_ns if worst == 0 else max(begin_ns, int(received[worst - 1]))
    return float(gaps[worst]) / NS_PER_S, (since_ns - begin_ns) / NS_PER_S
