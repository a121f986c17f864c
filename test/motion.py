"""One motion of an arm as an episode holds it, however the arm was moved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from serialised import IMAGE, JOINT_JOG, JOINT_STATE, make_header, START_NS

from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode_streams import TELEOP_TOPIC
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.messages import typestore

NOTHING = np.zeros(0)
REST_S = 0.5  # before the motion
MOVE_S = 2.0
WAY_RAD = np.array([0.6, -0.3, 0.15, 0.45, -0.6, 0.05, 0.0])


@dataclass
class Motion:
    """What is recorded: times in s since the start, and values; what a test wants odd, it sets.

    Attributes:
        image_s, images: Frames, RGB.
        joint_s, positions, velocities: Joint states, (N, J) each; None where none are measured.
        command_s, commands: What a teleoperator asks for, (M, J).
        names: Of the joints in every message.
    """

    robot: RobotDescription
    image_s: np.ndarray
    images: list[np.ndarray]
    joint_s: np.ndarray
    positions: np.ndarray
    velocities: np.ndarray | None
    command_s: np.ndarray
    commands: np.ndarray
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.names = list(self.robot.joint_names)

    def write(self, path: Path, *, with_commands: bool = True, **provenance: str) -> Path:
        """Write it as an episode, every message as it is measured."""
        topics = self.robot.topics
        kinds = {
            topics.image: IMAGE,
            topics.joint_states: JOINT_STATE,
            TELEOP_TOPIC: JOINT_JOG,
        }
        messages = [(at_s, topics.image, self._image(i)) for i, at_s in enumerate(self.image_s)]
        for i, at_s in enumerate(self.joint_s):
            speeds = NOTHING if self.velocities is None else self.velocities[i]
            messages.append((at_s, topics.joint_states, (self.positions[i], speeds, NOTHING)))
        if with_commands:
            for i, at_s in enumerate(self.command_s):
                messages.append((at_s, TELEOP_TOPIC, (NOTHING, self.commands[i], 0.0)))
        writer = EpisodeWriter(path, kinds, provenance)
        for at_s, topic, values in sorted(messages, key=lambda message: message[0]):
            stamp_ns = START_NS + round(at_s * 1e9)
            named = values if topic == topics.image else (list(self.names), *values)
            message = typestore().types[kinds[topic]](make_header(stamp_ns), *named)
            data = bytes(typestore().serialize_cdr(message, kinds[topic]))
            writer.write(topic, data, stamp_ns)
        writer.close()
        return path

    def _image(self, index: int) -> tuple[Any, ...]:
        frame = self.images[index]
        height, width, _ = frame.shape
        return height, width, 'rgb8', 0, 3 * width, frame.ravel()


def make_motion(robot: RobotDescription, rng: np.random.Generator, rest_s: float = 1.0) -> Motion:
    """Return a smooth motion to another pose, its joint states stamped unevenly.

    A joystick commands it from the beginning to the end, zeros at rest. Each frame shows its
    number.
    """
    end_s = REST_S + MOVE_S + rest_s
    joint_s = np.arange(0.0, end_s, 1.0 / robot.joint_states.rate_hz)
    joint_s = joint_s + rng.uniform(0.0, 0.4, len(joint_s)) / robot.joint_states.rate_hz
    image_s = np.arange(0.0, end_s, 1.0 / robot.camera.rate_hz)
    size = (robot.camera.height, robot.camera.width, 3)
    command_s = np.arange(0.0, end_s, 0.02)
    share, _ = reach(joint_s)
    _, joint_speeds = reach(joint_s)
    _, command_speeds = reach(command_s)
    return Motion(
        robot,
        image_s,
        [np.full(size, i, np.uint8) for i in range(len(image_s))],
        joint_s,
        robot.home + share[:, None] * WAY_RAD,
        joint_speeds[:, None] * WAY_RAD,
        command_s,
        command_speeds[:, None] * WAY_RAD,
    )


def reach(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the way gone, and of it per s, with the least jerk."""
    s = np.clip((seconds - REST_S) / MOVE_S, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2), 30.0 * s**2 * (1.0 - s) ** 2 / MOVE_S
