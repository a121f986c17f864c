"""An episode laid out for the control node: what it is given before each of its ticks.

A run starts at the moment from which on every stream runs; the policy then acts on the images
that `core.pace.Pace` picks, as it does live. A tick is given all that is stamped before its image,
so that what it sees as newest is what alignment says; a message that was late when it was recorded
is not late in a replay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import AsOf, common_span, indices_as_of, NS_PER_S, Stream
from mil_ros.core.errors import EpisodeError, StaleDataError
from mil_ros.core.pace import Pace
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
        moment_ns: The moment: of the start of the run in the first step, of the image that makes
            the policy act in the others.
        samples: What is stamped since the step before, in the order of stamps, without that image.
        settled: What must stand for each stream once they have come, just before a tick.
        image: On which the policy acts; None in the first step.
    """

    moment_ns: int
    samples: tuple[Sample, ...]
    settled: AsOf
    image: Sample | None = None

    @property
    def used(self) -> AsOf:
        """What the tick must have used."""
        own = {} if self.image is None else {self.image.topic: self.image.stamp_ns}
        return AsOf(self.moment_ns, {**self.settled.stamps_ns, **own})


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
        return lay_out(samples, ages_s, topics.image, make_pace(robot), robot.policy.max_run_s)
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err


def make_pace(robot: RobotDescription) -> Pace:
    """Return the pace of a robot's policy."""
    return Pace(robot.policy.rate_hz, robot.camera.rate_hz)


def lay_out(
    samples: Sequence[Sample],
    ages_s: dict[str, float],
    images: str,
    pace: Pace,
    longest_s: float,
) -> list[Step]:
    """Return the steps of a run on samples of several streams.

    Args:
        samples: In any order.
        ages_s: How old a sample may be, by stream; at least one sample of each must be there.
        images: The stream on whose samples the policy acts.
        pace: Of the policy; it is set to the start of the run.
        longest_s: Later ticks are left out.

    Raises:
        StaleDataError: If a stream has a gap, or all together they are too short.
    """
    ordered = sorted(samples, key=lambda sample: sample.stamp_ns)
    streams = [
        Stream(name, _stamps(s for s in ordered if s.topic == name), max_age_s)
        for name, max_age_s in ages_s.items()
    ]
    start_ns, stop_ns = common_span(streams)
    stop_ns = min(stop_ns, start_ns + round(longest_s * NS_PER_S))
    pace.due_ns = start_ns
    picked = [
        sample
        for sample in ordered
        if sample.topic == images
        and start_ns < sample.stamp_ns <= stop_ns
        and pace.take(sample.stamp_ns)
    ]
    if len(picked) < _MIN_TICKS:
        raise StaleDataError(
            f'its streams run together for {(stop_ns - start_ns) / NS_PER_S:.1f} s, in which the '
            f'policy acts {len(picked)} times, expected at least {_MIN_TICKS} times; record a '
            'whole demonstration.'
        )
    moments = np.array([start_ns, *(sample.stamp_ns for sample in picked)], dtype=np.int64)
    before = {s.name: _newest_before(s, moments, s.name == images) for s in streams}
    steps, given = [], 0
    for i, moment_ns in enumerate(moments.tolist()):
        image = picked[i - 1] if i else None
        end = bisect_right(ordered, moment_ns, key=lambda sample: sample.stamp_ns)
        due = tuple(sample for sample in ordered[given:end] if sample is not image)
        settled = AsOf(moment_ns, {name: int(ns[i]) for name, ns in before.items()})
        steps.append(Step(moment_ns, due, settled, image))
        given = end
    return steps


def _stamps(samples: Iterable[Sample]) -> NDArray[np.int64]:
    return np.array([sample.stamp_ns for sample in samples], dtype=np.int64)


def _newest_before(
    stream: Stream, moments: NDArray[np.int64], is_image: bool
) -> NDArray[np.int64]:
    """Return what stands for a stream at each moment, before the image of a tick has come."""
    earlier = (np.arange(len(moments)) > 0) & is_image
    return stream.stamps_ns[indices_as_of(stream, moments - earlier)]
