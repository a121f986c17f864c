"""An episode laid out for the control node: what it is given before each of its ticks.

Ticks come at the policy's rate from the moment on at which every stream runs. A tick is given all
that is stamped before it, so that what it sees as newest is what alignment says; a message that
was late when it was recorded is not late in a replay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mil_ros.core.alignment import AsOf, common_moments, indices_as_of, NS_PER_S, Stream
from mil_ros.core.errors import EpisodeError, StaleDataError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode import read_provenance
from mil_ros.data.episode_log import read_stamp_ns
from mil_ros.data.episode_streams import read_raw

_MIN_TICKS: Final = 5


@dataclass(frozen=True, slots=True)
class Sample:
    """One serialised message that begins with a header."""

    topic: str
    stamp_ns: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """What happens around one moment.

    Attributes:
        moment_ns: The moment: of the start of the run in the first step, of a tick in the others.
        samples: What is stamped since the step before, in the order of stamps.
        settled: What must stand for each stream once they have come, just before a tick.
    """

    moment_ns: int
    samples: tuple[Sample, ...]
    settled: AsOf

    @property
    def used(self) -> AsOf:
        """What the tick must have used."""
        return AsOf(self.moment_ns, self.settled.stamps_ns)


def read_playback(path: Path, robot: RobotDescription) -> list[Step]:
    """Lay out an episode for a robot's control node, as long as a run may last.

    Args:
        path: The episode.
        robot: The arm that it was recorded with.

    Raises:
        EpisodeError: If it is missing, damaged, too short, of another robot or has gaps.
    """
    recorded = read_provenance(path).get('robot', robot.name)
    if recorded != robot.name:
        raise EpisodeError(
            f'Episode {path.name} was recorded with robot {recorded!r}, expected {robot.name!r}; '
            'choose the robot file with --robot, or an episode of that robot.'
        )
    topics = robot.topics
    ages_s = {
        topics.image: robot.camera.max_age_s,
        topics.joint_states: robot.joint_states.max_age_s,
    }
    samples = []
    for topic, messages in read_raw(path, ages_s).items():
        if not messages:
            raise EpisodeError(
                f'Episode {path.name} has no messages on {topic}; expected images and joint '
                'states. Check that its publisher runs and record it again.'
            )
        samples += [Sample(topic, read_stamp_ns(data), data) for data, _ in messages]
    try:
        return lay_out(samples, ages_s, robot.policy.rate_hz, robot.policy.max_run_s)
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err


def lay_out(
    samples: Sequence[Sample], ages_s: dict[str, float], rate_hz: float, longest_s: float
) -> list[Step]:
    """Return the steps of a run on samples of several streams.

    Args:
        samples: In any order.
        ages_s: How old a sample may be, by stream; at least one sample of each must be there.
        rate_hz: Of ticks.
        longest_s: Later ticks are left out.

    Raises:
        StaleDataError: If a stream has a gap, or all together they are too short.
    """
    ordered = sorted(samples, key=lambda sample: sample.stamp_ns)
    streams = {
        name: Stream(
            name,
            np.array([s.stamp_ns for s in ordered if s.topic == name], dtype=np.int64),
            max_age_s,
        )
        for name, max_age_s in ages_s.items()
    }
    moments = common_moments(list(streams.values()), rate_hz)
    moments = moments[moments - moments[0] <= longest_s * NS_PER_S]
    if len(moments) <= _MIN_TICKS:
        raise StaleDataError(
            f'its streams run together for {(len(moments) - 1) / rate_hz:.1f} s, expected at '
            f'least {_MIN_TICKS / rate_hz:.1f} s; record a whole demonstration.'
        )
    settled = moments - (np.arange(len(moments)) > 0)  # just before a tick, at the start itself
    picked = {
        name: stream.stamps_ns[indices_as_of(stream, settled)] for name, stream in streams.items()
    }
    ends = np.searchsorted([s.stamp_ns for s in ordered], settled, side='right')
    steps, begin = [], 0
    for i, end in enumerate(ends):
        used = AsOf(int(settled[i]), {name: int(ns[i]) for name, ns in picked.items()})
        steps.append(Step(int(moments[i]), tuple(ordered[begin:end]), used))
        begin = end
    return steps
