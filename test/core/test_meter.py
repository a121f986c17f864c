"""A stream's state follows what comes, by a clock that the test sets."""

from __future__ import annotations

import math

import pytest

from mil_ros.core.meter import IDLE, OK, SLOW, STALLED, StreamMeter, StreamState
from mil_ros.core.streams import Expectation

CAMERA = Expectation(30.0, 0.15)


def play(meter: StreamMeter, rate_hz: float, begin_s: float, end_s: float) -> StreamState:
    """Let messages come and measure ten times a second, as the node does."""
    moments = [begin_s + i / rate_hz for i in range(int((end_s - begin_s) * rate_hz))]
    checks = [begin_s + i / 10.0 for i in range(1, int((end_s - begin_s) * 10.0) + 1)]
    state = StreamState(IDLE, 0.0, math.inf)
    for now_s, is_check in sorted([(s, False) for s in moments] + [(s, True) for s in checks]):
        if is_check:
            state = meter.measure(now_s)
        else:
            meter.note(now_s)
    return state


def test_a_stream_that_comes_as_expected_is_ok() -> None:
    state = play(StreamMeter(CAMERA), 30.0, 0.0, 5.0)
    assert state.name == OK
    assert state.rate_hz == pytest.approx(30.0, abs=1.5)
    assert state.age_s < 0.04


def test_a_stream_that_never_came_is_stalled() -> None:
    state = StreamMeter(CAMERA).measure(100.0)
    assert state.name == STALLED
    assert state.age_s == math.inf


def test_a_stall_is_seen_within_six_tenths_of_a_second() -> None:
    meter = StreamMeter(CAMERA)
    play(meter, 30.0, 0.0, 3.0)
    assert meter.measure(3.4).name != STALLED
    assert meter.measure(3.6).name == STALLED


def test_a_stream_that_comes_back_is_ok_again() -> None:
    meter = StreamMeter(CAMERA)
    play(meter, 30.0, 0.0, 3.0)
    assert meter.measure(4.0).name == STALLED
    assert play(meter, 30.0, 5.0, 7.0).name == OK


def test_a_slow_stream_is_named() -> None:
    state = play(StreamMeter(CAMERA), 20.0, 0.0, 3.0)
    assert state.name == SLOW
    assert state.rate_hz == pytest.approx(20.0, abs=1.5)


def test_a_slow_stream_that_is_meant_to_be_slow_is_no_stall() -> None:
    assert play(StreamMeter(Expectation(2.0, 1.0)), 2.0, 0.0, 6.0).name == OK


def test_a_stream_that_need_not_come_is_never_stalled() -> None:
    meter = StreamMeter(None)
    assert meter.measure(0.0).name == IDLE
    meter.note(0.1)
    assert meter.measure(0.2).name == OK
    assert meter.measure(9.0).name == IDLE
