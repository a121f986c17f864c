"""When messages came: gaps, delays, skew and stamps that cannot be right."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.streams import (
    check_clocks,
    check_stamps,
    measure,
    moments_of,
    skew_p95_s,
    StreamTimes,
)

MS = 1_000_000
START = 1_700_000_000_000 * MS


def at(ms: list[int] | range, delay_ms: int = 5, topic: str = '/x') -> StreamTimes:
    """Return a stream of messages stamped at these times and received a little later."""
    stamps = START + np.array(ms, dtype=np.int64) * MS
    return StreamTimes(topic, stamps + delay_ms * MS, stamps)


def span(begin_ms: int, end_ms: int) -> tuple[int, int]:
    return START + begin_ms * MS, START + end_ms * MS


def test_figures_of_a_steady_stream() -> None:
    report = measure(at(range(-500, 2000, 20)), span(0, 2000))
    assert report.count == 125
    assert report.rate_hz == pytest.approx(50.0, abs=0.5)
    assert report.max_gap_s == pytest.approx(0.02)
    assert report.delay_p95_s == pytest.approx(0.005)


def test_longest_gap_is_found_with_its_place() -> None:
    moments = [ms for ms in range(-100, 2000, 20) if not 900 < ms < 1300]
    report = measure(at(moments), span(0, 2000))
    assert report.max_gap_s == pytest.approx(0.4)
    assert report.max_gap_at_s == pytest.approx(0.905)  # by arrival


def test_a_stream_that_dies_before_the_end_has_a_gap_until_then() -> None:
    report = measure(at(range(0, 1000, 20)), span(0, 2000))
    assert report.max_gap_s == pytest.approx(2.0 - 0.98 - 0.005)


def test_a_stream_that_begins_late_has_a_gap_until_then() -> None:
    report = measure(at(range(700, 2000, 20)), span(0, 2000))
    assert report.max_gap_s == pytest.approx(0.705)
    assert report.max_gap_at_s == 0.0


def test_what_was_missing_before_the_start_is_no_gap() -> None:
    moments = [*range(-900, -700, 20), *range(-20, 2000, 20)]
    assert measure(at(moments), span(0, 2000)).max_gap_s == pytest.approx(0.02)


def test_a_message_that_is_late_is_no_gap() -> None:
    stream = at(range(0, 2000, 20))
    stream.received_ns[50:60] = stream.received_ns[60]
    assert measure(stream, span(0, 1990)).max_gap_s == pytest.approx(0.02)


def test_arrival_counts_where_stamps_cannot_be_trusted() -> None:
    stream = at(range(0, 1000, 20))
    for stamps in (None, np.zeros_like(stream.stamps_ns)):
        plain = StreamTimes('/x', stream.received_ns, stamps)
        np.testing.assert_array_equal(moments_of(plain), stream.received_ns)


def test_an_empty_stream_has_no_figures() -> None:
    empty = np.zeros(0, dtype=np.int64)
    report = measure(StreamTimes('/x', empty, empty, dropped=3), span(0, 1000))
    assert (report.count, report.rate_hz, report.max_gap_s) == (0, None, None)
    assert report.dropped == 3


def test_skew_is_the_age_of_the_other_stream() -> None:
    images = at(range(0, 1000, 50))
    joints = at(range(-7, 1000, 50))
    assert skew_p95_s([images, joints]) == pytest.approx(0.007)


def test_skew_needs_two_streams() -> None:
    assert skew_p95_s([at(range(0, 100, 10))]) is None


def test_skew_of_streams_that_never_overlap_is_not_known() -> None:
    assert skew_p95_s([at([0, 10]), at([500, 510])]) is None


def test_zero_stamps_are_named() -> None:
    stamps = np.array([0, 0, START], dtype=np.int64)
    assert check_stamps('/camera', stamps) == (
        '/camera has 2 of 3 messages stamped zero; expected the moment of measurement in '
        'header.stamp. Have its driver set it.'
    )


def test_stamps_that_jump_back_are_named() -> None:
    stamps = START + np.array([0, 20, 40, -3560, -3540], dtype=np.int64) * MS
    assert check_stamps('/joint_states', stamps) == (
        'The stamps of /joint_states jump back 1 times, by up to 3.600 s; expected rising ones. '
        'Check for a second publisher and for a clock that is being set.'
    )


def test_rising_stamps_are_fine() -> None:
    assert check_stamps('/x', START + np.array([0, 0, 5], dtype=np.int64)) == ''


def test_two_clocks_are_named() -> None:
    assert check_clocks({'/camera': 3600.2, '/joint_states': 0.004}) == (
        '/camera is stamped 3600.200 s before it arrives and /joint_states 0.004 s; expected one '
        'clock, less than 0.5 s apart. Synchronise the clocks of their machines (chrony, PTP) or '
        'set use_sim_time on all nodes.'
    )


@pytest.mark.parametrize('offsets', [{}, {'/a': 3600.0}, {'/a': 0.03, '/b': -0.1}])
def test_one_clock_is_fine(offsets: dict[str, float]) -> None:
    assert check_clocks(offsets) == ''
