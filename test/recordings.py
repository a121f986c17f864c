"""Recorded episodes whose every value is a function of its stamp."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode import EpisodeWriter, TELEOP_TOPIC
from mil_ros.data.messages import typestore
from mil_ros.data.synthetic import SyntheticSource

MS = 1_000_000
START_MS = 1_700_000_000_000
NOTHING = np.zeros(0)
REST_MS = 500  # before the demonstration begins
PROVENANCE = {'task': 'reach #ff8000', 'robot': 'tiny', 'software': 'mil_ros 0.1.0'}


@dataclass
class Recording:
    """Streams whose every value is a function of its stamp; what a test wants odd, it sets.

    An image shows the number of its frame, positions and commands are sums of time and joint.
    """

    robot: RobotDescription
    image_ms: list[int] = field(default_factory=lambda: list(range(0, 2000, 33)))
    joint_ms: list[int] = field(default_factory=lambda: list(range(3, 2000, 10)))
    action_ms: list[int] = field(default_factory=lambda: list(range(7, 2000, 20)))
    size: tuple[int, int] = (24, 32)
    names: list[str] = field(default_factory=list)
    speed: float = 1.0
    encoding: str = 'rgb8'

    def __post_init__(self) -> None:
        self.names = [*reversed(self.robot.joint_names), 'gripper']

    @staticmethod
    def position(ms: int, joint: int) -> float:
        return ms / 1000.0 + joint

    def velocity(self, ms: int, joint: int) -> float:
        return 0.0 if ms < REST_MS else self.speed * (0.1 + ms / 4000.0 + joint / 10.0)

    def messages(self) -> list[tuple[str, int, Any]]:
        """Return topic, stamp and message of everything, stream by stream."""
        topics, found = self.robot.topics, []
        numbers = {name: i for i, name in enumerate(self.robot.joint_names)}
        for k, ms in enumerate(self.image_ms):
            found.append((topics.image, ms, self._image(ms, k)))
        for ms in self.joint_ms:
            values = np.array([self.position(ms, numbers.get(n, 50)) for n in self.names])
            kind = 'sensor_msgs/msg/JointState'
            message = self._make(kind, ms, self.names, values, NOTHING, NOTHING)
            found.append((topics.joint_states, ms, message))
        for ms in self.action_ms:
            names = list(self.robot.joint_names)
            values = np.array([self.velocity(ms, i) for i in range(len(names))])
            kind = 'control_msgs/msg/JointJog'
            message = self._make(kind, ms, names, NOTHING, values, 0.0)
            found.append((TELEOP_TOPIC, ms, message))
        return found

    def _image(self, ms: int, number: int) -> Any:
        height, width = self.size
        data = self.draw(number).ravel()
        kind = 'sensor_msgs/msg/Image'
        return self._make(kind, ms, height, width, self.encoding, 0, 3 * width, data)

    def draw(self, number: int) -> np.ndarray:
        """Return frame `number`, (H, W, 3)."""
        return np.full((*self.size, 3), number, dtype=np.uint8)

    @staticmethod
    def _make(kind: str, ms: int, *values: Any) -> Any:
        types = typestore().types
        sec, rest_ms = divmod(START_MS + ms, 1000)
        stamp = types['builtin_interfaces/msg/Time'](sec, rest_ms * MS)
        return types[kind](types['std_msgs/msg/Header'](stamp, ''), *values)

    def write(self, path: Path, **provenance: str) -> Path:
        """Write it in the order of arrival, images late as they are on a network."""
        topics = self.robot.topics
        kinds = {
            topics.image: 'sensor_msgs/msg/Image',
            topics.joint_states: 'sensor_msgs/msg/JointState',
            TELEOP_TOPIC: 'control_msgs/msg/JointJog',
        }
        delays_ms = {topics.image: 80, topics.joint_states: 1, TELEOP_TOPIC: 5}
        arrivals = sorted(
            ((ms + delays_ms[topic], topic, message) for topic, ms, message in self.messages()),
            key=lambda arrival: arrival[0],
        )
        writer = EpisodeWriter(path, kinds, PROVENANCE | provenance)
        for ms, topic, message in arrivals:
            data = typestore().serialize_cdr(message, kinds[topic])
            writer.write(topic, bytes(data), (START_MS + ms) * MS)
        writer.close()
        return path


class Film(Recording):
    """Pictures that tell their number even as a video, positions that the arm can take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        camera = self.robot.camera
        self.size = (camera.height, camera.width)
        source = SyntheticSource(camera.width, camera.height, camera.rate_hz)
        self.pictures = []
        for _ in self.image_ms:
            source.grab()
            self.pictures.append(source.retrieve())

    def draw(self, number: int) -> np.ndarray:
        return self.pictures[number]

    def position(self, ms: int, joint: int) -> float:
        if joint >= len(self.robot.joints):
            return 0.0
        at = self.robot.joints[joint]
        return float((at.lower_rad + at.upper_rad) / 2.0 + 0.2 * np.sin(ms / 300.0 + joint))
