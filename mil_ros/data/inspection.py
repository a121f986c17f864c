"""Looking into an episode: when its messages came, some of its pictures, how the joints moved."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import EpisodeError, MilError
from mil_ros.core.streams import measure, moments_of, StreamReport, StreamTimes
from mil_ros.core.types import Image
from mil_ros.data.definitions import begins_with_header
from mil_ros.data.episode_log import JOINT_STATE, read_stamp_ns
from mil_ros.data.mcap_format import Channel
from mil_ros.data.mcap_reader import McapFile
from mil_ros.data.messages import deserialize, image_to_rgb
from mil_ros.data.metadata import FILE_NAME, read_metadata

IMAGE: Final = 'sensor_msgs/msg/Image'
COMPRESSED: Final = 'sensor_msgs/msg/CompressedImage'


@dataclass(frozen=True, eq=False, slots=True)
class EpisodeTimes:
    """When everything in an episode came.

    Attributes:
        kinds: Type of each topic that has messages.
        streams: Their times.
        start_ns: Arrival of the first message.
        end_ns: Arrival of the last one.
    """

    kinds: dict[str, str]
    streams: list[StreamTimes]
    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        """From the first message to the last."""
        return (self.end_ns - self.start_ns) / 1e9

    def reports(self) -> dict[str, StreamReport]:
        """Return the figures of each topic."""
        return {s.topic: measure(s, (self.start_ns, self.end_ns)) for s in self.streams}


@dataclass(frozen=True, slots=True)
class EpisodeSummary:
    """What a list of episodes says of one.

    Attributes:
        path: Its folder.
        provenance: What the recorder noted; empty if that cannot be read.
        duration_s: From the first message to the last; None if not known.
        messages: How many; None if not known.
        size_bytes: Of its files.
        fault: Why it cannot be used as it is; empty if it can.
    """

    path: Path
    provenance: dict[str, str]
    duration_s: float | None
    messages: int | None
    size_bytes: int
    fault: str


@dataclass(frozen=True, eq=False, slots=True)
class JointMotion:
    """How the joints of one topic moved.

    Attributes:
        names: Joints, J of them.
        times_s: From the start of the episode, (N,).
        positions: In rad, (N, J).
        velocities: In rad/s, (N, J).
        is_measured: Whether the velocities were measured, not derived from the positions.
    """

    names: tuple[str, ...]
    times_s: NDArray[np.float64]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    is_measured: bool


def is_episode(path: Path) -> bool:
    """Whether a folder is a bag, be it whole or not."""
    return (path / FILE_NAME).is_file() or any(path.glob('*.mcap'))


def find_episodes(folder: Path) -> list[Path]:
    """Return the episodes directly below a folder, in order of name.

    Raises:
        EpisodeError: If there are none.
    """
    found = sorted(p for p in folder.iterdir() if p.is_dir() and is_episode(p))
    if not found:
        raise EpisodeError(
            f'No episode in {folder}; expected rosbag2 folders, record one with /recorder/start '
            'and /recorder/stop.'
        )
    return found


def summarise(path: Path) -> EpisodeSummary:
    """Return what the metadata of an episode say; never raises for a damaged one."""
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    try:
        metadata = read_metadata(path)
        custom = {str(k): str(v) for k, v in metadata['custom_data'].items()}
        duration_s = metadata['duration']['nanoseconds'] / 1e9
        with open_file(path) as file:
            fault = '' if file.has_end else 'cut off'
        return EpisodeSummary(path, custom, duration_s, metadata['message_count'], size, fault)
    except (MilError, KeyError, TypeError) as err:
        reason = 'was never finished' if not (path / FILE_NAME).is_file() else f'damaged: {err}'
        return EpisodeSummary(path, {}, None, None, size, reason)


def open_file(path: Path) -> McapFile:
    """Open the MCAP file of an episode.

    Raises:
        EpisodeError: If there is not just one, or it is no MCAP file.
    """
    files = sorted(path.glob('*.mcap'))
    if len(files) != 1:
        raise EpisodeError(f'{path} holds {len(files)} MCAP files, expected one.')
    return McapFile(files[0])


def read_times(path: Path, topics: tuple[str, ...] | None = None) -> EpisodeTimes:
    """Read when the messages of an episode came and how they are stamped, not what they say.

    Args:
        path: The episode; it may be cut off.
        topics: Which to look at; all if None.

    Raises:
        EpisodeError: If it holds no message of them.
    """
    kinds: dict[str, str] = {}
    has_header: dict[str, bool] = {}
    received: dict[str, list[int]] = {}
    stamps: dict[str, list[int]] = {}
    with open_file(path) as file:
        for channel, log_ns, _, data in file.messages(topics):
            topic = channel.topic
            if topic not in kinds:
                kinds[topic], received[topic], stamps[topic] = channel.kind, [], []
                has_header[topic] = begins_with_header(channel.definition)
            received[topic].append(log_ns)
            if has_header[topic]:
                stamps[topic].append(read_stamp_ns(data))
    if not kinds:
        raise EpisodeError(
            f'Episode {path.name} holds no message{" of " + ", ".join(topics) if topics else ""}; '
            'expected some, record it again.'
        )
    streams = [
        StreamTimes(topic, np.array(ns), np.array(stamps[topic]) if has_header[topic] else None)
        for topic, ns in received.items()
    ]
    start_ns = min(int(s.received_ns.min()) for s in streams)
    end_ns = max(int(s.received_ns.max()) for s in streams)
    return EpisodeTimes(kinds, streams, start_ns, end_ns)


def read_quality(provenance: dict[str, str]) -> dict[str, Any]:
    """Return the quality report of an episode; empty if it has none."""
    try:
        return dict(json.loads(provenance.get('quality', '{}')))
    except ValueError:
        return {}


def read_frames(
    path: Path, times: EpisodeTimes, topic: str, count: int
) -> list[tuple[float, Image]]:
    """Return pictures spread evenly over an episode, with their time in s from its start.

    Args:
        path: The episode.
        times: Of its messages.
        topic: Of images, raw or compressed.
        count: How many; fewer if there are not that many.

    Raises:
        DemoError: If their encoding is not known.
        EpisodeError: If they cannot be decompressed.
    """
    total = next(len(s.received_ns) for s in times.streams if s.topic == topic)
    wanted = set(np.linspace(0, total - 1, min(count, total)).round().astype(int).tolist())
    with open_file(path) as file:
        return [
            ((log_ns - times.start_ns) / 1e9, _to_rgb(channel, data))
            for i, (channel, log_ns, _, data) in enumerate(file.messages((topic,)))
            if i in wanted
        ]


def read_motion(path: Path, times: EpisodeTimes, topic: str) -> JointMotion:
    """Return how joints moved; messages with other joints than the first one are left out.

    Args:
        path: The episode.
        times: Of its messages.
        topic: Of joint states.

    Raises:
        EpisodeError: If it has no joint positions.
    """
    kept, positions, velocities = [], [], []
    names: tuple[str, ...] = ()
    with open_file(path) as file:
        for i, entry in enumerate(file.messages((topic,))):
            message = deserialize(bytes(entry.data), JOINT_STATE)
            names = names or tuple(message.name)
            if tuple(message.name) == names and len(message.position) == len(names):
                kept.append(i)
                positions.append(message.position)
                velocities.append(message.velocity)
    if not positions:
        raise EpisodeError(
            f'Episode {path.name} has no joint positions on {topic}; expected one for each name.'
        )
    stream = next(s for s in times.streams if s.topic == topic)
    seconds = (moments_of(stream)[kept] - times.start_ns) / 1e9
    is_measured = all(len(velocity) == len(names) for velocity in velocities)
    stacked = np.stack(positions)
    if is_measured:
        speeds = np.stack(velocities)
    else:
        speeds = np.gradient(stacked, seconds, axis=0) if len(kept) > 1 else stacked * 0.0
    return JointMotion(names, seconds, stacked, speeds, is_measured)


def _to_rgb(channel: Channel, data: memoryview) -> Image:
    message = deserialize(bytes(data), channel.kind)
    if channel.kind == IMAGE:
        return np.array(image_to_rgb(message))
    decoded = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
    if decoded is None:
        raise EpisodeError(
            f'An image on {channel.topic} of format {message.format!r} cannot be decoded; '
            'expected jpeg or png.'
        )
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB))
