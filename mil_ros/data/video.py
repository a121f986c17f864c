"""Demonstrations by video alone, and the choice of what a policy is shown of an episode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import Reader

from mil_ros.core.alignment import common_moments, indices_as_of, Stream
from mil_ros.core.errors import DemoError, EpisodeError, StaleDataError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.episode import load_demo, read_provenance
from mil_ros.data.messages import image_to_rgb, stamp_ns, typestore


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
    messages = sorted(_read_images(path, topic), key=lambda m: stamp_ns(m.header))
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


def _read_images(path: Path, topic: str) -> list[Any]:
    read_provenance(path)  # says in a sentence what is wrong with a folder that is no episode
    try:
        with Reader(path) as reader:
            connections = [c for c in reader.connections if c.topic == topic]
            return [
                typestore().deserialize_cdr(raw, connection.msgtype)
                for connection, _, raw in reader.messages(connections)
            ]
    except Exception as err:  # the storage readers raise struct, index and zlib errors alike
        raise EpisodeError(
            f'Episode {path.name} is truncated or damaged ({type(err).__name__}: {err}); '
            'expected whole messages, import or record it again.'
        ) from err
