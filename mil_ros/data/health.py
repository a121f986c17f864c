"""How a camera is doing, and what to tell its user about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

_SLOW: Final = 0.9  # of the rate that was asked for
_CLOCK_ERROR_S: Final = 0.05  # more than NTP's small corrections ever leave


class Severity(IntEnum):
    """How bad it is; the numbers are those of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a source is doing.

    Attributes:
        error: Why no frames come; empty while they do.
        is_connecting: Whether the first frame has yet to come.
        rate_hz: Measured over the last two seconds.
        age_s: Since the newest frame was grabbed; infinite before the first.
        frames: Grabbed since the start.
        dropped: Frames that were replaced by a newer one before anyone took them.
        reconnects: How often the source was opened again.
        clock_error_s: How far the wall clock is ahead of the stamps.
    """

    error: str
    is_connecting: bool
    rate_hz: float
    age_s: float
    frames: int
    dropped: int
    reconnects: int
    clock_error_s: float


def judge(
    health: Health, name: str, expected_hz: float | None, dropped_before: int
) -> tuple[Severity, str]:
    """Return how bad it is and a sentence that says what to do.

    Args:
        health: Of the source.
        name: Of the source.
        expected_hz: The rate that was asked of it; None if it has its own.
        dropped_before: Frames dropped as of the last time; only new ones count.
    """
    if health.error:
        return Severity.ERROR, health.error
    if health.is_connecting:
        return Severity.WARN, f'Opening {name}.'
    if abs(health.clock_error_s) > _CLOCK_ERROR_S:
        return Severity.WARN, (
            f'The wall clock was set and is {health.clock_error_s:+.3f} s off the stamps of '
            f'{name}, expected 0; they follow it slowly. Start the node again between episodes.'
        )
    if health.dropped > dropped_before:
        return Severity.WARN, (
            f'{health.dropped - dropped_before} frames of {name} were dropped, expected none: '
            'they come faster than they can be published. Lower rate_hz or the size.'
        )
    if expected_hz is not None and 0.0 < health.rate_hz < _SLOW * expected_hz:
        return Severity.WARN, (
            f'{name} delivers {health.rate_hz:.1f} Hz, expected {expected_hz:g}; give it more '
            'light, a faster port or another format (fourcc:=MJPG).'
        )
    return Severity.OK, f'{name} delivers frames.'
