"""Joint states straight from their bytes: a driver sends up to a thousand a second.

Messages of one publisher differ in their stamp and values alone, so where these stand is found
once; rclpy would build every name anew. Layout: CDR, little endian, as every ROS 2 middleware
writes it on the machines that run this.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import struct
from typing import Final

import numpy as np

from mil_ros.core.types import Vector
from mil_ros.data.joint_reader import JointReader

_LITTLE_ENDIAN: Final = b'\x00\x01'
_STAMP: Final = struct.Struct('<iI')
_COUNT: Final = struct.Struct('<I')
_HEAD: Final = 4  # bytes before the first field; alignment counts from there
_NAMES: Final = _HEAD + _STAMP.size


@dataclass(frozen=True, slots=True)
class JointSample:
    """What one message says, in the order of the robot file."""

    stamp_ns: int
    positions: Vector
    velocities: Vector | None


@dataclass(slots=True)
class _Layout:
    """Where the values of messages with these first bytes stand."""

    first: bytes  # from behind the stamp to the first position
    size: int
    names: list[str]
    positions: int
    velocities: int
    velocity_count: int


@dataclass(eq=False)
class FastJoints:
    """Reads serialised ``sensor_msgs/JointState``; see `JointReader` for what counts as ours."""

    joint_names: tuple[str, ...]
    _reader: JointReader = field(init=False)
    _layouts: list[_Layout] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = JointReader(self.joint_names)

    def read(self, data: bytes) -> JointSample | None:
        """Return what a message says; None if it is not ours, damaged or without velocities."""
        layout = self._find(data)
        if layout is None:
            return None
        count = len(layout.names)
        seconds, nanoseconds = _STAMP.unpack_from(data, _HEAD)
        message = _Message(
            layout.names,
            np.frombuffer(data, '<f8', count, layout.positions),
            np.frombuffer(data, '<f8', layout.velocity_count, layout.velocities),
            seconds * 1_000_000_000 + nanoseconds,
        )
        positions = self._reader.positions(message)
        if positions is None:
            return None
        velocities = self._reader.velocities_at(message, message.stamp_ns)
        return JointSample(message.stamp_ns, positions, velocities)

    def _find(self, data: bytes) -> _Layout | None:
        for layout in self._layouts:
            if len(data) == layout.size and data.startswith(layout.first, _NAMES):
                return layout
        try:
            found = _parse(data)
        except (struct.error, UnicodeDecodeError):
            return None
        if found is not None:
            self._layouts = [found, *self._layouts][:4]  # of the arm, a gripper, ...
        return found


@dataclass(frozen=True, slots=True)
class _Message:
    """The fields of a JointState that are read."""

    name: list[str]
    position: np.ndarray
    velocity: np.ndarray
    stamp_ns: int


def _parse(data: bytes) -> _Layout | None:
    """Find the values of a message; None if it is cut off or written otherwise."""
    if data[:2] != _LITTLE_ENDIAN:
        return None
    at = _skip_text(data, _NAMES)[1]
    (count,) = _COUNT.unpack_from(data, at)
    at, names = at + 4, []
    for _ in range(count):
        name, at = _skip_text(data, at)
        names.append(name)
    position_count, positions = _find_values(data, at)
    velocity_count, velocities = _find_values(data, positions + 8 * position_count)
    if position_count < count or velocities + 8 * velocity_count > len(data):
        return None
    return _Layout(data[_NAMES:positions], len(data), names, positions, velocities, velocity_count)


def _skip_text(data: bytes, at: int) -> tuple[str, int]:
    """Return a string that stands at a place, and the next place for a number."""
    (size,) = _COUNT.unpack_from(data, at)
    end = at + 4 + size
    return data[at + 4 : end - 1].decode(), _align(end, 4)


def _find_values(data: bytes, at: int) -> tuple[int, int]:
    """Return how many numbers a sequence has, and where the first one stands."""
    at = _align(at, 4)
    (count,) = _COUNT.unpack_from(data, at)
    return count, _align(at + 4, 8) if count else at + 4


def _align(at: int, size: int) -> int:
    return at + -(at - _HEAD) % size
