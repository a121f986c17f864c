"""Reading the streams of an episode that a demonstration is made of."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, ReaderError

from mil_ros.core.errors import EpisodeError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.messages import deserialize, joints_in_order, stamp_ns

TELEOP_TOPIC: Final = '/teleop/joint_jog'


@dataclass(frozen=True, eq=False, slots=True)
class EpisodeStreams:
    """What an episode holds of the streams that a demonstration needs, by header stamp.

    Images and joint states are messages, decoded only when used.
    """

    image_stamps_ns: NDArray[np.int64]
    images: list[Any]
    joint_stamps_ns: NDArray[np.int64]
    joints: list[Any]
    positions: NDArray[np.float64]  # (N, J) rad
    action_stamps_ns: NDArray[np.int64]
    velocities: NDArray[np.float64]  # commanded, (M, J) rad/s; M is 0 if nobody commanded


def read_streams(path: Path, robot: RobotDescription) -> EpisodeStreams:
    """Read images, joint states and, if there are any, teleoperation commands of an episode.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm.
    """
    required = (robot.topics.image, robot.topics.joint_states)
    messages = read_messages(path, (*required, TELEOP_TOPIC))
    for topic in required:
        if not messages[topic]:
            raise EpisodeError(
                f'Episode {path.name} has no messages on {topic}; expected images and joint '
                'states. Check that its publisher runs and record it again.'
            )
    names = robot.joint_names
    images, joints = (messages[topic] for topic in required)
    jogs = messages[TELEOP_TOPIC]
    positions = [joints_in_order(m.name, m.position, names, required[1]) for m in joints]
    commands = [joints_in_order(m.joint_names, m.velocities, names, TELEOP_TOPIC) for m in jogs]
    return EpisodeStreams(
        _stamps(images),
        images,
        _stamps(joints),
        joints,
        np.stack(positions),
        _stamps(jogs),
        np.array(commands).reshape(len(jogs), len(names)),
    )


def open_bag(path: Path) -> Reader:
    """Open an episode.

    Raises:
        EpisodeError: If it is missing or cannot be read.
    """
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


def read_raw(path: Path, topics: Collection[str]) -> dict[str, list[tuple[bytes, str]]]:
    """Return the serialised messages of each topic and their type, in the order of the bag.

    Raises:
        EpisodeError: If the episode is missing, truncated or damaged.
    """
    found: dict[str, list[tuple[bytes, str]]] = {topic: [] for topic in topics}
    reader = open_bag(path)
    try:
        connections = [c for c in reader.connections if c.topic in found]
        for connection, _, raw in reader.messages(connections):
            found[connection.topic].append((bytes(raw), connection.msgtype))
    except Exception as err:  # the storage readers raise struct, index and zlib errors alike
        raise _damaged(path, err) from err
    finally:
        reader.close()
    return found


def read_messages(path: Path, topics: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the messages of each topic, sorted by header stamp.

    Raises:
        EpisodeError: If the episode is missing, truncated or damaged.
    """
    found: dict[str, list[Any]] = {}
    for topic, raw in read_raw(path, topics).items():
        try:
            messages = [deserialize(data, kind) for data, kind in raw]
        except Exception as err:  # rosbags raises struct, index and assertion errors alike
            raise _damaged(path, err) from err
        found[topic] = sorted(messages, key=lambda m: stamp_ns(m.header))
    return found


def _damaged(path: Path, err: Exception) -> EpisodeError:
    return EpisodeError(
        f'Episode {path.name} is truncated or damaged ({type(err).__name__}: {err}); expected '
        'whole messages, record it again.'
    )


def _stamps(messages: list[Any]) -> NDArray[np.int64]:
    return np.array([stamp_ns(m.header) for m in messages], dtype=np.int64)
