"""Reading MCAP files as far as they are whole, be they cut off or damaged.

The file is mapped, not read: to know when the messages of an hour of video came takes a fraction
of a second, and a repaired file is written without a message in Python's memory.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
import mmap
from pathlib import Path
import struct
from types import TracebackType
from typing import Any, Final, NamedTuple
from zlib import crc32

from mil_ros.core.errors import EpisodeError
from mil_ros.data.mcap_format import Channel, DECOMPRESSORS, MAGIC, MESSAGE, Op, RECORD

_PRIVATE: Final = 0x80  # opcodes from here on belong to applications


class Entry(NamedTuple):
    """One message in a file, `data` being a view of the file."""

    channel: Channel
    log_ns: int
    publish_ns: int
    data: memoryview


class McapFile:
    """A file that is read from its beginning; a context manager.

    Attributes:
        channels: By number in the file; grows while messages are read.
        metadata: Metadata records by name, likewise.
        damage: A sentence for each fault met so far.
        is_whole: Whether the end of the file was reached as its writer meant it.
        unusable_bytes: How much of the file is damaged or beyond a cut.
    """

    def __init__(self, path: Path, verify: bool = False) -> None:
        """Map a file.

        Args:
            path: Of the file.
            verify: Whether to check each chunk's checksum, which reads the whole file.

        Raises:
            EpisodeError: If there is no such file or it is no MCAP file.
        """
        self.path, self._verify = path, verify
        self.channels: dict[int, Channel] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.damage: list[str] = []
        self.is_whole = False
        self.unusable_bytes = 0
        self._schemas: dict[int, tuple[str, str, str]] = {}
        try:
            with path.open('rb') as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as err:  # ValueError: the file is empty
            raise EpisodeError(
                f'Cannot read {path} ({err}); expected an MCAP file that is not empty.'
            ) from err
        self._view = memoryview(self._map)
        if (begin := self._map[: len(MAGIC)]) != MAGIC:
            self.close()
            raise EpisodeError(
                f'{path} begins with {begin!r}, expected {MAGIC!r}; it is no MCAP file.'
            )

    def __enter__(self) -> McapFile:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return len(self._map)

    @property
    def has_end(self) -> bool:
        """Whether the file ends as a finished one does; for a list, which reads no further."""
        return self.size > 2 * len(MAGIC) and self._map[-len(MAGIC) :] == MAGIC

    def close(self) -> None:
        """Unmap the file, now or when the last view of it is gone."""
        self._view.release()
        with suppress(BufferError):
            self._map.close()

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Entry]:
        """Yield messages in the order of the file, of all topics or of some."""
        self.damage.clear()
        self.unusable_bytes = 0
        whole = len(MAGIC)
        for op, at, end in self._records(self._view, len(MAGIC), len(self._view)):
            body = self._view[at:end]
            if op == Op.CHUNK:
                yield from self._chunk_messages(body, at - RECORD.size, topics)
            elif op == Op.MESSAGE:
                yield from self._messages(self._view, at - RECORD.size, end, topics)
            elif op in (Op.SCHEMA, Op.CHANNEL, Op.METADATA):
                self._note(op, body)
            elif op == Op.FOOTER:
                self.is_whole = self._map[end : end + len(MAGIC)] == MAGIC
                if self.is_whole:
                    return
                self.damage.append(f'cut off at byte {end}')
            whole = end
        self.unusable_bytes += self.size - whole

    def _records(self, view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield opcode, begin and end of the content of each record that is whole."""
        while at < end:
            if at + RECORD.size > end:
                self.damage.append(f'cut off at byte {at}')
                return
            op, length = RECORD.unpack_from(view, at)
            if op < _PRIVATE and op not in Op._value2member_map_:
                self.damage.append(f'byte {at} begins no record')
                return
            at += RECORD.size
            if length > end - at:
                self.damage.append(f'cut off in the record at byte {at - RECORD.size}')
                return
            yield op, at, at + length
            at += length

    def _chunk_messages(
        self, body: memoryview, at: int, topics: Collection[str] | None
    ) -> Iterator[Entry]:
        """Yield the messages of a chunk, or none and a note if it is damaged."""
        try:
            size, crc = struct.unpack_from('<QI', body, 16)
            compression, place = _text(body, 28)
            content: Any = body[place + 8 :]
            if compression:
                content = memoryview(DECOMPRESSORS[compression](bytes(content)))
            if len(content) != size:
                raise ValueError(f'holds {len(content)} bytes, expected {size}')
            if self._verify and crc and crc32(content) != crc:
                raise ValueError('has a wrong checksum')
        except Exception as err:  # the decompressors have errors of their own
            self.damage.append(f'the chunk at byte {at} {err}')
            self.unusable_bytes += len(body)
            return
        yield from self._messages(content, 0, size, topics)

    def _messages(
        self, view: memoryview, at: int, end: int, topics: Collection[str] | None
    ) -> Iterator[Entry]:
        for op, begin, stop in self._records(view, at, end):
            if op != Op.MESSAGE:
                self._note(op, view[begin:stop])
                continue
            if stop - begin < MESSAGE.size - RECORD.size:
                self.damage.append(f'a message of {stop - begin} bytes is too short')
                return
            _, _, number, _, log_ns, publish_ns = MESSAGE.unpack_from(view, begin - RECORD.size)
            channel = self.channels.get(number)
            if channel is None:
                self.damage.append(f'a message names channel {number}, which is not known')
            elif topics is None or channel.topic in topics:
                yield Entry(
                    channel, log_ns, publish_ns, view[begin - RECORD.size + MESSAGE.size : stop]
                )

    def _note(self, op: int, body: memoryview) -> None:
        """Take up a schema, channel or metadata record."""
        try:
            if op == Op.SCHEMA:
                (number,) = struct.unpack_from('<H', body)
                kind, at = _text(body, 2)
                encoding, at = _text(body, at)
                self._schemas[number] = (kind, encoding, _text(body, at)[0])
            elif op == Op.CHANNEL:
                number, schema = struct.unpack_from('<HH', body)
                topic, at = _text(body, 4)
                _, at = _text(body, at)
                about = _mapping(body, at)
                kind, encoding, definition = self._schemas[schema]
                digest = about.get('topic_type_hash', '')
                qos = about.get('offered_qos_profiles', '')
                channel = Channel(topic, kind, definition, digest, qos, encoding)
                self.channels.setdefault(number, channel)
            elif op == Op.METADATA:
                name, at = _text(body, 0)
                self.metadata[name] = _mapping(body, at)
        except (struct.error, UnicodeDecodeError, KeyError) as err:
            self.damage.append(f'a {Op(op).name.lower()} record is damaged ({err})')


def _text(view: memoryview, at: int) -> tuple[str, int]:
    """Return a string and where it ends."""
    (length,) = struct.unpack_from('<I', view, at)
    at += 4
    return bytes(view[at : at + length]).decode(), at + length


def _mapping(view: memoryview, at: int) -> dict[str, str]:
    (length,) = struct.unpack_from('<I', view, at)
    at += 4
    end, found = at + length, {}
    while at < end:
        key, at = _text(view, at)
        found[key], at = _text(view, at)
    return found
