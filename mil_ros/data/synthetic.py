"""A test picture: moves, and says which frame it is to people and to programs."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from mil_ros.core.types import Image

_BITS: Final = 16  # the number starts again after 65536 frames, 36 minutes at 30 Hz
_STRIPE: Final = 0.125  # share of the height, at the bottom
_STEP: Final = 2  # columns by which the picture moves per frame


class SyntheticSource:
    """Makes frames of any size at an even rate."""

    def __init__(self, width: int, height: int, rate_hz: float) -> None:
        """Draw what moves."""
        self._rate_hz = rate_hz
        self._number = -1
        rows, columns = np.mgrid[0:height, 0:width]
        red = 255 * columns // width
        green = 255 * rows // height
        blue = 64 + 128 * ((columns * 8 // width + rows * 6 // height) % 2)
        self._backdrop = np.stack([red, green, blue], axis=2).astype(np.uint8)

    def grab(self) -> float:
        """Go to the next frame; returns its time in s."""
        self._number += 1
        return self._number / self._rate_hz

    def retrieve(self) -> Image:
        """Return the frame, its number written and in the stripe that `read_number` reads."""
        image = np.roll(self._backdrop, _STEP * self._number, axis=1)
        height, width = image.shape[:2]
        scale = height / 240.0
        place = (int(10 * scale), int(50 * scale))
        thickness = max(1, round(2 * scale))
        for colour, weight in (((0, 0, 0), 3 * thickness), ((255, 255, 255), thickness)):
            cv2.putText(
                image,
                str(self._number),
                place,
                cv2.FONT_HERSHEY_SIMPLEX,
                1.5 * scale,
                colour,
                weight,
            )
        bits = (self._number >> np.arange(_BITS)) & 1
        image[_stripe_top(height) :] = 255 * bits[_bit_of_column(width), None]
        return image

    def release(self) -> None:
        """Do nothing: a picture that is made needs no device."""


def read_number(image: Image) -> int:
    """Return the number of a synthetic frame modulo 65536, even after lossy compression.

    Args:
        image: RGB, (H, W, 3) uint8, at least 16 wide and 8 high.
    """
    height, width = image.shape[:2]
    levels = image[_stripe_top(height) :].mean(axis=(0, 2))  # (W,)
    bits = _bit_of_column(width)
    means = np.bincount(bits, levels, _BITS) / np.bincount(bits, minlength=_BITS)
    return int(((means > 127) << np.arange(_BITS)).sum())


def _stripe_top(height: int) -> int:
    return height - max(1, int(height * _STRIPE))


def _bit_of_column(width: int) -> np.ndarray:
    return np.arange(width) * _BITS // width  # (W,)
