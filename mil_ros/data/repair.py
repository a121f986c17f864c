"""Restoring an episode that was cut off: by SIGKILL, a power loss or an interrupted copy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import fcntl
from itertools import zip_longest
import os
from pathlib import Path
from typing import Any, Final

from mil_ros.core.errors import EpisodeError
from mil_ros.data.mcap_format import Channel, Message
from mil_ros.data.mcap_reader import Entry, McapFile
from mil_ros.data.mcap_writer import McapWriter
from mil_ros.data.metadata import describe_bag, FILE_NAME, read_metadata, write_metadata

_CHUNK_BYTES: Final = 4 << 20
_DAMAGED: Final = '.damaged'
_REPAIRED: Final = '.repaired'


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What became of an episode.

    Attributes:
        path: Its folder.
        was_whole: Whether there was nothing to do.
        counts: Messages by topic, all of them verified.
        duration_s: From the first message to the last.
        left_out_bytes: How much of the file could not be used.
        damage: What was wrong, a sentence each.
    """

    path: Path
    was_whole: bool
    counts: dict[str, int]
    duration_s: float
    left_out_bytes: int
    damage: tuple[str, ...]

    def __str__(self) -> str:
        """Return it as a sentence."""
        total = f'{sum(self.counts.values())} messages of {self.duration_s:.2f} s'
        if self.was_whole:
            return f'Episode {self.path.name} is whole, {total}; nothing was changed.'
        return (
            f'Restored {total} in {self.path}; {self.left_out_bytes} bytes could not be used '
            f'({"; ".join(self.damage)}).'
        )


def repair_episode(path: Path) -> RepairReport:
    """Make an episode readable again, with every message that is whole.

    The original file lies beside the new one, as ``*.damaged``, until that has been read back and
    compared with it message by message.

    Raises:
        EpisodeError: If there is nothing to restore from, or it is being recorded; nothing is
            changed then.
    """
    file = _find_file(path)
    _check_unlocked(file)
    custom = _read_custom_data(path)
    with McapFile(file, verify=True) as source:
        counts = Counter(entry.channel.topic for entry in source.messages())
        damage = list(source.damage)
        if not counts:
            raise EpisodeError(
                f'{file} holds no whole message ({"; ".join(damage) or "it is empty"}); expected '
                'at least one. Nothing can be restored, the file was left as it is.'
            )
        if custom is None:
            damage.append(f'{FILE_NAME} is missing or damaged')
            custom = source.metadata.get('mil_ros', {})
        if source.is_whole and not damage:
            times = [entry.log_ns for entry in source.messages()]
            duration_s = (max(times) - min(times)) / 1e9
            return RepairReport(path, True, dict(counts), duration_s, 0, ())
        try:
            metadata = _write_copy(source, file, custom, damage)
        except OSError as err:
            file.with_name(file.name + _REPAIRED).unlink(missing_ok=True)
            raise EpisodeError(
                f'Cannot repair {path} ({err.strerror}); expected room for another '
                f'{source.size / 1e6:.1f} MB. Nothing was changed.'
            ) from err
        left_out = source.unusable_bytes
    _take_place(file, path, metadata)
    duration_s = metadata['duration']['nanoseconds'] / 1e9
    return RepairReport(path, False, dict(counts), duration_s, left_out, tuple(damage))


def _find_file(path: Path) -> Path:
    if not path.is_dir():
        raise EpisodeError(f'No episode at {path}; expected a rosbag2 folder.')
    for kept in path.glob(f'*.mcap{_DAMAGED}'):  # a repair was cut off too
        original = kept.with_name(kept.name.removesuffix(_DAMAGED))
        if not original.exists():
            kept.rename(original)
    files = sorted(path.glob('*.mcap'))
    if len(files) != 1:
        raise EpisodeError(
            f'{path} holds {len(files)} MCAP files, expected one; a bag that is split into '
            'several can be repaired with `mcap recover` and `ros2 bag reindex`.'
        )
    return files[0]


def _check_unlocked(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise EpisodeError(
            f'{file} is being recorded; expected one that nobody writes. Call /recorder/stop '
            'first.'
        ) from None
    except OSError:  # no locks on this file system: nobody can tell
        pass
    finally:
        os.close(descriptor)


def _read_custom_data(path: Path) -> dict[str, str] | None:
    try:
        return dict(read_metadata(path)['custom_data'])
    except EpisodeError:
        return None


def _write_copy(
    source: McapFile, file: Path, custom: dict[str, str], damage: list[str]
) -> dict[str, Any]:
    """Write all whole messages to a new file beside the old one, verify it, describe it."""
    copy = file.with_name(file.name + _REPAIRED)
    copy.unlink(missing_ok=True)
    custom = {'outcome': 'unknown', **custom, 'repaired': '; '.join(damage)}
    if not source.is_whole:
        custom['verdict'] = 'reject'  # nobody knows what the end was
    writer = McapWriter(copy, custom)
    try:
        _copy_messages(source, writer)
    finally:
        writer.close()
    with McapFile(copy, verify=True) as result:
        pairs = zip_longest(source.messages(), result.messages())
        is_same = all(a and b and _is_equal(a, b) for a, b in pairs)
        if not is_same or not result.is_whole or result.damage:
            copy.unlink()
            raise EpisodeError(
                f'The copy of {file} differs from it; expected the same messages. Nothing was '
                'changed; check the disk.'
            )
    times_ns = writer.start_ns, writer.end_ns
    return describe_bag(file.name, writer.channels, writer.counts, times_ns, custom)


def _copy_messages(source: McapFile, writer: McapWriter) -> None:
    indices: dict[Channel, int] = {}
    for batch in _batches(source):
        for entry in batch:
            if entry.channel not in indices:
                indices[entry.channel] = writer.add_channel(entry.channel)
        writer.write_chunk(
            Message(indices[entry.channel], entry.log_ns, entry.publish_ns, entry.data)
            for entry in batch
        )
    for channel in source.channels.values():  # a topic without a message is worth knowing too
        if channel not in indices:
            indices[channel] = writer.add_channel(channel)


def _batches(source: McapFile) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in source.messages():
        batch.append(entry)
        size += len(entry.data)
        if size >= _CHUNK_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _is_equal(a: Entry, b: Entry) -> bool:
    return a[:3] == b[:3] and bytes(a.data) == bytes(b.data)  # views compare bytewise, slowly


def _take_place(file: Path, path: Path, metadata: dict[str, Any]) -> None:
    """Put the verified copy where the damaged file is."""
    damaged = file.with_name(file.name + _DAMAGED)
    try:
        file.rename(damaged)
        file.with_name(file.name + _REPAIRED).rename(file)
        write_metadata(path, metadata)
    except OSError as err:
        raise EpisodeError(
            f'Cannot finish the repair of {path} ({err.strerror}); the original is {damaged}. '
            'Free space and repair it again.'
        ) from err
    damaged.unlink()
