"""Joint velocities out of joint states: low-pass filtered without delay, however they came.

Samples with true stamps are brought to an even grid of their mean rate, filtered forth and back,
and read off at their own stamps again, so that position and velocity are of the same moment.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import check_gaps, NS_PER_S, Stream
from mil_ros.core.errors import DemoError

Samples = NDArray[np.float64]  # (N, J)


def smooth_velocities(stream: Stream, velocities: Samples, cutoff_hz: float) -> Samples:
    """Return measured velocities without what is faster than the cutoff, (N, J) in rad/s.

    Args:
        stream: Joint states.
        velocities: Of each, (N, J) in rad/s.
        cutoff_hz: See `low_pass`.

    Raises:
        DemoError: If there are too few samples for the cutoff, or some are not finite.
        StaleDataError: If there is a gap.
    """
    times_s, rate_hz = _make_grid(stream, velocities, 'velocities', cutoff_hz)
    even = _interpolate(times_s, _seconds(stream), velocities)
    return _interpolate(_seconds(stream), times_s, low_pass(even, rate_hz, cutoff_hz))


def derive_velocities(stream: Stream, positions: Samples, cutoff_hz: float) -> Samples:
    """Return the velocities that positions tell of, filtered alike, (N, J) in rad/s.

    Each difference counts for the middle of its interval: that is where there is no delay.

    Args:
        stream: Joint states.
        positions: Of each, (N, J) in rad.
        cutoff_hz: See `low_pass`.

    Raises:
        DemoError: If there are too few samples for the cutoff, or some are not finite.
        StaleDataError: If there is a gap.
    """
    times_s, rate_hz = _make_grid(stream, positions, 'positions', cutoff_hz)
    even = _interpolate(times_s, _seconds(stream), positions)
    speeds = np.diff(even, axis=0) * rate_hz
    middles_s = (times_s[1:] + times_s[:-1]) / 2.0
    return _interpolate(_seconds(stream), middles_s, low_pass(speeds, rate_hz, cutoff_hz))


def low_pass(values: Samples, rate_hz: float, cutoff_hz: float) -> Samples:
    """Filter even samples without delay, (N, J).

    A Butterworth filter of second order runs forth and back, which cancels its phase; its corner
    is moved so that both passes together lose 3 dB at the cutoff. The signal is mirrored at its
    ends: a steady value stays what it is, and noise is held back there too.

    Args:
        values: At even intervals, (N, J).
        rate_hz: How many a second.
        cutoff_hz: Below half of that.
    """
    from scipy.signal import butter, sosfiltfilt  # takes a second to import

    corner = math.tan(math.pi * cutoff_hz / rate_hz) * (math.sqrt(2.0) - 1.0) ** -0.25
    sections = butter(2, 2.0 / math.pi * math.atan(corner), output='sos')
    mirrored = min(len(values) - 1, math.ceil(2.0 * rate_hz / cutoff_hz))
    return np.asarray(sosfiltfilt(sections, values, axis=0, padtype='even', padlen=mirrored))


def _make_grid(
    stream: Stream, values: Samples, what: str, cutoff_hz: float
) -> tuple[NDArray[np.float64], float]:
    """Return even times of the stream's mean rate, (N,) in s, and that rate in Hz."""
    seconds = _seconds(stream)
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise DemoError(
            f'{stream.name} has {what} that are not finite {seconds[np.argmin(finite)]:.2f} s '
            'after its first sample; expected finite ones, check the driver and record it again.'
        )
    check_gaps(stream)
    count = len(np.unique(seconds))
    rate_hz = (count - 1) / seconds[-1] if count > 1 else 0.0
    if not cutoff_hz < rate_hz / 2.0:
        raise DemoError(
            f'{stream.name} comes {rate_hz:.1f} times a second, expected more than '
            f'{2.0 * cutoff_hz:g} for action.cutoff_hz {cutoff_hz:g}; lower the cutoff in the '
            'robot file or raise the rate of the driver.'
        )
    return np.linspace(0.0, seconds[-1], count), float(rate_hz)


def _seconds(stream: Stream) -> NDArray[np.float64]:
    """Return the stamps since the first one, (N,) in s."""
    return np.asarray((stream.stamps_ns - stream.stamps_ns[0]) / NS_PER_S)


def _interpolate(
    wanted_s: NDArray[np.float64], times_s: NDArray[np.float64], values: Samples
) -> Samples:
    """Return values at other times, constant beyond the ends; of equal times the last counts."""
    times_s, last = np.unique(times_s[::-1], return_index=True)
    columns = values[::-1][last].T
    return np.stack([np.interp(wanted_s, times_s, column) for column in columns], axis=1)
