"""Messages are read as they are meant, and without copying where that is possible."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest

from mil_ros.core.errors import DemoError
from mil_ros.data.messages import image_to_rgb, joints_in_order, stamp_ns, typestore

TYPES = typestore().types


def header(sec: int = 0, nanosec: int = 0) -> Any:
    stamp = TYPES['builtin_interfaces/msg/Time'](sec, nanosec)
    return TYPES['std_msgs/msg/Header'](stamp, '')


def image(pixels: np.ndarray, encoding: str, padding: int = 0) -> Any:
    """Return an image message whose rows end in some bytes that mean nothing."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    rows = np.hstack([rows, np.full((height, padding), 99, dtype=np.uint8)])
    return TYPES['sensor_msgs/msg/Image'](
        header(), height, width, encoding, 0, rows.shape[1], rows.ravel()
    )


@pytest.fixture
def rgb(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize('padding', [0, 3, 11])
def test_rgb8_is_a_view_of_the_message(rgb: np.ndarray, padding: int) -> None:
    message = image(rgb, 'rgb8', padding)
    got = image_to_rgb(message)
    np.testing.assert_array_equal(got, rgb)
    assert np.shares_memory(got, message.data)


@pytest.mark.parametrize('padding', [0, 3, 11])
def test_bgr8_is_turned_round_without_copying(rgb: np.ndarray, padding: int) -> None:
    message = image(rgb[:, :, ::-1].copy(), 'bgr8', padding)
    got = image_to_rgb(message)
    np.testing.assert_array_equal(got, rgb)
    assert np.shares_memory(got, message.data)


@pytest.mark.parametrize('padding', [0, 3, 11])
def test_mono8_becomes_grey_without_copying(rgb: np.ndarray, padding: int) -> None:
    message = image(rgb[:, :, :1].copy(), 'mono8', padding)
    got = image_to_rgb(message)
    np.testing.assert_array_equal(got, np.repeat(rgb[:, :, :1], 3, axis=2))
    assert np.shares_memory(got, message.data)


@pytest.mark.parametrize('kind', [bytes, bytearray, memoryview, lambda b: array.array('B', b)])
def test_data_may_come_in_any_container_of_bytes(rgb: np.ndarray, kind: Any) -> None:
    message = image(rgb, 'rgb8')
    message.data = kind(message.data.tobytes())
    np.testing.assert_array_equal(image_to_rgb(message), rgb)


@pytest.mark.parametrize(('encoding', 'order'), [('rgba8', [0, 1, 2]), ('bgra8', [2, 1, 0])])
def test_alpha_is_dropped(rng: np.random.Generator, encoding: str, order: list[int]) -> None:
    pixels = rng.integers(0, 256, (4, 6, 4), dtype=np.uint8)
    np.testing.assert_array_equal(image_to_rgb(image(pixels, encoding)), pixels[..., order])


def test_mono16_is_scaled_to_eight_bits(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 65536, (4, 6, 1), dtype=np.uint16)
    pixels[0, :2, 0] = 0, 65535
    got = image_to_rgb(image(pixels, 'mono16'))
    assert (got.shape, got.dtype) == ((4, 6, 3), np.uint8)
    np.testing.assert_allclose(got, np.repeat(pixels / 257.0, 3, axis=2), atol=1.0)


@pytest.mark.parametrize('encoding', ['nonsense', ''])
def test_unknown_encoding_is_refused(rgb: np.ndarray, encoding: str) -> None:
    message = rf"Image encoding '{encoding}' cannot be turned into rgb8 \(.*expected rgb8, bgr8"
    with pytest.raises(DemoError, match=message):
        image_to_rgb(image(rgb, encoding))


def test_too_little_data_is_refused(rgb: np.ndarray) -> None:
    message = image(rgb, 'rgb8')
    message.data = message.data[:-1]
    with pytest.raises(DemoError, match=r'Image is 7x5 rgb8 with step 21 and 104 bytes; expected'):
        image_to_rgb(message)


def test_step_shorter_than_a_row_is_refused(rgb: np.ndarray) -> None:
    message = image(rgb, 'rgb8')
    message.step = 7
    with pytest.raises(DemoError, match=r'step 7 and 105 bytes; expected a step of at least 21'):
        image_to_rgb(message)


def test_stamp_is_exact_to_the_nanosecond() -> None:
    assert stamp_ns(header(1_700_000_000, 123_456_789)) == 1_700_000_000_123_456_789


def test_joints_are_picked_by_name_whatever_their_order_and_company() -> None:
    names, values = ['c', 'gripper', 'a', 'b'], [3.0, 9.0, 1.0, 2.0]
    picked = joints_in_order(names, values, ('a', 'b', 'c'), '/joint_states')
    np.testing.assert_array_equal(picked, [1.0, 2.0, 3.0])
    assert picked.dtype == np.float64


@pytest.mark.parametrize(
    ('names', 'values'),
    [(['a', 'c'], [1.0, 3.0]), (['a', 'c', 'b'], [1.0, 3.0]), (['a', 'b', 'c'], []), ([], [])],
)
def test_joint_without_a_value_is_refused(names: list[str], values: list[float]) -> None:
    message = rf"/joint_states has {len(values)} values for joints .*one for each of \['a', 'b'\]"
    with pytest.raises(DemoError, match=message):
        joints_in_order(names, values, ('a', 'b'), '/joint_states')
