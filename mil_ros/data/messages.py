"""Reading ROS messages without ROS; works on rclpy's messages and on those read from a bag."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.serde import SerdeError
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from mil_ros.core.errors import DemoError
from mil_ros.core.types import Image

# The two message types that are not part of the common interfaces; field order is the wire format.
JOINT_JOG = """\
std_msgs/Header header
string[] joint_names
float64[] displacements
float64[] velocities
float64 duration
"""
SERVO_STATUS = """\
int8 INVALID=-1
int8 NO_WARNING=0
int8 DECELERATE_FOR_APPROACHING_SINGULARITY=1
int8 HALT_FOR_SINGULARITY=2
int8 DECELERATE_FOR_LEAVING_SINGULARITY=3
int8 DECELERATE_FOR_COLLISION=4
int8 HALT_FOR_COLLISION=5
int8 JOINT_BOUND=6
int8 code
string message
"""
_PLAIN = {'rgb8': 3, 'bgr8': 3, 'mono8': 1}


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """Return the message types of Jazzy plus those of Servo."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(JOINT_JOG, 'control_msgs/msg/JointJog'))
    store.register(get_types_from_msg(SERVO_STATUS, 'moveit_msgs/msg/ServoStatus'))
    return store


def deserialize(data: bytes | memoryview, kind: str) -> Any:
    """Return a serialised message as an object.

    rclpy's ``serialize_message`` leaves four bytes behind a message that ends with an empty
    sequence of doubles, as joint states without efforts do; rosbags takes that for damage.

    Raises:
        SerdeError: If the bytes are no such message.
    """
    try:
        return typestore().deserialize_cdr(data, kind)
    except SerdeError:
        return typestore().deserialize_cdr(data[:-4], kind)


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in ns."""
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def image_to_rgb(message: Any) -> Image:
    """Return a ``sensor_msgs/Image`` as RGB, (H, W, 3) uint8.

    ``rgb8`` is a view of the message's memory, ``bgr8`` and ``mono8`` are views with another
    stride; every other encoding goes through cv_bridge where it is installed and rosbags-image
    where it is not.

    Raises:
        DemoError: If the encoding is unknown or the data is shorter than the size says.
    """
    channels = _PLAIN.get(message.encoding)
    if channels is None:
        return _convert(message)
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    if step < width * channels or len(data) < height * step:
        raise DemoError(
            f'Image is {width}x{height} {message.encoding} with step {step} and {len(data)} '
            f'bytes; expected a step of at least {width * channels} and {height * step} bytes. '
            'Check the camera driver.'
        )
    rows = data[: height * step].reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    if message.encoding == 'bgr8':
        return pixels[:, :, ::-1]
    return np.broadcast_to(pixels, (height, width, 3)) if channels == 1 else pixels


def joints_in_order(
    names: list[str], values: Any, expected: tuple[str, ...], what: str
) -> NDArray[np.float64]:
    """Pick values by joint name, whatever their order or company, (J,).

    Raises:
        DemoError: If a joint is missing or has no value.
    """
    index = {name: i for i, name in enumerate(names)}
    missing = [name for name in expected if index.get(name, len(values)) >= len(values)]
    if missing:
        raise DemoError(
            f'{what} has {len(values)} values for joints {list(names)}, expected one for each of '
            f'{list(expected)}; check the robot file.'
        )
    return np.array([values[index[name]] for name in expected], dtype=np.float64)


def _convert(message: Any) -> Image:
    try:
        try:
            from cv_bridge import CvBridge

            return np.asarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'))
        except ImportError:
            from rosbags.image import message_to_cvimage

            return np.asarray(message_to_cvimage(message, 'rgb8'))
    except Exception as err:  # each library has its own errors
        raise DemoError(
            f'Image encoding {message.encoding!r} cannot be turned into rgb8 ({err}); expected '
            'rgb8, bgr8, mono8 or another colour encoding of sensor_msgs.'
        ) from err
