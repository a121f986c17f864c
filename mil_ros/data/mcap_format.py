"""MCAP as rosbag2 uses it: the records, and no more of the format than that.

The format is specified at https://mcap.dev/spec.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
import struct
import sys
from typing import Final, NamedTuple

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC: Final = b'\x89MCAP0\r\n'
RECORD: Final = struct.Struct('<BQ')  # opcode, length of what follows
MESSAGE: Final = struct.Struct('<BQHIQQ')  # opcode, length, channel, sequence, log, publish time
MESSAGE_BODY: Final = MESSAGE.size - RECORD.size  # a message's length counts this and its data
COMPRESSORS: Final[dict[str, Callable[[bytes], bytes]]] = {
    'lz4': lz4.frame.compress,
    'zstd': lambda data: zstd.compress(data, 1),
}
DECOMPRESSORS: Final[dict[str, Callable[[bytes], bytes]]] = {
    'lz4': lz4.frame.decompress,
    'zstd': zstd.decompress,
}


class Op(IntEnum):
    """What a record is."""

    HEADER = 0x01
    FOOTER = 0x02
    SCHEMA = 0x03
    CHANNEL = 0x04
    MESSAGE = 0x05
    CHUNK = 0x06
    MESSAGE_INDEX = 0x07
    CHUNK_INDEX = 0x08
    STATISTICS = 0x0B
    METADATA = 0x0C
    METADATA_INDEX = 0x0D
    SUMMARY_OFFSET = 0x0E
    DATA_END = 0x0F


@dataclass(frozen=True, slots=True)
class Channel:
    """One topic of a file.

    Attributes:
        topic: Its name.
        kind: Message type, such as ``sensor_msgs/msg/Image``.
        definition: Text of the message type and of all that it is made of.
        digest: Hash of the type, ``RIHS01_...``; may be empty.
        qos: What its publishers offered, as rosbag2 notes it (YAML); may be empty.
        encoding: Of the definition: ``ros2msg`` or ``ros2idl``.
    """

    topic: str
    kind: str
    definition: str
    digest: str = ''
    qos: str = ''
    encoding: str = 'ros2msg'


class Message(NamedTuple):
    """One serialised message.

    Attributes:
        channel: Index of its channel.
        log_ns: When it came.
        publish_ns: When it was sent; the same as `log_ns` where that is not known.
        data: CDR.
    """

    channel: int
    log_ns: int
    publish_ns: int
    data: bytes | memoryview


def record(op: Op, *parts: bytes) -> bytes:
    """Return a whole record."""
    body = b''.join(parts)
    return RECORD.pack(op, len(body)) + body


def text(value: str) -> bytes:
    """Return a string as MCAP writes it."""
    raw = value.encode()
    return struct.pack('<I', len(raw)) + raw


def mapping(values: Mapping[str, str]) -> bytes:
    """Return a map of strings as MCAP writes it."""
    body = b''.join(text(key) + text(value) for key, value in values.items())
    return struct.pack('<I', len(body)) + body
