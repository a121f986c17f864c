"""Bringing streams to common moments by header stamp; one rule for training, replay and live.

The sample of a stream *as of* a moment is the newest one stamped at or before it. A sample older
than the stream's maximum age is an error: never zeros, never the last value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import StaleDataError

NS_PER_S = 1_000_000_000


@dataclass(frozen=True, eq=False, slots=True)
class Stream:
    """The stamps of one stream.

    Attributes:
        name: Topic, for messages.
        stamps_ns: Header stamps in rising order, (N,) int64.
        max_age_s: How old a sample may be and still count.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    max_age_s: float


@dataclass(frozen=True, slots=True)
class AsOf:
    """Which samples stood for their streams at one moment.

    Attributes:
        moment_ns: The moment, by the clock that stamps the samples.
        stamps_ns: Stamp of the sample of each stream, by name.
    """

    moment_ns: int
    stamps_ns: dict[str, int]

    @property
    def ages_s(self) -> dict[str, float]:
        """How old each sample was, by name."""
        return {name: (self.moment_ns - ns) / NS_PER_S for name, ns in self.stamps_ns.items()}

    def __str__(self) -> str:
        used = ', '.join(f'{name} of {_seconds(ns)}' for name, ns in self.stamps_ns.items())
        return f'At {_seconds(self.moment_ns)}: {used}.'


def _seconds(stamp_ns: int) -> str:
    """Return a stamp in s, exact to the ns, which a float is not."""
    return '{}.{:09d}'.format(*divmod(stamp_ns, NS_PER_S))


def check_age(name: str, stamp_ns: int, moment_ns: int, max_age_s: float) -> None:
    """Raise `StaleDataError` unless a sample is young enough, and not from the future."""
    age_s = (moment_ns - stamp_ns) / NS_PER_S
    if not 0.0 <= age_s <= max_age_s:
        raise StaleDataError(
            f'The newest sample of {name} is {age_s:.3f} s old, expected 0 to {max_age_s:g} s; '
            'check that its publisher runs and that both clocks agree.'
        )


def indices_as_of(stream: Stream, moments_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which sample of a stream stands for each moment, (M,).

    Raises:
        StaleDataError: If a moment has no sample young enough; says which and where.
    """
    index = np.searchsorted(stream.stamps_ns, moments_ns, side='right') - 1
    if len(index) and index.min() < 0:
        raise StaleDataError(
            f'{stream.name} starts {(stream.stamps_ns[0] - moments_ns[0]) / NS_PER_S:.3f} s after '
            'the moment it is needed for; expected a sample before it.'
            if len(stream.stamps_ns)
            else f'{stream.name} has no samples; expected at least one.'
        )
    age_s = (moments_ns - stream.stamps_ns[index]) / NS_PER_S
    worst = int(np.argmax(age_s)) if len(age_s) else 0
    if len(age_s) and age_s[worst] > stream.max_age_s:
        at_s = (moments_ns[worst] - moments_ns[0]) / NS_PER_S
        raise StaleDataError(
            f'{stream.name} has a gap: {at_s:.2f} s into the episode its newest sample is '
            f'{age_s[worst]:.3f} s old, expected at most {stream.max_age_s:g} s; record it again.'
        )
    return index


def check_gaps(stream: Stream) -> None:
    """Raise `StaleDataError` if two samples of a stream are further apart than its maximum age."""
    steps_s = np.diff(stream.stamps_ns) / NS_PER_S
    worst = int(np.argmax(steps_s)) if len(steps_s) else 0
    if len(steps_s) and steps_s[worst] > stream.max_age_s:
        at_s = (stream.stamps_ns[worst] - stream.stamps_ns[0]) / NS_PER_S
        raise StaleDataError(
            f'{stream.name} has a gap: nothing comes for {steps_s[worst]:.3f} s, {at_s:.2f} s '
            f'after its first sample, expected at most {stream.max_age_s:g} s; record it again.'
        )


def common_span(streams: list[Stream]) -> tuple[int, int]:
    """Return the first and the last moment at which every stream is alive, in ns.

    Raises:
        StaleDataError: If a stream is empty or the streams do not overlap.
    """
    for stream in streams:
        if len(stream.stamps_ns) == 0:
            raise StaleDataError(f'{stream.name} has no samples; expected at least one.')
    start = max(int(s.stamps_ns[0]) for s in streams)
    stop = min(int(s.stamps_ns[-1]) for s in streams)
    if stop < start:
        raise StaleDataError(
            f'The streams {", ".join(s.name for s in streams)} never run at the same time; '
            'expected them to overlap, check that their clocks agree.'
        )
    return start, stop


def common_moments(streams: list[Stream], rate_hz: float) -> NDArray[np.int64]:
    """Return evenly spaced moments during which every stream is alive, (M,) in ns.

    Raises:
        StaleDataError: As `common_span`.
    """
    start, stop = common_span(streams)
    return np.arange(start, stop + 1, round(NS_PER_S / rate_hz), dtype=np.int64)
