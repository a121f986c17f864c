"""The demonstration and the run, side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mil_ros.core.types import Image

_BAR = 34  # rows of the caption
_SCALE = 1.5


def write_side_by_side(
    path: Path, demo: list[Image], run: list[Image], captions: tuple[str, str], rate_hz: float
) -> None:
    """Write an MP4 (VP9) video of two clips next to each other; the shorter holds its last frame.

    Args:
        path: File to write.
        demo: Left clip, (H, W, 3) RGB each, at least one frame.
        run: Right clip, likewise.
        captions: Text under each.
        rate_hz: Frame rate of both.
    """
    length = max(len(demo), len(run))
    first = np.hstack([_panel(demo[0], captions[0]), _panel(run[0], captions[1])])
    size = (first.shape[1], first.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'vp09'), rate_hz, size)
    try:
        for i in range(length):
            left = _panel(demo[min(i, len(demo) - 1)], captions[0])
            right = _panel(run[min(i, len(run) - 1)], captions[1])
            writer.write(cv2.cvtColor(np.hstack([left, right]), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def _panel(frame: Image, caption: str) -> Image:
    big = cv2.resize(frame, None, fx=_SCALE, fy=_SCALE, interpolation=cv2.INTER_CUBIC)
    bar = np.full((_BAR, big.shape[1], 3), 24, dtype=np.uint8)
    cv2.putText(
        bar, caption, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA
    )
    return np.vstack([big, bar]).astype(np.uint8)
