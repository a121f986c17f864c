"""``metadata.yaml`` of a bag, version 8, which every ROS 2 from Humble to Lyrical reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
from typing import Any, Final

import yaml

from mil_ros.core.errors import EpisodeError
from mil_ros.data.mcap_format import Channel

METADATA_VERSION: Final = 8
FILE_NAME: Final = 'metadata.yaml'
_ROOT: Final = 'rosbag2_bagfile_information'
_RESERVED: Final = 65_536  # bytes; a bag of a hundred topics takes less


def describe_bag(
    file_name: str,
    channels: Sequence[Channel],
    counts: Sequence[int],
    times_ns: tuple[int, int],
    custom_data: Mapping[str, str],
) -> dict[str, Any]:
    """Return the metadata of a bag of one file.

    Args:
        file_name: Of the MCAP file, without a folder.
        channels: All topics.
        counts: Messages of each.
        times_ns: When the first and the last message came.
        custom_data: Provenance.
    """
    total = sum(counts)

    def extent() -> dict[str, Any]:  # anew each time, else YAML would write references
        return {
            'duration': {'nanoseconds': times_ns[1] - times_ns[0]},
            'starting_time': {'nanoseconds_since_epoch': times_ns[0]},
            'message_count': total,
        }

    topics = [
        {
            'topic_metadata': {
                'name': channel.topic,
                'type': channel.kind,
                'serialization_format': 'cdr',
                'offered_qos_profiles': channel.qos,
                'type_description_hash': channel.digest,
            },
            'message_count': count,
        }
        for channel, count in zip(channels, counts, strict=True)
    ]
    return {
        'version': METADATA_VERSION,
        'storage_identifier': 'mcap',
        **extent(),
        'topics_with_message_count': topics,
        'compression_format': '',
        'compression_mode': '',
        'relative_file_paths': [file_name],
        'files': [{'path': file_name, **extent()}],
        'custom_data': dict(custom_data) or None,
        'ros_distro': os.environ.get('ROS_DISTRO', 'unknown'),
    }


def reserve_metadata(folder: Path) -> None:
    """Take the room that the metadata will need, while there is some.

    Raises:
        OSError: If there is none.
    """
    with _temporary(folder).open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, _RESERVED)


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Write the metadata so that a reader sees the old or the new ones, never a part.

    Raises:
        OSError: If that fails.
    """
    content = yaml.safe_dump({_ROOT: dict(metadata)}, sort_keys=False).encode()
    temporary = _temporary(folder)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, 'r+b') as file:  # into the room reserved, if there is any
        file.write(content)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE_NAME)
    sync_folder(folder)


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read the metadata of a bag of any version.

    Raises:
        EpisodeError: If they are missing or damaged.
    """
    file = folder / FILE_NAME
    try:
        metadata = yaml.safe_load(file.read_bytes())[_ROOT]
        metadata['custom_data'] = dict(metadata.get('custom_data') or {})
        return dict(metadata)
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as err:
        why = ' '.join(str(err).split())  # YAML's errors have several lines
        raise EpisodeError(
            f'{file} cannot be read ({type(err).__name__}: {why}); expected the metadata of a '
            f'rosbag2 folder. `mil inspect --repair {folder}` makes them anew.'
        ) from err


def update_custom_data(folder: Path, values: Mapping[str, str]) -> None:
    """Note something more about an episode.

    Raises:
        EpisodeError: If its metadata cannot be read or written.
    """
    metadata = read_metadata(folder)
    metadata['custom_data'] |= values
    try:
        write_metadata(folder, metadata)
    except OSError as err:
        raise EpisodeError(
            f'Cannot write {folder / FILE_NAME} ({err.strerror}); the old one stands. Expected a '
            'writable disk with some free space.'
        ) from err


def sync_folder(folder: Path) -> None:
    """Return once the names in a folder are on the disk itself."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _temporary(folder: Path) -> Path:
    return folder / f'{FILE_NAME}.tmp'
