"""Demonstrations by video alone, and the choice of what a policy is shown of an episode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.alignment import common_moments, indices_as_of, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.episode import load_demo, read_provenance
from mil_ros.data.episode_streams import read_messages
from mil_ros.data.messages import image_to_rgb, stamp_ns


def load_shown(path: Path, robot: RobotDescription, modality: str) -> Demo:
    """Read a demonstration for a policy that adapts to a modality.

    What an arm was shown doing begins with its first motion; a video begins where it begins.

    Args:
        path: Episode.
        robot: Whose camera and joints count.
        modality: ``full`` for images, joint states and actions, ``video`` for images alone.

    Raises:
        EpisodeError: If the episode is missing, damaged or has gaps.
        DemoError: If it does not show what the policy needs.
    """
    is_video = read_provenance(path).get('modality') == 'video'
    if modality == 'full':
        if is_video:
            raise DemoError(
                f'Episode {path.name} is a video without joint states and actions, the policy '
                'adapts to all three; record the arm with /recorder/start or use a policy for '
                'video alone.'
            )
        return load_demo(path, robot)
    images = load_video(path, robot) if is_video else load_demo(path, robot).images
    return Demo.from_video(images)


def load_video(path: Path, robot: RobotDescription) -> NDArray[np.uint8]:
    """Read the images of an episode at the policy's rate and size, (T, H, W, 3).

    An episode of an arm can be read too: its joints are passed over.

    Raises:
        EpisodeError: If the episode is missing, truncated, too short or has gaps.
        DemoError: If its images are not of the robot's camera.
    """
    topic, camera, policy = robot.topics.image, robot.camera, robot.policy
    messages = read_messages(path, (topic,))[topic]
    stamps_ns = np.array([stamp_ns(m.header) for m in messages], dtype=np.int64)
    stream = Stream(topic, stamps_ns, camera.max_age_s)
    try:
        moments = common_moments([stream], policy.rate_hz)
        picked = indices_as_of(stream, moments)
    except StaleDataError as err:
        raise EpisodeError(f'Episode {path.name}: {err}') from err
    if len(moments) < 2:
        raise EpisodeError(
            f'Episode {path.name} holds {len(messages)} images within one period of the policy; '
            'expected at least two periods, record or film the whole task.'
        )
    frames = []
    for index in picked:
        image = image_to_rgb(messages[index])
        if image.shape[:2] != (camera.height, camera.width):
            raise DemoError(
                f'Episode {path.name} has images of {image.shape[1]}x{image.shape[0]}, robot '
                f'{robot.name!r} expects {camera.width}x{camera.height}; record with that camera, '
                'or import the video for this robot.'
            )
        frames.append(resize_area(image, policy.image_height, policy.image_width))
    return np.stack(frames)
