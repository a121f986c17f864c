"""Is a recording fit to learn from? The verdict and the reasons for it, each a sentence.

What is judged is when messages came and how they were stamped, never what a task was about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
import json
from typing import Final

import numpy as np

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.streams import (
    check_clocks,
    check_stamps,
    CLOCKS_APART_S,
    Expectation,
    measure,
    skew_p95_s,
    StreamReport,
    StreamTimes,
)

MIN_DURATION_S: Final = 1.0
MIN_MOTION_RAD: Final = 0.01  # a resting arm's encoders tremble by less
MIN_SPEED_RAD_S: Final = 0.02  # slower joints rest
LOW_RATE: Final = 0.9  # share of the expected rate
USELESS_RATE: Final = 0.5
_GAP_PERIODS: Final = 3.0


class Verdict(IntEnum):
    """What to do with an episode; the worst reason decides."""

    ACCEPT = 0
    WARN = 1
    REJECT = 2


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an episode is not simply accepted."""

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True)
class QualityReport:
    """What was measured and what follows from it.

    Attributes:
        verdict: The worst of all reasons.
        reasons: Sentences, the worst first.
        duration_s: From start to stop.
        skew_p95_s: Age of the other required streams at each sample of the first one.
        motion_rad: The widest range that a joint moved in; None if no joint state came.
        speed_rad_s: How fast the fastest joint moved; None if fewer than two came.
        streams: Figures by topic.
    """

    verdict: Verdict
    reasons: tuple[str, ...]
    duration_s: float
    skew_p95_s: float | None
    motion_rad: float | None
    speed_rad_s: float | None
    streams: dict[str, StreamReport]

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps({**asdict(self), 'verdict': self.verdict.name.lower()})


def judge(
    streams: Sequence[StreamTimes],
    expected: Mapping[str, Expectation],
    span_ns: tuple[int, int],
    motion_rad: float | None,
    speed_rad_s: float | None,
    faults: Sequence[str] = (),
) -> QualityReport:
    """Judge an episode.

    Args:
        streams: All that was recorded.
        expected: Of the required topics, the first being the one that others are aligned with.
        span_ns: When recording was started and stopped, by this machine's clock.
        motion_rad: The widest range that a joint moved in, None if not known.
        speed_rad_s: The fastest that a joint was measured to move, None if not known.
        faults: Sentences on what else went wrong; each is a reason to reject.
    """
    found = {stream.topic: stream for stream in streams}
    empty = np.zeros(0, dtype=np.int64)
    required = [found.get(topic, StreamTimes(topic, empty, None)) for topic in expected]
    duration_s = (span_ns[1] - span_ns[0]) / NS_PER_S
    skew_s = skew_p95_s(required)
    reports = {stream.topic: measure(stream, span_ns) for stream in [*required, *streams]}
    reasons = [Reason(Verdict.REJECT, fault) for fault in faults]
    reasons += _judge_whole(duration_s, motion_rad, speed_rad_s)
    for stream in required:
        reasons += _judge_stream(stream, reports[stream.topic], expected[stream.topic])
    reasons += _judge_clocks(required)
    reasons += _judge_skew(skew_s, required, expected)
    reasons += _judge_losses(streams)
    reasons.sort(key=lambda reason: -reason.verdict)
    verdict = reasons[0].verdict if reasons else Verdict.ACCEPT
    sentences = tuple(reason.text for reason in reasons)
    return QualityReport(verdict, sentences, duration_s, skew_s, motion_rad, speed_rad_s, reports)


def _judge_whole(
    duration_s: float, motion_rad: float | None, speed_rad_s: float | None
) -> Iterator[Reason]:
    if duration_s < MIN_DURATION_S:
        yield Reason(
            Verdict.REJECT,
            f'The episode lasts {duration_s:.2f} s, expected at least {MIN_DURATION_S:g} s; '
            'record the whole task.',
        )
    if motion_rad is not None and motion_rad < MIN_MOTION_RAD:
        yield Reason(
            Verdict.REJECT,
            f'No joint moved by more than {motion_rad:.4f} rad, expected at least '
            f'{MIN_MOTION_RAD:g} rad; record the task being done.',
        )
    elif speed_rad_s is not None and speed_rad_s < MIN_SPEED_RAD_S:
        yield Reason(
            Verdict.REJECT,
            f'No joint moved faster than {speed_rad_s:.4f} rad/s, expected at least '
            f'{MIN_SPEED_RAD_S:g} rad/s; record the task being done at its usual speed.',
        )


def _judge_stream(
    stream: StreamTimes, report: StreamReport, expected: Expectation
) -> Iterator[Reason]:
    topic = stream.topic
    if report.max_gap_s is None or report.rate_hz is None or report.max_gap_at_s is None:
        yield Reason(
            Verdict.REJECT,
            f'{topic} has {report.count} messages, expected {expected.rate_hz:g} a second; check '
            'that its publisher runs.',
        )
        return
    if stream.stamps_ns is not None and (fault := check_stamps(topic, stream.stamps_ns)):
        yield Reason(Verdict.REJECT, fault)
    tolerable_s = max(_GAP_PERIODS / expected.rate_hz, expected.max_age_s / 2.0)
    what = (
        f'{report.max_gap_at_s:.2f} s into the episode nothing came on {topic} for '
        f'{report.max_gap_s:.3f} s, expected at most {expected.max_age_s:g} s'
    )
    if report.max_gap_s > expected.max_age_s:
        yield Reason(Verdict.REJECT, f'{what}; check its publisher and record again.')
    elif report.max_gap_s > tolerable_s:
        yield Reason(Verdict.WARN, f'{what} and usually {1.0 / expected.rate_hz:.3f} s.')
    if report.rate_hz < LOW_RATE * expected.rate_hz:
        useless = report.rate_hz < USELESS_RATE * expected.rate_hz
        yield Reason(
            Verdict.REJECT if useless else Verdict.WARN,
            f'{topic} comes {report.rate_hz:.1f} times a second, expected {expected.rate_hz:g}; '
            'check the load of the machine, or correct the rate in the robot file.',
        )


def _judge_clocks(required: Sequence[StreamTimes]) -> Iterator[Reason]:
    offsets_s = {
        stream.topic: float(np.median(stream.received_ns - stream.stamps_ns)) / NS_PER_S
        for stream in required
        if stream.stamps_ns is not None and len(stream.stamps_ns) and stream.stamps_ns.all()
    }
    if fault := check_clocks(offsets_s):
        yield Reason(Verdict.REJECT, fault)
    elif offsets_s and max(map(abs, offsets_s.values())) > CLOCKS_APART_S:
        topic, offset_s = next(iter(offsets_s.items()))
        yield Reason(
            Verdict.WARN,
            f'{topic} and all others are stamped {offset_s:.3f} s before they arrive; expected '
            "this machine's clock. They agree with one another, so alignment does not suffer.",
        )


def _judge_skew(
    skew_s: float | None, required: Sequence[StreamTimes], expected: Mapping[str, Expectation]
) -> Iterator[Reason]:
    limit_s = max((e.max_age_s for e in list(expected.values())[1:]), default=0.0)
    if skew_s is not None and skew_s > limit_s:
        names = ' and '.join(stream.topic for stream in required)
        yield Reason(
            Verdict.REJECT,
            f'The streams {names} are {skew_s:.3f} s apart (95th percentile), expected at most '
            f'{limit_s:g} s; check the rates and the clocks.',
        )


def _judge_losses(streams: Sequence[StreamTimes]) -> Iterator[Reason]:
    for stream in streams:
        if stream.dropped:
            yield Reason(
                Verdict.WARN,
                f'{stream.topic}: {stream.dropped} messages came and were not written, expected '
                'none; the disk is too slow or full.',
            )
        if stream.lost:
            yield Reason(
                Verdict.WARN,
                f'{stream.topic}: {stream.lost} messages were lost on their way here, expected '
                'none; give the middleware more memory (config/fastdds.xml).',
            )
