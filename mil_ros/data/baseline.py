"""``rosbags`` as a yardstick for our writer, and as a second opinion on what it writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from rosbags.rosbag2 import Reader, ReaderError, StoragePlugin, Writer

from mil_ros.core.errors import EpisodeError
from mil_ros.data.messages import typestore
from mil_ros.data.metadata import METADATA_VERSION
from mil_ros.data.preroll import Arrival


def write_with_rosbags(path: Path, kinds: Mapping[str, str], arrivals: Iterable[Arrival]) -> None:
    """Write a bag with the library's own writer.

    Args:
        path: Folder to make.
        kinds: Type of each topic.
        arrivals: Messages in order.
    """
    writer = Writer(path, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
    with writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=typestore())
            for topic, kind in kinds.items()
        }
        for topic, data, received_ns in arrivals:
            writer.write(connections[topic], received_ns, data)


def count_with_rosbags(path: Path) -> dict[str, int]:
    """Read every message of an episode and return how many there are of each topic.

    Raises:
        EpisodeError: If it cannot be read to the end, or its metadata promise something else.
    """
    counts: dict[str, int] = {}
    try:
        with Reader(path) as reader:
            promised = {c.topic: c.msgcount for c in reader.connections if c.msgcount}
            for connection, _, _ in reader.messages():
                counts[connection.topic] = counts.get(connection.topic, 0) + 1
    except (ReaderError, OSError, ValueError) as err:
        raise EpisodeError(f'rosbags cannot read {path} ({err}); expected a whole bag.') from err
    if counts != promised:
        raise EpisodeError(f'{path} holds {counts}; expected {promised} as its metadata say.')
    return counts
