"""Image preprocessing, the same for training, adaptation, replay and live control."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError
from mil_ros.core.types import Image


@lru_cache(maxsize=16)
def _area_weights(source: int, target: int) -> NDArray[np.float32]:
    """Return the matrix that averages `source` pixels into `target` ones, (target, source)."""
    edges = np.linspace(0, source, target + 1)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0.0, 1.0).astype(np.float32)
    normalised: NDArray[np.float32] = weights / weights.sum(axis=1, keepdims=True)
    return normalised


def resize_area(image: Image, height: int, width: int) -> Image:
    """Shrink an image by averaging the area under each new pixel.

    Area averaging keeps small objects from vanishing between sample points, which nearest or
    bilinear sampling lets happen at the ratios used here.

    Args:
        image: RGB, (H, W, 3) uint8.
        height: Rows of the result, at most H.
        width: Columns of the result, at most W.

    Raises:
        ConfigError: If the image is not RGB uint8 or would have to grow.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ConfigError(
            f'Image has shape {image.shape} and type {image.dtype}; expected (H, W, 3) uint8 RGB.'
        )
    if image.shape[:2] == (height, width):
        return image
    if image.shape[0] < height or image.shape[1] < width:
        raise ConfigError(
            f'Image is {image.shape[1]}x{image.shape[0]}, the policy needs at least '
            f'{width}x{height}; raise the camera resolution.'
        )
    fy, ry = divmod(image.shape[0], height)
    fx, rx = divmod(image.shape[1], width)
    if ry == rx == 0:  # whole-number ratio: integer sums, exact and quick
        sums = image[::fy].astype(np.uint32)  # (height, W, 3)
        for i in range(1, fy):
            sums += image[i::fy]
        total = sums[:, ::fx].copy()  # (height, width, 3)
        for i in range(1, fx):
            total += sums[:, i::fx]
        mean: Image = ((total + fy * fx // 2) // (fy * fx)).astype(np.uint8)
        return mean
    rows = _area_weights(image.shape[0], height)
    columns = _area_weights(image.shape[1], width)
    mixed = np.einsum('hH,HWc->hWc', rows, image.astype(np.float32), optimize=True)
    resized = np.einsum('wW,hWc->hwc', columns, mixed, optimize=True)
    rounded: Image = (resized + 0.5).astype(np.uint8)
    return rounded
