"""Is what comes fit to be recorded? Asked before the start, so that no demonstration is wasted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mil_ros.core.errors import DemoError, OrderError
from mil_ros.core.robot import Camera
from mil_ros.core.streams import check_clocks, check_stamps
from mil_ros.data.episode_log import JOINT_STATE, read_stamp_ns
from mil_ros.data.messages import deserialize, image_to_rgb, joints_in_order, typestore
from mil_ros.data.preroll import Arrival

IMAGE = 'sensor_msgs/msg/Image'


def prepare() -> None:
    """Have rosbags make its decoders now; at a start they would take a tenth of a second."""
    for kind in (IMAGE, JOINT_STATE):
        typestore().get_msgdef(kind)


def check_newest_stamps(newest: Mapping[str, Arrival]) -> None:
    """Check the newest message of each required topic.

    Args:
        newest: Messages that begin with a header, by topic.

    Raises:
        OrderError: If one is stamped zero, or their clocks disagree.
    """
    offsets_s = {}
    for topic, arrival in newest.items():
        stamp_ns = read_stamp_ns(arrival.data)
        if fault := check_stamps(topic, np.array([stamp_ns], dtype=np.int64)):
            raise OrderError(f'Recording refused: {fault}')
        offsets_s[topic] = (arrival.received_ns - stamp_ns) / 1e9
    if fault := check_clocks(offsets_s):
        raise OrderError(f'Recording refused: {fault}')


def check_image(topic: str, data: bytes, camera: Camera) -> None:
    """Check one serialised image.

    Raises:
        OrderError: If it cannot be turned into RGB or is not of the robot file's size.
    """
    try:
        image = deserialize(data, IMAGE)
        height, width = image_to_rgb(image).shape[:2]
    except DemoError as err:
        raise OrderError(f'Recording refused: {topic}: {err}') from err
    except Exception as err:  # rosbags raises struct, index and assertion errors alike
        raise OrderError(
            f'Recording refused: {topic} brings {len(data)} bytes that are no {IMAGE} ({err}); '
            'check its publisher.'
        ) from err
    if (width, height) != (camera.width, camera.height):
        raise OrderError(
            f'Recording refused: {topic} brings images of {width}x{height}, the robot file '
            f'expects {camera.width}x{camera.height}; set the camera to that size or correct the '
            'robot file.'
        )


def check_joints(topic: str, messages: Iterable[bytes], names: tuple[str, ...]) -> None:
    """Check that one of some serialised joint states has all joints of the arm.

    Another publisher, such as that of a gripper, may share the topic.

    Args:
        topic: Where they come.
        messages: The newest first.
        names: Joints of the robot file.

    Raises:
        OrderError: If none has, with what the newest one lacks.
    """
    fault = ''
    for data in messages:
        try:
            message = deserialize(data, JOINT_STATE)
            joints_in_order(message.name, message.position, names, topic)
            return
        except DemoError as err:
            fault = fault or str(err)
        except Exception as err:  # rosbags raises struct, index and assertion errors alike
            fault = fault or (
                f'{topic} brings {len(data)} bytes that are no {JOINT_STATE} ({err}); check its '
                'publisher.'
            )
    if fault:
        raise OrderError(f'Recording refused: {fault}')
