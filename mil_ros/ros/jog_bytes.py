"""JointJog as bytes: the stream to Servo differs in its stamps and velocities alone."""

from __future__ import annotations

from collections.abc import Sequence
import struct
from typing import Final

from control_msgs.msg import JointJog
from rclpy.serialization import serialize_message

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.types import Vector

_STAMP: Final = struct.Struct('<iI')
_STAMP_AT: Final = 4


class JogBytes:
    """Writes commands; rclpy would build every joint name anew, a hundred times a second."""

    def __init__(self, joint_names: Sequence[str]) -> None:
        """Lay out a command for these joints."""
        marks = [1.0 + number for number in range(len(joint_names))]
        marked = JointJog(joint_names=list(joint_names), velocities=marks)
        self._velocities = struct.Struct(f'<{len(marks)}d')
        self._data = bytearray(serialize_message(marked))
        self._velocities_at = self._data.index(self._velocities.pack(*marks))

    def write(self, stamp_ns: int, velocities: Vector) -> bytes:
        """Return a command.

        Args:
            stamp_ns: By the node's clock.
            velocities: In the order of the names, (J,) in rad/s.
        """
        _STAMP.pack_into(self._data, _STAMP_AT, *divmod(stamp_ns, NS_PER_S))
        self._velocities.pack_into(self._data, self._velocities_at, *velocities.tolist())
        return bytes(self._data)
