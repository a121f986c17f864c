"""What is noted of an episode while it is written: times of all messages, motion and commands."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.errors import DemoError
from mil_ros.core.streams import StreamTimes
from mil_ros.data.definitions import describe_type
from mil_ros.data.messages import deserialize, joints_in_order
from mil_ros.data.preroll import Arrival

JOINT_JOG: Final = 'control_msgs/msg/JointJog'
JOINT_STATE: Final = 'sensor_msgs/msg/JointState'
_STAMPS: Final = (struct.Struct('>iI'), struct.Struct('<iI'))  # big and little end first
_STAMP_AT: Final = 4  # CDR's own header comes before
_POSE_PERIOD_NS: Final = 100_000_000  # decoding every joint state would cost a core's tenth


def read_stamp_ns(data: bytes | memoryview) -> int:
    """Return the header stamp of a serialised message that begins with a header, in ns.

    A message that is too short for a stamp counts as stamped zero, which is refused later on.
    """
    if len(data) < _STAMP_AT + _STAMPS[0].size:
        return 0
    sec, nanosec = _STAMPS[data[1] & 1].unpack_from(data, _STAMP_AT)
    return int(sec) * 1_000_000_000 + int(nanosec)


class EpisodeLog:
    """Notes each message; of joint states, which are many, it decodes one now and then only.

    Attributes:
        fault: Why joint states or commands cannot be used; empty while they can.
        speed_rad_s: How fast the fastest joint was; None before the second joint state.
        command_rad_s: The fastest command of a joint; None before the first.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        joint_topic: str,
        joint_names: tuple[str, ...],
        command_topic: str,
        start_ns: int = 0,
    ) -> None:
        """Begin empty.

        Args:
            kinds: Type of each topic.
            joint_topic: Where joint states come.
            joint_names: Joints of the arm.
            command_topic: Where a teleoperator commands.
            start_ns: Before this, motion does not count.
        """
        self.fault = ''
        self.speed_rad_s: float | None = None
        self.command_rad_s: float | None = None
        self._has_stamps = {t: describe_type(kind).has_header for t, kind in kinds.items()}
        self._received: dict[str, array[int]] = {topic: array('q') for topic in kinds}
        self._stamps: dict[str, array[int]] = {topic: array('q') for topic in kinds}
        self._joint_topic, self._joint_names = joint_topic, joint_names
        self._command_topic = command_topic
        self._pose_due_ns = start_ns
        self._newest: tuple[int, NDArray[np.float64]] | None = None  # stamp and pose
        self._lowest: NDArray[np.float64] | None = None
        self._highest: NDArray[np.float64] | None = None

    @property
    def motion_rad(self) -> float | None:
        """The widest range that a joint has moved in; None before the first joint state."""
        if self._lowest is None or self._highest is None:
            return None
        return float((self._highest - self._lowest).max())

    def note(self, arrival: Arrival) -> None:
        """Note one message."""
        topic, data, received_ns = arrival
        self._received[topic].append(received_ns)
        if self._has_stamps[topic]:
            self._stamps[topic].append(read_stamp_ns(data))
        if topic == self._joint_topic and received_ns >= self._pose_due_ns:
            self._pose_due_ns = received_ns + _POSE_PERIOD_NS
            self._note_pose(data)
        elif topic == self._command_topic:
            self._note_command(data)

    def trim(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Forget the last messages of each topic until `counts` are left.

        Returns:
            How many were forgotten, by topic.
        """
        forgotten = {}
        for topic, count in counts.items():
            if over := len(self._received[topic]) - count:
                forgotten[topic] = over
                del self._received[topic][count:]
                del self._stamps[topic][count:]
        return forgotten

    def streams(self, dropped: Mapping[str, int], lost: Mapping[str, int]) -> list[StreamTimes]:
        """Return the times of every topic that something is known of."""
        return [
            StreamTimes(
                topic,
                np.array(received, dtype=np.int64),
                np.array(self._stamps[topic], dtype=np.int64) if self._has_stamps[topic] else None,
                dropped.get(topic, 0),
                lost.get(topic, 0),
            )
            for topic, received in self._received.items()
            if received or dropped.get(topic) or lost.get(topic)
        ]

    def _note_pose(self, data: bytes) -> None:
        pose = self._decode(self._joint_topic, JOINT_STATE, data, 'name', 'position')
        if pose is None:
            return
        self._lowest = pose if self._lowest is None else np.minimum(self._lowest, pose)
        self._highest = pose if self._highest is None else np.maximum(self._highest, pose)
        stamp_ns = read_stamp_ns(data)
        if self._newest is not None and stamp_ns > self._newest[0]:
            before_ns, before = self._newest
            speed = float(np.abs(pose - before).max()) * NS_PER_S / (stamp_ns - before_ns)
            self.speed_rad_s = max(speed, self.speed_rad_s or 0.0)
        self._newest = stamp_ns, pose

    def _note_command(self, data: bytes) -> None:
        command = self._decode(self._command_topic, JOINT_JOG, data, 'joint_names', 'velocities')
        if command is not None:
            self.command_rad_s = max(float(np.abs(command).max()), self.command_rad_s or 0.0)

    def _decode(
        self, topic: str, kind: str, data: bytes, names: str, values: str
    ) -> NDArray[np.float64] | None:
        """Return a value for each joint, (J,); None and a fault if the message has none."""
        try:
            message = deserialize(data, kind)
            found = getattr(message, names), getattr(message, values)
            return joints_in_order(*found, self._joint_names, topic)
        except DemoError as err:
            self.fault = self.fault or str(err)
        except Exception as err:  # rosbags raises struct, index and assertion errors alike
            self.fault = self.fault or (
                f'{topic} brings {len(data)} bytes that are no {kind} ({err}); check its '
                'publisher.'
            )
        return None
