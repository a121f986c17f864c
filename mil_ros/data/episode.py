"""Episodes on disk: a rosbag2 folder (MCAP, metadata version 8) per demonstration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import common_moments, indices_as_of, NS_PER_S, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Image
from mil_ros.data.action import find_action
from mil_ros.data.episode_streams import EpisodeStreams, open_bag, read_streams, TELEOP_TOPIC
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.messages import image_to_rgb
from mil_ros.data.metadata import read_metadata

__all__ = [
    'TELEOP_TOPIC',
    'AlignedEpisode',
    'EpisodeStreams',
    'EpisodeWriter',
    'align_episode',
    'check_length',
    'load_demo',
    'read_provenance',
    'read_streams',
]

_MIN_STEPS: Final = 5


@dataclass(frozen=True, eq=False, slots=True)
class AlignedEpisode:
    """An episode as of evenly spaced moments, from the first motion on.

    Attributes:
        name: For messages.
        robot: The arm that it is of.
        moments_ns: At the policy's rate, (T,).
        messages: The image message as of each moment, T of them.
        positions: (T, J) rad.
        velocities: Demonstrated action, (T, J) rad/s.
        ages_s: How old the image, the joint state and the action were, (T, 3).
        action_source: What the action is: ``commanded`` or ``measured``.
    """

    name: str
    robot: RobotDescription
    moments_ns: NDArray[np.int64]
    messages: list[Any]
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    ages_s: NDArray[np.float64]
    action_source: str

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
        DemoError: If it was recorded with another arm or camera, or holds no action.
    """
    aligned = align_episode(path, robot)
    height, width = robot.policy.image_height, robot.policy.image_width
    frames = [resize_area(image, height, width) for image in aligned.images()]
    return Demo(
        np.stack(frames),
        aligned.positions.astype(np.float32),
        aligned.velocities.astype(np.float32),
        aligned.action_source,
    )


def align_episode(path: Path, robot: RobotDescription) -> AlignedEpisode:
    """Bring the streams of an episode to common moments at the policy's rate.

    The moments run from the first motion to the last command, or to a second after the last
    measured motion. Every sample is the newest as of its moment; the action is a command or the
    velocity of the joint state that the positions are of, as the robot file says.

    Raises:
        EpisodeError: If the episode is missing, empty or truncated, or lacks a stream.
        DemoError: If it was recorded with another arm, or holds no action.
    """
    streams = read_streams(path, robot)
    image = Stream(robot.topics.image, streams.image_stamps_ns, robot.camera.max_age_s)
    joints = Stream(
        robot.topics.joint_states, streams.joint_stamps_ns, robot.joint_states.max_age_s
    )
    try:
        action = find_action(streams, robot)
        used = (image, joints, action.stream)
        moments = common_moments([*used], robot.policy.rate_hz)
        moments = moments[(action.begin_ns <= moments) & (moments <= action.end_ns)]
        check_length(len(moments), robot.policy.rate_hz)
        picked = [indices_as_of(stream, moments) for stream in used]
    except DemoError as err:
        raise DemoError(f'Episode {path.name}: {err}') from err
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err
    ages_ns = [moments - s.stamps_ns[i] for s, i in zip(used, picked, strict=True)]
    return AlignedEpisode(
        path.name,
        robot,
        moments,
        [streams.images[index] for index in picked[0]],
        streams.positions[picked[1]],
        action.velocities[picked[2]],
        np.stack(ages_ns, axis=1) / NS_PER_S,
        action.source,
    )


def check_length(steps: int, rate_hz: float) -> None:
    """Raise `DemoError` if a demonstration is too short to learn from."""
    if steps < _MIN_STEPS:
        raise DemoError(
            f'It holds {steps / rate_hz:.1f} s of motion, expected at least '
            f'{_MIN_STEPS / rate_hz:.1f} s; record a whole demonstration.'
        )


def read_provenance(path: Path) -> dict[str, str]:
    """Return what the recorder noted about an episode."""
    open_bag(path).close()  # for the sentence if it cannot be read
    return dict(read_metadata(path)['custom_data'])
