"""Episodes on disk: a rosbag2 folder (MCAP, metadata version 8) per demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from mil_ros.core.alignment import common_moments, indices_as_of, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.action import find_action
from mil_ros.data.episode_streams import EpisodeStreams, open_bag, read_streams, TELEOP_TOPIC
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.messages import image_to_rgb
from mil_ros.data.metadata import read_metadata

__all__ = [
    'TELEOP_TOPIC',
    'EpisodeStreams',
    'EpisodeWriter',
    'load_demo',
    'read_provenance',
    'read_streams',
]

_MIN_STEPS: Final = 5


def load_demo(path: Path, robot: RobotDescription) -> Demo:
    """Read the demonstration of an episode, aligned at the policy's rate.

    The moments run from the first motion to the last command, or to a second after the last
    measured motion. The action of a moment is the newest command as of then, or the velocity of
    the joint state that its positions are of; the robot file says which.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm or camera, or holds no action.
    """
    streams = read_streams(path, robot)
    camera = robot.camera
    image = Stream(robot.topics.image, streams.image_stamps_ns, camera.max_age_s)
    joints = Stream(
        robot.topics.joint_states, streams.joint_stamps_ns, robot.joint_states.max_age_s
    )
    try:
        action = find_action(streams, robot)
    except DemoError as err:
        raise DemoError(f'Episode {path.name}: {err}') from err
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err
    try:
        moments = common_moments([image, joints, action.stream], robot.policy.rate_hz)
        moments = moments[(action.begin_ns <= moments) & (moments <= action.end_ns)]
        if len(moments) < _MIN_STEPS:
            raise DemoError(
                f'Episode {path.name} holds {len(moments) / robot.policy.rate_hz:.1f} s of '
                f'motion, expected at least {_MIN_STEPS / robot.policy.rate_hz:.1f} s; '
                'record a whole demonstration.'
            )
        picked = indices_as_of(image, moments)
        positions = streams.positions[indices_as_of(joints, moments)]
        velocities = action.velocities[indices_as_of(action.stream, moments)]
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
    return Demo(
        np.stack(frames),
        positions.astype(np.float32),
        velocities.astype(np.float32),
        action.source,
    )


def read_provenance(path: Path) -> dict[str, str]:
    """Return what the recorder noted about an episode."""
    open_bag(path).close()  # for the sentence if it cannot be read
    return dict(read_metadata(path)['custom_data'])
