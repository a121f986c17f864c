"""What passed between camera and Servo, and the figures that follow from it; pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.int64]
Numbers = NDArray[np.float64]
_TURN_SHARE = 0.55  # of a period: messages that are farther apart are different turns
_CLOSER_RAD_S = 1e-6  # by that much a command must come closer to count as an answer


@dataclass(frozen=True, eq=False, slots=True)
class Commands:
    """Joint velocities on one topic.

    Attributes:
        sent_ns: When the middleware was given each, (N,).
        received_ns: When it handed each over, (N,).
        stamps_ns: What its header says, (N,).
        velocities: What it asks for, (N, J) in rad/s.
    """

    sent_ns: Times
    received_ns: Times
    stamps_ns: Times
    velocities: Numbers


@dataclass(frozen=True, eq=False, slots=True)
class Ticks:
    """What the control node says of each tick.

    Attributes:
        command_ns: Stamp of the command that came of it, 0 for none, (T,).
        moment_ns: When it looked at its inputs, (T,).
        image_ns: Stamp of the image that it used, (T,).
        tick_ms: How long it took, (T,).
    """

    command_ns: Times
    moment_ns: Times
    image_ns: Times
    tick_ms: Numbers


@dataclass(frozen=True, eq=False, slots=True)
class Passage:
    """All of it.

    Attributes:
        jogs: What Servo was sent.
        wanted: What the control node asked the guard for.
        ticks: Of the control node.
        drawn_ms: From the moment that an image shows until it was sent, (M,).
    """

    jogs: Commands
    wanted: Commands
    ticks: Ticks
    drawn_ms: Numbers

    def save(self, file: Path) -> None:
        """Write everything."""
        arrays: dict[str, Any] = {'drawn_ms': self.drawn_ms}
        for part in ('jogs', 'wanted', 'ticks'):
            group = getattr(self, part)
            arrays |= {f'{part}.{f.name}': getattr(group, f.name) for f in fields(group)}
        with file.open('wb') as stream:
            np.savez(stream, **arrays)


def load_passage(file: Path) -> Passage:
    """Read what `Passage.save` has written."""
    with np.load(file) as stored:

        def read(kind: type, part: str) -> dict[str, NDArray[np.generic]]:
            return {f.name: stored[f'{part}.{f.name}'] for f in fields(kind)}

        return Passage(
            Commands(**read(Commands, 'jogs')),  # type: ignore[arg-type]
            Commands(**read(Commands, 'wanted')),  # type: ignore[arg-type]
            Ticks(**read(Ticks, 'ticks')),  # type: ignore[arg-type]
            stored['drawn_ms'],
        )


def stream_rate_hz(times_ns: Times, rate_hz: float) -> float:
    """Return how often a stream comes, without what comes between its turns.

    The guard answers a fresh command at once, besides its steady stream. What follows another
    message by little more than half a period is not counted, so that each period has one message,
    be it the stream's own or one that came before it.
    """
    least_ns = _TURN_SHARE * 1e9 / rate_hz
    count, last_ns = 0, -np.inf
    for time_ns in times_ns:
        if time_ns - last_ns >= least_ns:
            count, last_ns = count + 1, time_ns
    seconds = (times_ns[-1] - times_ns[0]) / 1e9
    return (count - 1) / float(seconds)


def lateness_p99_ms(times_ns: Times, rate_hz: float) -> float:
    """Return by how much the gap between two messages exceeds the period, but for 1 %, in ms.

    All gaps are looked at, whatever message ends them: none can hide. The percentage is of the
    periods that have gone by, not of the gaps: messages between the turns of the stream make
    short gaps and would make the late ones seem rarer than they are.
    """
    late_ms = np.sort(np.maximum(np.diff(times_ns) / 1e6 - 1e3 / rate_hz, 0.0))[::-1]
    periods = (times_ns[-1] - times_ns[0]) * rate_hz / 1e9
    return float(late_ms[min(int(0.01 * periods), len(late_ms) - 1)])


def answers_ns(passage: Passage) -> tuple[Times, Times]:
    """Return which ticks Servo was sent an answer to, (A,), and when that came, (A,) in ns.

    The answer is the first message after the command of the tick that comes closer to it than
    what was sent before the command. A command that changes nothing has no answer, nor has one
    that another one follows before it is answered.
    """
    jogs, wanted, ticks = passage.jogs, passage.wanted, passage.ticks
    position = {int(stamp): i for i, stamp in enumerate(wanted.stamps_ns)}
    numbers, arrivals = [], []
    commands_ns = np.sort(ticks.command_ns[ticks.command_ns > 0])
    for number, command_ns in enumerate(ticks.command_ns):
        index = position.get(int(command_ns))
        first = int(np.searchsorted(jogs.stamps_ns, command_ns, side='right'))
        if index is None or first == 0:
            continue
        later = commands_ns[np.searchsorted(commands_ns, command_ns, side='right') :]
        end = int(np.searchsorted(jogs.stamps_ns, later[0])) if len(later) else None
        away = np.abs(jogs.velocities[first - 1 : end] - wanted.velocities[index]).max(axis=1)
        closer = np.flatnonzero(away[1:] < away[0] - _CLOSER_RAD_S)
        if len(closer):
            numbers.append(number)
            arrivals.append(jogs.received_ns[first + closer[0]])
    return np.array(numbers, np.int64), np.array(arrivals, np.int64)
