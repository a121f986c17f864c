"""Who has the say among several command streams; time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from mil_ros.core.types import Vector

# A stream heard within this time after the start may have been going on before it.
_DISCOVERY_S: Final = 3.0


@dataclass(slots=True)
class _Stream:
    """What a source said last; None while it is not taken up."""

    heard_s: float
    velocities: Vector | None = None
    has_spoken: bool = False


@dataclass(eq=False)
class Arbiter:
    """Passes the say to the first source that speaks; a silent one loses it.

    A stream counts from its beginning only: after the start and after `bar`, one that is already
    going on has to send zeros, or to be silent for its time-out, before it is taken up.

    Attributes:
        timeouts_s: How long a silent source keeps its say, by source, the most important first.
        began_s: When this began to listen.
    """

    timeouts_s: Mapping[str, float]
    began_s: float
    _streams: dict[str, _Stream] = field(init=False)

    def __post_init__(self) -> None:
        self._streams = {
            source: _Stream(self.began_s + _DISCOVERY_S - timeout_s)
            for source, timeout_s in self.timeouts_s.items()
        }

    def take(self, source: str, velocities: Vector, now_s: float) -> bool:
        """Take a command, (J,) in rad/s; return whether it says anything new."""
        stream = self._streams[source]
        is_first = now_s - stream.heard_s > self.timeouts_s[source]
        stream.heard_s, stream.has_spoken = max(stream.heard_s, now_s), True
        before = stream.velocities
        if before is None and not is_first and velocities.any():
            return False
        stream.heard_s, stream.velocities = now_s, velocities
        return before is None or not np.array_equal(before, velocities)

    def bar(self) -> None:
        """Take up no stream that is going on now."""
        for stream in self._streams.values():
            stream.velocities = None

    def choose(self, now_s: float) -> tuple[str, Vector] | None:
        """Return who has the say and what they want, or None."""
        for source, stream in self._streams.items():
            if (
                stream.velocities is not None
                and self._age_s(source, now_s) <= self.timeouts_s[source]
            ):
                return source, stream.velocities
        return None

    def has_fallen_silent(self, source: str, now_s: float) -> bool:
        """Whether a source stopped speaking while it wanted motion."""
        velocities = self._streams[source].velocities
        is_moving = velocities is not None and bool(velocities.any())
        return is_moving and self._age_s(source, now_s) > self.timeouts_s[source]

    def barred(self, now_s: float) -> tuple[str, ...]:
        """Return the sources that speak and are not taken up."""
        return tuple(
            source
            for source, stream in self._streams.items()
            if stream.velocities is None
            and stream.has_spoken
            and self._age_s(source, now_s) <= self.timeouts_s[source]
        )

    def _age_s(self, source: str, now_s: float) -> float:
        return now_s - self._streams[source].heard_s
