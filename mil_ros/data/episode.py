"""Episodes on disk: a rosbag2 folder (MCAP, metadata version 8) per demonstration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, ReaderError

from mil_ros.core.alignment import common_moments, indices_as_of, NS_PER_S, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Image
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.messages import deserialize, image_to_rgb, joints_in_order, stamp_ns
from mil_ros.data.metadata import read_metadata

__all__ = [
    'MOTION_RAD_S',
    'TELEOP_TOPIC',
    'AlignedEpisode',
    'EpisodeStreams',
    'EpisodeWriter',
    'align_episode',
    'check_length',
    'find_motion',
    'load_demo',
    'read_provenance',
    'read_streams',
]

TELEOP_TOPIC: Final = '/teleop/joint_jog'
MOTION_RAD_S: Final = 0.02  # a demonstration begins when a joint is commanded faster than this
_ACTION_MAX_AGE_S: Final = 0.25
_MIN_STEPS: Final = 5


@dataclass(frozen=True, eq=False, slots=True)
class EpisodeStreams:
    """What an episode holds of the streams that a demonstration needs, by header stamp."""

    image_stamps_ns: NDArray[np.int64]
    images: list[Any]  # messages, decoded only when used
    joint_stamps_ns: NDArray[np.int64]
    positions: NDArray[np.float64]  # (N, J) rad
    action_stamps_ns: NDArray[np.int64]
    velocities: NDArray[np.float64]  # (M, J) rad/s


@dataclass(frozen=True, eq=False, slots=True)
class AlignedEpisode:
    """An episode as of evenly spaced moments, from the first commanded motion to the last command.

    Attributes:
        name: For messages.
        robot: The arm that it is of.
        moments_ns: At the policy's rate, (T,).
        messages: The image message as of each moment, T of them.
        positions: (T, J) rad.
        velocities: The newest teleoperation command, (T, J) rad/s.
        ages_s: How old the image, the joint state and the command were, (T, 3).
    """

    name: str
    robot: RobotDescription
    moments_ns: NDArray[np.int64]
    messages: list[Any]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    ages_s: NDArray[np.float64]

    def images(self) -> Iterator[Image]:
        """Yield the frames at the camera's size, (H, W, 3) each.

        Raises:
            DemoError: If they are of another size, or of an unknown encoding.
        """
        camera = self.robot.camera
        for message in self.messages:
            rgb = image_to_rgb(message)
            if rgb.shape[:2] != (camera.height, camera.width):
                raise DemoError(
                    f'Episode {self.name} has images of {rgb.shape[1]}x{rgb.shape[0]}, robot '
                    f'{self.robot.name!r} expects {camera.width}x{camera.height}; record with '
                    'that camera or correct the robot file.'
                )
            yield rgb


def load_demo(path: Path, robot: RobotDescription) -> Demo:
    """Read the demonstration of an episode, aligned at the policy's rate.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm or camera.
    """
    aligned = align_episode(path, robot)
    height, width = robot.policy.image_height, robot.policy.image_width
    frames = [resize_area(image, height, width) for image in aligned.images()]
    return Demo(
        np.stack(frames),
        aligned.positions.astype(np.float32),
        aligned.velocities.astype(np.float32),
    )


def align_episode(path: Path, robot: RobotDescription) -> AlignedEpisode:
    """Bring the streams of an episode to common moments at the policy's rate.

    The moments run from the first commanded motion to the last command; every sample is the
    newest as of its moment.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm.
    """
    streams = read_streams(path, robot)
    image = Stream(robot.topics.image, streams.image_stamps_ns, robot.camera.max_age_s)
    joints = Stream(
        robot.topics.joint_states, streams.joint_stamps_ns, robot.joint_states.max_age_s
    )
    action = Stream(TELEOP_TOPIC, streams.action_stamps_ns, _ACTION_MAX_AGE_S)
    begin = find_motion(path.name, streams.action_stamps_ns, streams.velocities)
    try:
        moments = common_moments([image, joints, action], robot.policy.rate_hz)
        moments = moments[moments >= begin]
        check_length(path.name, len(moments), robot.policy.rate_hz)
        picked = [indices_as_of(stream, moments) for stream in (image, joints, action)]
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err
    ages_ns = [moments - s.stamps_ns[i] for s, i in zip((image, joints, action), picked)]
    return AlignedEpisode(
        path.name,
        robot,
        moments,
        [streams.images[index] for index in picked[0]],
        streams.positions[picked[1]],
        streams.velocities[picked[2]],
        np.stack(ages_ns, axis=1) / NS_PER_S,
    )


def find_motion(
    name: str, stamps_ns: NDArray[np.int64], velocities: NDArray[np.floating]
) -> np.int64:
    """Return when the first motion is commanded.

    Args:
        name: Of the episode, for messages.
        stamps_ns: Of the commands, (M,).
        velocities: Commanded, (M, J) rad/s.

    Raises:
        DemoError: If none is.
    """
    moving = np.abs(velocities).max(axis=1, initial=0.0) > MOTION_RAD_S
    if not moving.any():
        raise DemoError(
            f'Episode {name} holds no motion: no command exceeds {MOTION_RAD_S} rad/s; record '
            'the task being done.'
        )
    return np.int64(stamps_ns[np.argmax(moving)])


def check_length(name: str, steps: int, rate_hz: float) -> None:
    """Raise `DemoError` if a demonstration is too short to learn from."""
    if steps < _MIN_STEPS:
        raise DemoError(
            f'Episode {name} holds {steps / rate_hz:.1f} s of motion, expected at least '
            f'{_MIN_STEPS / rate_hz:.1f} s; record a whole demonstration.'
        )


def read_streams(path: Path, robot: RobotDescription) -> EpisodeStreams:
    """Read images, joint states and teleoperation commands of an episode."""
    wanted = (robot.topics.image, robot.topics.joint_states, TELEOP_TOPIC)
    messages = _read_messages(path, wanted)
    for topic in wanted:
        if not messages[topic]:
            raise EpisodeError(
                f'Episode {path.name} has no messages on {topic}; expected images, joint states '
                'and teleoperation commands. Check that its publisher runs and record it again.'
            )
    names = robot.joint_names
    images = messages[robot.topics.image]
    joints = messages[robot.topics.joint_states]
    jogs = messages[TELEOP_TOPIC]
    return EpisodeStreams(
        _stamps(images),
        images,
        _stamps(joints),
        np.stack(
            [joints_in_order(m.name, m.position, names, robot.topics.joint_states) for m in joints]
        ),
        _stamps(jogs),
        np.stack(
            [joints_in_order(m.joint_names, m.velocities, names, TELEOP_TOPIC) for m in jogs]
        ),
    )


def read_provenance(path: Path) -> dict[str, str]:
    """Return what the recorder noted about an episode."""
    _open(path).close()  # for the sentence if it cannot be read
    return dict(read_metadata(path)['custom_data'])


def _open(path: Path) -> Reader:
    if not path.is_dir():
        raise EpisodeError(
            f'No episode at {path}; expected a rosbag2 folder, record one with '
            '/recorder/start and /recorder/stop.'
        )
    try:
        reader = Reader(path)
        reader.open()
    except (ReaderError, OSError, ValueError, KeyError, TypeError, AssertionError) as err:
        raise EpisodeError(
            f'Episode {path.name} cannot be read ({err}); it was cut off or is no rosbag2 '
            'folder, expected a recording that /recorder/stop has finished. Try `mil inspect '
            '--repair`, or record it again.'
        ) from err
    return reader


def _read_messages(path: Path, topics: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the messages of each topic, sorted by header stamp."""
    found: dict[str, list[Any]] = {topic: [] for topic in topics}
    reader = _open(path)
    try:
        connections = [c for c in reader.connections if c.topic in found]
        for connection, _, raw in reader.messages(connections):
            found[connection.topic].append(deserialize(raw, connection.msgtype))
    except Exception as err:  # the storage readers raise struct, index and zlib errors alike
        raise EpisodeError(
            f'Episode {path.name} is truncated or damaged ({type(err).__name__}: {err}); '
            'expected whole messages, record it again.'
        ) from err
    finally:
        reader.close()
    for messages in found.values():
        messages.sort(key=lambda m: stamp_ns(m.header))
    return found


def _stamps(messages: list[Any]) -> NDArray[np.int64]:
    return np.array([stamp_ns(m.header) for m in messages], dtype=np.int64)
