"""What is noted of an episode while it is written: times of all messages, motion of the joints."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import DemoError
from mil_ros.core.streams import StreamTimes
from mil_ros.data.definitions import describe_type
from mil_ros.data.messages import deserialize, joints_in_order
from mil_ros.data.preroll import Arrival

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
    """Takes note of each message without decoding it, but for a joint state now and then.

    Attributes:
        fault: Why the joint states cannot be used; empty while they can.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        joint_topic: str,
        joint_names: tuple[str, ...],
        start_ns: int = 0,
    ) -> None:
        """Begin empty.

        Args:
            kinds: Type of each topic.
            joint_topic: Where joint states come.
            joint_names: Joints of the arm.
            start_ns: Before this, motion does not count.
        """
        self.fault = ''
        self._has_stamps = {t: describe_type(kind).has_header for t, kind in kinds.items()}
        self._received: dict[str, array[int]] = {topic: array('q') for topic in kinds}
        self._stamps: dict[str, array[int]] = {topic: array('q') for topic in kinds}
        self._joint_topic, self._joint_names = joint_topic, joint_names
        self._pose_due_ns = start_ns
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
        try:
            message = deserialize(data, JOINT_STATE)
            pose = joints_in_order(
                message.name, message.position, self._joint_names, self._joint_topic
            )
        except DemoError as err:
            self.fault = self.fault or str(err)
            return
        except Exception as err:  # rosbags raises struct, index and assertion errors alike
            self.fault = self.fault or (
                f'{self._joint_topic} brings {len(data)} bytes that are no {JOINT_STATE} ({err}); '
                'check its publisher.'
            )
            return
        self._lowest = pose if self._lowest is None else np.minimum(self._lowest, pose)
        self._highest = pose if self._highest is None else np.maximum(self._highest, pose)
