"""The test picture moves, and its number can be read back."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mil_ros.data.synthetic import read_number, SyntheticSource


def frame(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    source = SyntheticSource(width, height, 30.0)
    for _ in range(number + 1):
        source.grab()
    return source.retrieve()


@pytest.mark.parametrize(('width', 'height'), [(16, 8), (32, 24), (65, 47), (640, 480)])
@pytest.mark.parametrize('number', [0, 1, 2, 1234])
def test_number_is_read_back(number: int, width: int, height: int) -> None:
    image = frame(number, width, height)
    assert image.shape == (height, width, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert read_number(image) == number


def test_number_survives_jpeg_and_shrinking() -> None:
    _, jpeg = cv2.imencode('.jpg', frame(1234, 320, 240), [cv2.IMWRITE_JPEG_QUALITY, 20])
    image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    small = cv2.resize(image, (80, 60), interpolation=cv2.INTER_AREA)
    assert read_number(small) == 1234


def test_number_starts_again_after_16_bits() -> None:
    source = SyntheticSource(16, 8, 30.0)
    for _ in range(65536 + 6):
        source.grab()
    assert read_number(source.retrieve()) == 5


def test_most_of_the_picture_changes_from_frame_to_frame() -> None:
    changed = (frame(3) != frame(4)).any(axis=2)
    assert changed.mean() > 0.5


def test_frames_are_evenly_spaced_in_time() -> None:
    source = SyntheticSource(16, 8, 20.0)
    assert [source.grab() for _ in range(4)] == pytest.approx([0.0, 0.05, 0.1, 0.15])
