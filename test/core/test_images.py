"""Area averaging: exact where it can be, without bias where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.core.images import resize_area


@pytest.mark.parametrize(('fy', 'fx'), [(2, 2), (4, 4), (3, 5), (1, 4)])
def test_whole_ratio_gives_the_rounded_mean_of_each_block(
    rng: np.random.Generator, fy: int, fx: int
) -> None:
    image = rng.integers(0, 256, (6 * fy, 8 * fx, 3), dtype=np.uint8)
    blocks = image.reshape(6, fy, 8, fx, 3).astype(np.float64).mean(axis=(1, 3))
    np.testing.assert_array_equal(resize_area(image, 6, 8), np.floor(blocks + 0.5))


def test_odd_ratio_weighs_pixels_by_the_area_they_share() -> None:
    row = np.array([0, 90, 240], dtype=np.uint8)  # into two pixels of one and a half each
    image = np.broadcast_to(row[None, :, None], (1, 3, 3))
    expected = [(0 + 90 / 2) / 1.5, (90 / 2 + 240) / 1.5]
    np.testing.assert_array_equal(resize_area(image, 1, 2)[0, :, 0], expected)


@pytest.mark.parametrize(('height', 'width'), [(37, 53), (119, 159), (7, 160), (119, 9)])
def test_odd_ratio_keeps_the_mean_of_an_image(
    rng: np.random.Generator, height: int, width: int
) -> None:
    image = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    image[:40] //= 4  # not the same everywhere
    small = resize_area(image, height, width)
    # Rounding averages out over many pixels.
    np.testing.assert_allclose(small.mean(axis=(0, 1)), image.mean(axis=(0, 1)), atol=0.1)


@pytest.mark.parametrize('value', [0, 1, 127, 254, 255])
@pytest.mark.parametrize('size', [(5, 7), (10, 15)])
def test_plain_image_keeps_its_value(value: int, size: tuple[int, int]) -> None:
    image = np.full((20, 30, 3), value, dtype=np.uint8)
    assert set(resize_area(image, *size).ravel().tolist()) == {value}


def test_channels_are_kept_apart(rng: np.random.Generator) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[..., 1] = rng.integers(1, 256, (20, 30))
    small = resize_area(image, 7, 11)
    assert small[..., 1].any()
    assert not small[..., [0, 2]].any()


def test_object_of_one_pixel_does_not_vanish() -> None:
    for x in range(30):
        image = np.zeros((20, 30, 3), dtype=np.uint8)
        image[10, x] = 255
        assert resize_area(image, 6, 8).any(), f'lost at column {x}'


def test_image_of_the_right_size_is_returned_as_it_is(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    assert resize_area(image, 6, 8) is image


def test_result_is_rgb_uint8() -> None:
    small = resize_area(np.zeros((20, 30, 3), dtype=np.uint8), 7, 9)
    assert (small.shape, small.dtype) == ((7, 9, 3), np.uint8)


def test_view_in_another_byte_order_gives_the_same_as_its_copy(rng: np.random.Generator) -> None:
    bgr = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for size in ((10, 15), (7, 9)):
        view = resize_area(bgr[:, :, ::-1], *size)
        np.testing.assert_array_equal(view, resize_area(bgr[:, :, ::-1].copy(), *size))


@pytest.mark.parametrize(
    'image',
    [
        np.zeros((20, 30), dtype=np.uint8),
        np.zeros((20, 30, 4), dtype=np.uint8),
        np.zeros((20, 30, 3), dtype=np.float32),
    ],
    ids=['grey', 'rgba', 'float'],
)
def test_image_that_is_not_rgb_uint8_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r'Image has shape \(20, 30.*expected \(H, W, 3\) uint8'):
        resize_area(image, 10, 15)


@pytest.mark.parametrize('size', [(21, 30), (20, 31)])
def test_growing_is_refused(size: tuple[int, int]) -> None:
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    message = rf'Image is 30x20, the policy needs at least {size[1]}x{size[0]}; raise the camera'
    with pytest.raises(ConfigError, match=message):
        resize_area(image, *size)
