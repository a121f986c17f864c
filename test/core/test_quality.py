"""The verdict on an episode, and a sentence for every reason."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from mil_ros.core.quality import judge, QualityReport, Verdict
from mil_ros.core.streams import Expectation, StreamTimes

MS = 1_000_000
START = 1_700_000_000_000 * MS
CAMERA, JOINTS = '/camera/image_raw', '/joint_states'
EXPECTED = {CAMERA: Expectation(30.0, 0.15), JOINTS: Expectation(100.0, 0.05)}


def stream(topic: str, period_ms: float, **values: Any) -> StreamTimes:
    stamps = START + np.arange(-500, 4000, period_ms).astype(np.int64) * MS
    return StreamTimes(topic, stamps + 3 * MS, stamps, **values)


def without(times: StreamTimes, begin_ms: int, end_ms: int) -> StreamTimes:
    """Take the messages between two moments away."""
    assert times.stamps_ns is not None
    stamps = (times.stamps_ns - START) // MS
    kept = (stamps <= begin_ms) | (stamps >= end_ms)
    return StreamTimes(times.topic, times.received_ns[kept], times.stamps_ns[kept])


def verdict_on(
    camera: StreamTimes | None = None,
    joints: StreamTimes | None = None,
    end_ms: int = 4000,
    motion_rad: float | None = 0.5,
    speed_rad_s: float | None = 0.3,
    faults: tuple[str, ...] = (),
) -> QualityReport:
    streams = [camera or stream(CAMERA, 33.3), joints or stream(JOINTS, 10)]
    span = (START, START + end_ms * MS)
    return judge(streams, EXPECTED, span, motion_rad, speed_rad_s, faults)


def test_a_good_episode_is_accepted() -> None:
    report = verdict_on()
    assert report.verdict == Verdict.ACCEPT
    assert report.reasons == ()
    assert report.duration_s == 4.0
    assert report.skew_p95_s is not None
    assert report.skew_p95_s < 0.011
    assert set(report.streams) == {CAMERA, JOINTS}


def test_a_stalled_stream_is_rejected() -> None:
    report = verdict_on(camera=without(stream(CAMERA, 33.3), 1500, 1900))
    assert report.verdict == Verdict.REJECT
    assert report.reasons[0].startswith('1.')
    assert report.reasons[0].endswith(
        's into the episode nothing came on /camera/image_raw for 0.432 s, expected at most '
        '0.15 s; check its publisher and record again.'
    )


def test_a_faltering_stream_is_a_warning() -> None:
    report = verdict_on(camera=without(stream(CAMERA, 33.3), 1500, 1600))
    assert report.verdict == Verdict.WARN
    assert report.reasons[0].endswith('expected at most 0.15 s and usually 0.033 s.')


def test_a_missing_stream_is_rejected() -> None:
    empty = np.zeros(0, dtype=np.int64)
    report = verdict_on(camera=StreamTimes(CAMERA, empty, empty))
    assert report.verdict == Verdict.REJECT
    assert report.reasons == (
        '/camera/image_raw has 0 messages, expected 30 a second; check that its publisher runs.',
    )


def test_a_required_stream_that_nothing_is_known_of_is_rejected() -> None:
    report = judge([stream(JOINTS, 10)], EXPECTED, (START, START + 4000 * MS), 0.5, 0.3)
    assert report.verdict == Verdict.REJECT
    assert report.streams[CAMERA].count == 0


@pytest.mark.parametrize(
    ('period_ms', 'verdict', 'rate'),
    [(40.0, Verdict.WARN, r'25\.'), (80.0, Verdict.REJECT, r'12\.')],
)
def test_a_low_rate_is_judged_by_how_low_it_is(
    period_ms: float, verdict: Verdict, rate: str
) -> None:
    report = verdict_on(camera=stream(CAMERA, period_ms))
    assert report.verdict == verdict
    (reason,) = [r for r in report.reasons if 'times a second' in r]
    assert re.search(
        rf'image_raw comes {rate}\d times a second, expected 30; check the load of the machine, '
        r'or correct the rate in the robot file\.$',
        reason,
    )


def test_an_episode_without_motion_is_rejected() -> None:
    report = verdict_on(motion_rad=0.0012)
    assert report.verdict == Verdict.REJECT
    assert report.reasons == (
        'No joint moved by more than 0.0012 rad, expected at least 0.01 rad; record the task '
        'being done.',
    )


def test_motion_too_slow_to_be_told_from_rest_is_rejected() -> None:
    report = verdict_on(motion_rad=0.1, speed_rad_s=0.013)
    assert report.verdict == Verdict.REJECT
    assert report.reasons == (
        'No joint moved faster than 0.0130 rad/s, expected at least 0.02 rad/s; record the task '
        'being done at its usual speed.',
    )


def test_a_short_episode_is_rejected() -> None:
    report = verdict_on(end_ms=400)
    assert report.verdict == Verdict.REJECT
    assert report.reasons[0] == (
        'The episode lasts 0.40 s, expected at least 1 s; record the whole task.'
    )


def test_stamps_that_are_zero_are_rejected() -> None:
    times = stream(CAMERA, 33.3)
    assert times.stamps_ns is not None
    times.stamps_ns[:] = 0
    report = verdict_on(camera=times)
    assert report.verdict == Verdict.REJECT
    assert any(
        '/camera/image_raw has 136 of 136 messages stamped zero' in r for r in report.reasons
    )


def test_stamps_that_jump_back_are_rejected() -> None:
    times = stream(JOINTS, 10)
    assert times.stamps_ns is not None
    times.stamps_ns[300:] -= 2000 * MS
    report = verdict_on(joints=times)
    assert report.verdict == Verdict.REJECT
    assert any('The stamps of /joint_states jump back 1 times' in r for r in report.reasons)


def test_two_clocks_are_rejected() -> None:
    times = stream(CAMERA, 33.3)
    assert times.stamps_ns is not None
    times.stamps_ns[:] -= 3_600_000 * MS
    report = verdict_on(camera=times)
    assert report.verdict == Verdict.REJECT
    assert any('expected one clock' in reason for reason in report.reasons)


def test_one_clock_that_is_not_ours_is_a_warning() -> None:
    both = [stream(CAMERA, 33.3), stream(JOINTS, 10)]
    for times in both:
        assert times.stamps_ns is not None
        times.stamps_ns[:] -= 60_000 * MS
    report = verdict_on(*both)
    assert report.verdict == Verdict.WARN
    assert report.reasons == (
        '/camera/image_raw and all others are stamped 60.003 s before they arrive; expected this '
        "machine's clock. They agree with one another, so alignment does not suffer.",
    )


def test_streams_that_are_apart_are_rejected() -> None:
    report = verdict_on(joints=stream(JOINTS, 90))
    assert report.verdict == Verdict.REJECT
    assert any(
        'The streams /camera/image_raw and /joint_states are 0.0' in reason
        and 's apart (95th percentile), expected at most 0.05 s' in reason
        for reason in report.reasons
    )


def test_losses_are_a_warning_for_any_topic() -> None:
    optional = StreamTimes('/teleop', np.array([START]), None, dropped=2)
    report = judge(
        [stream(CAMERA, 33.3), stream(JOINTS, 10, lost=7), optional],
        EXPECTED,
        (START, START + 4000 * MS),
        0.5,
        0.3,
    )
    assert report.verdict == Verdict.WARN
    assert set(report.reasons) == {
        '/teleop: 2 messages came and were not written, expected none; the disk is too slow or '
        'full.',
        '/joint_states: 7 messages were lost on their way here, expected none; give the '
        'middleware more memory (config/fastdds.xml).',
    }


def test_any_other_fault_is_rejected_and_comes_first() -> None:
    report = verdict_on(motion_rad=None, faults=('The end is missing.',))
    assert report.verdict == Verdict.REJECT
    assert report.reasons == ('The end is missing.',)


def test_report_goes_into_one_line_of_json() -> None:
    text = verdict_on().to_json()
    document = json.loads(text)
    assert '\n' not in text
    assert document['verdict'] == 'accept'
    assert document['streams'][JOINTS]['count'] == 450
