"""Episodes on disk: a rosbag2 folder (MCAP, metadata version 8) per demonstration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader, ReaderError

from mil_ros.core.alignment import common_moments, indices_as_of, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.messages import deserialize, image_to_rgb, joints_in_order, stamp_ns
from mil_ros.data.metadata import read_metadata

__all__ = [
    'MOTION_RAD_S',
    'TELEOP_TOPIC',
    'EpisodeStreams',
    'EpisodeWriter',
    'load_demo',
    'read_provenance',
    'read_raw',
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


def load_demo(path: Path, robot: RobotDescription) -> Demo:
    """Read the demonstration of an episode, aligned at the policy's rate.

    The moments run from the first commanded motion to the last command; the action of a moment is
    the newest teleoperation command as of then.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm or camera.
    """
    streams = read_streams(path, robot)
    camera = robot.camera
    image = Stream(robot.topics.image, streams.image_stamps_ns, camera.max_age_s)
    joints = Stream(
        robot.topics.joint_states, streams.joint_stamps_ns, robot.joint_states.max_age_s
    )
    action = Stream(TELEOP_TOPIC, streams.action_stamps_ns, _ACTION_MAX_AGE_S)
    moving = np.abs(streams.velocities).max(axis=1) > MOTION_RAD_S
    if not moving.any():
        raise DemoError(
            f'Episode {path.name} holds no motion: no command on {TELEOP_TOPIC} exceeds '
            f'{MOTION_RAD_S} rad/s; record the task being done.'
        )
    begin = streams.action_stamps_ns[np.argmax(moving)]
    try:
        moments = common_moments([image, joints, action], robot.policy.rate_hz)
        moments = moments[moments >= begin]
        if len(moments) < _MIN_STEPS:
            raise DemoError(
                f'Episode {path.name} holds {len(moments) / robot.policy.rate_hz:.1f} s of '
                f'motion, expected at least {_MIN_STEPS / robot.policy.rate_hz:.1f} s; '
                'record a whole demonstration.'
            )
        picked = indices_as_of(image, moments)
        positions = streams.positions[indices_as_of(joints, moments)]
        velocities = streams.velocities[indices_as_of(action, moments)]
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err
    frames = []
    for index in picked:
        rgb = image_to_rgb(streams.images[index])
        if rgb.shape[:2] != (camera.height, camera.width):
            raise DemoError(
                f'Episode {path.name} has images of {rgb.shape[1]}x{rgb.shape[0]}, robot '
                f'{robot.name!r} expects {camera.width}x{camera.height}; record with that camera '
                'or correct the robot file.'
            )
        frames.append(resize_area(rgb, robot.policy.image_height, robot.policy.image_width))
    return Demo(np.stack(frames), positions.astype(np.float32), velocities.astype(np.float32))


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


def read_raw(path: Path, topics: Collection[str]) -> dict[str, list[tuple[bytes, str]]]:
    """Return the serialised messages of each topic and their type, in the order of the bag.

    Raises:
        EpisodeError: If the episode is missing, truncated or damaged.
    """
    found: dict[str, list[tuple[bytes, str]]] = {topic: [] for topic in topics}
    reader = _open(path)
    try:
        connections = [c for c in reader.connections if c.topic in found]
        for connection, _, raw in reader.messages(connections):
            found[connection.topic].append((bytes(raw), connection.msgtype))
    except Exception as err:  # the storage readers raise struct, index and zlib errors alike
        raise _damaged(path, err) from err
    finally:
        reader.close()
    return found


def _read_messages(path: Path, topics: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return the messages of each topic, sorted by header stamp."""
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
