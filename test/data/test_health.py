"""What is told about a camera is the worst that is true of it, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mil_ros.data.health import Health, judge, Severity

FINE = Health(
    error='',
    is_connecting=False,
    rate_hz=29.5,
    age_s=0.02,
    frames=1000,
    dropped=3,
    reconnects=1,
    clock_error_s=0.001,
)


def told(expected_hz: float | None = 30.0, dropped_before: int = 3, **changes: Any) -> Any:
    return judge(replace(FINE, **changes), 'cam', expected_hz, dropped_before)


def test_healthy_camera_is_told_so() -> None:
    assert told() == (Severity.OK, 'cam delivers frames.')


def test_error_is_told_as_it_is() -> None:
    assert told(error='cam is gone.', is_connecting=True) == (Severity.ERROR, 'cam is gone.')


def test_opening_is_no_error() -> None:
    assert told(is_connecting=True, rate_hz=0.0) == (Severity.WARN, 'Opening cam.')


@pytest.mark.parametrize(('off_s', 'shown'), [(3600.0, r'+3600.000'), (-0.06, '-0.060')])
def test_clock_that_was_set_is_told(off_s: float, shown: str) -> None:
    severity, text = told(clock_error_s=off_s)
    assert severity is Severity.WARN
    assert text.startswith(f'The wall clock was set and is {shown} s off the stamps of cam, exp')
    assert 'Start the node again' in text


def test_drops_are_told_once() -> None:
    severity, text = told(dropped=8)
    assert severity is Severity.WARN
    assert text.startswith('5 frames of cam were dropped, expected none: they come faster than')
    assert told(dropped=8, dropped_before=8)[0] is Severity.OK


def test_slow_camera_is_told_with_what_helps() -> None:
    severity, text = told(rate_hz=15.0)
    assert severity is Severity.WARN
    assert text.startswith('cam delivers 15.0 Hz, expected 30; give it more light, a faster port')


@pytest.mark.parametrize(('expected_hz', 'rate_hz'), [(None, 15.0), (30.0, 27.5), (30.0, 0.0)])
def test_rate_that_is_its_own_or_not_known_yet_is_fine(
    expected_hz: float | None, rate_hz: float
) -> None:
    assert told(expected_hz, rate_hz=rate_hz)[0] is Severity.OK
