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
        run: Right clip, likewise; the left one is scaled to its height.
        captions: Text under each.
        rate_hz: Frame rate of both.
    """
    length = max(len(demo), len(run))
    scale = _SCALE * run[0].shape[0] / demo[0].shape[0]
    first = np.hstack([_panel(demo[0], captions[0], scale), _panel(run[0], captions[1])])
    size = (first.shape[1], first.shape[0])
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'vp09'), rate_hz, size)
    try:
        for i in range(length):
            left = _panel(demo[min(i, len(demo) - 1)], captions[0], scale)
            right = _panel(run[min(i, len(run) - 1)], captions[1])
            writer.write(cv2.cvtColor(np.hstack([left, right]), cv2.COLOR_RGB2BGR))
    finally:
        writer.release()


def write_contact_sheet(path: Path, pairs: list[tuple[Image, Image]]) -> None:
    """Write one picture of how demonstrations and runs ended, two pairs to a row.

    Args:
        path: File to write.
        pairs: Last frame of demonstration and run, (H, W, 3) RGB each.
    """
    tiles = [_pair(demo, run) for demo, run in pairs]
    if len(tiles) % 2:
        tiles.append(np.full_like(tiles[0], 255))
    rows = [np.hstack(tiles[i : i + 2]) for i in range(0, len(tiles), 2)]
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def _pair(demo: Image, run: Image) -> Image:
    panels = np.hstack([_panel(demo, 'shown once', 1.0), _panel(run, 'done elsewhere', 1.0)])
    return np.pad(panels, ((0, 8), (0, 8), (0, 0)), constant_values=255)


def _panel(frame: Image, caption: str, scale: float = _SCALE) -> Image:
    big = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    bar = np.full((_BAR, big.shape[1], 3), 24, dtype=np.uint8)
    cv2.putText(
        bar, caption, (10, 23), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (235, 235, 235), 1, cv2.LINE_AA
    )
    return np.vstack([big, bar]).astype(np.uint8)
