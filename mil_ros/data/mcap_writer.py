"""Writing MCAP files as fast as the disk takes them.

``rosbags``' own writer copies each message four times and decides by itself when a chunk goes to
disk. This one hands the kernel the very bytes that came (``writev``), so that recording costs
little more than the disk does, and a chunk is on its way to disk when the caller says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
import errno
import fcntl
import os
from pathlib import Path
import struct
from typing import Any, Final
from zlib import crc32

from mil_ros import __version__
from mil_ros.core.errors import EpisodeError
from mil_ros.data.mcap_format import (
    Channel,
    COMPRESSORS,
    MAGIC,
    mapping,
    MESSAGE,
    Message,
    MESSAGE_BODY,
    Op,
    RECORD,
    record,
    text,
)

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COPY_BELOW: Final = 16_384  # bytes; a copy of that costs less than another vector
_VECTORS: Final = 1024  # IOV_MAX of Linux
_NAME: Final = 'mil_ros'  # of the metadata record


@dataclass(frozen=True, slots=True)
class _ChunkInfo:
    """What the summary says of a chunk, and what giving it up takes away."""

    offset: int
    counts: dict[int, int]  # messages of each channel
    start_ns: int
    end_ns: int
    index: bytes  # its chunk index record


class McapWriter:
    """Writes one file; not thread-safe.

    The file is locked for as long as it is being written, so that nobody repairs it meanwhile.
    """

    def __init__(self, path: Path, metadata: Mapping[str, str], compression: str = '') -> None:
        """Make a file.

        Args:
            path: Must not exist.
            metadata: Kept in the file itself, where it outlives a crash.
            compression: Of chunks: ``lz4``, ``zstd`` or empty.

        Raises:
            EpisodeError: If the compression is unknown.
            OSError: If the file cannot be made.
        """
        if compression not in ('', *COMPRESSORS):
            raise EpisodeError(
                f'Got compression {compression!r}; expected one of {["", *COMPRESSORS]}.'
            )
        self._compression = compression
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._end = 0  # of what is whole
        self._channels: list[Channel] = []
        self._chunks: list[_ChunkInfo] = []
        self.counts: list[int] = []
        head = MAGIC + record(Op.HEADER, text('ros2'), text(f'mil_ros {__version__}'))
        about = record(Op.METADATA, text(_NAME), mapping(metadata))
        self._metadata_index = record(
            Op.METADATA_INDEX, struct.pack('<QQ', len(head), len(about)), text(_NAME)
        )
        with suppress(OSError):  # not every file system has locks
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            self._append([head, about])
        except OSError:
            os.close(self._fd)
            raise

    @property
    def channels(self) -> Sequence[Channel]:
        """Channels by index."""
        return self._channels

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._end

    @property
    def start_ns(self) -> int:
        """When the first message came; 0 if there is none."""
        return min((chunk.start_ns for chunk in self._chunks), default=0)

    @property
    def end_ns(self) -> int:
        """When the last message came; 0 if there is none."""
        return max((chunk.end_ns for chunk in self._chunks), default=0)

    def add_channel(self, channel: Channel) -> int:
        """Announce a topic and return its index."""
        kinds = self._kinds()
        parts = []
        if channel.kind not in kinds:
            kinds.append(channel.kind)
            parts.append(_schema(len(kinds), channel))
        index = len(self._channels)
        parts.append(_channel(index, kinds.index(channel.kind) + 1, channel))
        self._append(parts)
        self._channels.append(channel)
        self.counts.append(0)
        return index

    def write_chunk(self, messages: Iterable[Message]) -> None:
        """Append messages as one chunk with its index.

        Raises:
            OSError: If that fails; the file then ends where it did before.
        """
        body, index = _lay_out(messages)
        if not index:
            return
        size, crc = sum(map(len, body)), 0
        for part in body:
            crc = crc32(part, crc)
        if self._compression:
            body = [COMPRESSORS[self._compression](b''.join(body))]
        stored, at = sum(map(len, body)), self._end
        stamps = [ns for entries in index.values() for ns in entries[::2]]
        times = struct.pack('<QQ', min(stamps), max(stamps))
        name = text(self._compression)
        head = times + struct.pack('<QI', size, crc) + name + struct.pack('<Q', stored)
        length = RECORD.size + len(head) + stored
        indexes = {channel: _message_index(channel, entries) for channel, entries in index.items()}
        self._append([RECORD.pack(Op.CHUNK, len(head) + stored), head, *body, *indexes.values()])
        counts = {channel: len(entries) // 2 for channel, entries in index.items()}
        for channel, count in counts.items():
            self.counts[channel] += count
        chunk_index = record(
            Op.CHUNK_INDEX,
            times + struct.pack('<QQ', at, length),
            _offsets(at + length, indexes),
            struct.pack('<Q', self._end - at - length),
            name + struct.pack('<QQ', stored, size),
        )
        self._chunks.append(_ChunkInfo(at, counts, min(stamps), max(stamps), chunk_index))

    def sync(self) -> None:
        """Return once everything so far is on the disk itself."""
        os.fdatasync(self._fd)

    def close(self) -> int:
        """Write the summary and close the file.

        On a full disk the last chunks make room for it: what remains is then a whole file.

        Returns:
            How many messages had to be given up for that.

        Raises:
            OSError: If the summary cannot be written at all; the file is closed then too.
        """
        lost = 0
        try:
            while True:
                try:
                    self._append(self._summary())
                    self.sync()
                    return lost
                except OSError as err:
                    if err.errno not in NO_SPACE or not self._chunks:
                        raise
                    lost += self._give_up_chunk()
        finally:
            os.close(self._fd)

    def _kinds(self) -> list[str]:
        return list(dict.fromkeys(channel.kind for channel in self._channels))

    def _append(self, parts: Sequence[bytes | bytearray | memoryview]) -> None:
        """Write all of `parts` or nothing."""
        left: list[Any] = list(parts)
        total = sum(map(len, left))
        try:
            while left:
                written = os.writev(self._fd, left[:_VECTORS])
                done = 0
                while done < len(left) and written >= len(left[done]):
                    written -= len(left[done])
                    done += 1
                left = left[done:]
                if written:  # a part was written in part
                    left[0] = memoryview(left[0])[written:]
        except OSError:
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)
            raise
        self._end += total

    def _give_up_chunk(self) -> int:
        chunk = self._chunks.pop()
        for channel, count in chunk.counts.items():
            self.counts[channel] -= count
        self._end = chunk.offset
        os.ftruncate(self._fd, self._end)
        os.lseek(self._fd, self._end, os.SEEK_SET)
        return sum(chunk.counts.values())

    def _summary(self) -> list[bytes]:
        """Return everything after the data, up to the end of the file."""
        data_end = record(Op.DATA_END, struct.pack('<I', 0))
        kinds = self._kinds()
        groups = {
            Op.SCHEMA: [
                _schema(i + 1, next(c for c in self._channels if c.kind == kind))
                for i, kind in enumerate(kinds)
            ],
            Op.CHANNEL: [
                _channel(i, kinds.index(c.kind) + 1, c) for i, c in enumerate(self._channels)
            ],
            Op.STATISTICS: [self._statistics()],
            Op.CHUNK_INDEX: [chunk.index for chunk in self._chunks],
            Op.METADATA_INDEX: [self._metadata_index],
        }
        start = at = self._end + len(data_end)
        parts, offsets = [data_end], []
        for op, records in groups.items():
            length = sum(map(len, records))
            if records:
                offsets.append(record(Op.SUMMARY_OFFSET, struct.pack('<BQQ', op, at, length)))
            parts += records
            at += length
        return [*parts, *offsets, record(Op.FOOTER, struct.pack('<QQI', start, at, 0)), MAGIC]

    def _statistics(self) -> bytes:
        counts = b''.join(struct.pack('<HQ', i + 1, n) for i, n in enumerate(self.counts) if n)
        return record(
            Op.STATISTICS,
            struct.pack(
                '<QHIIIIQQ',
                sum(self.counts),
                len(self._kinds()),
                len(self._channels),
                0,  # attachments
                1,  # metadata
                len(self._chunks),
                self.start_ns,
                self.end_ns,
            ),
            struct.pack('<I', len(counts)),
            counts,
        )


def _schema(number: int, channel: Channel) -> bytes:
    parts = (text(channel.kind), text(channel.encoding), text(channel.definition))
    return record(Op.SCHEMA, struct.pack('<H', number), *parts)


def _channel(index: int, schema: int, channel: Channel) -> bytes:
    about = {'offered_qos_profiles': channel.qos, 'topic_type_hash': channel.digest}
    parts = (text(channel.topic), text('cdr'), mapping(about))
    return record(Op.CHANNEL, struct.pack('<HH', index + 1, schema), *parts)


def _lay_out(
    messages: Iterable[Message],
) -> tuple[list[bytes | bytearray | memoryview], dict[int, list[int]]]:
    """Return a chunk's content, large messages by reference, and time and place of each."""
    parts: list[bytes | bytearray | memoryview] = []
    index: dict[int, list[int]] = {}
    gathered, offset = bytearray(), 0
    for channel, log_ns, publish_ns, data in messages:
        length = MESSAGE_BODY + len(data)
        index.setdefault(channel, []).extend((log_ns, offset))
        gathered += MESSAGE.pack(Op.MESSAGE, length, channel + 1, 0, log_ns, publish_ns)
        offset += RECORD.size + length
        if len(data) < _COPY_BELOW:
            gathered += data
        else:
            parts += [gathered, data]
            gathered = bytearray()
    if gathered:
        parts.append(gathered)
    return parts, index


def _message_index(channel: int, entries: list[int]) -> bytes:
    body = struct.pack(f'<{len(entries)}Q', *entries)
    return record(Op.MESSAGE_INDEX, struct.pack('<HI', channel + 1, len(body)), body)


def _offsets(at: int, indexes: Mapping[int, bytes]) -> bytes:
    """Return where the message index of each channel begins."""
    body = b''
    for channel, index in indexes.items():
        body += struct.pack('<HQ', channel + 1, at)
        at += len(index)
    return struct.pack('<I', len(body)) + body
