"""JPEG, as ``sensor_msgs/CompressedImage`` carries it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mil_ros.core.types import Image

JPEG_FORMAT: Final = 'rgb8; jpeg compressed bgr8'  # how image_transport says: an RGB camera's JPEG


def encode_jpeg(image: Image, quality: int) -> NDArray[np.uint8]:
    """Compress an image.

    Args:
        image: RGB, (H, W, 3) uint8.
        quality: 1 to 100.

    Returns:
        The bytes of the file, (N,) uint8.
    """
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(data, dtype=np.uint8)
