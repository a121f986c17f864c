"""Pictures of an episode, drawn with OpenCV: a robot that records needs no plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError
from mil_ros.core.streams import moments_of, StreamTimes
from mil_ros.core.types import Image
from mil_ros.data.inspection import EpisodeTimes, JointMotion

_WIDTH: Final = 1200
_LEFT, _RIGHT, _TOP, _BOTTOM = 90, 20, 34, 28  # margins of a plot
_TOPIC_WIDTH: Final = 330
_PLOT_HEIGHT: Final = 300
_ROW_HEIGHT: Final = 26
_TILES: Final = 4  # frames in a row of a contact sheet
_INK: Final = (40, 40, 40)
_GRID: Final = (225, 225, 225)
_GAP: Final = (214, 39, 40)
# RGB, told apart by people who see few colours too (Okabe and Ito)
_COLOURS: Final = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (0, 0, 0),
    (160, 150, 30),
)
_GAP_PERIODS: Final = 3.0  # a silence this much longer than usual is shown as a gap


def write_contact_sheet(path: Path, rows: Sequence[tuple[str, list[tuple[float, Image]]]]) -> None:
    """Write frames as one picture.

    Args:
        path: File to write.
        rows: Topic, and its frames with their time in s, (H, W, 3) RGB each.
    """
    width = _WIDTH // _TILES
    blocks = []
    for topic, frames in rows:
        tiles = [_tile(image, f'{at_s:.2f} s', width) for at_s, image in frames]
        height = max(tile.shape[0] for tile in tiles)
        tiles += [np.full((height, width, 3), 255, np.uint8)] * (-len(tiles) % _TILES)
        blocks.append(_caption(topic, _WIDTH))
        for i in range(0, len(tiles), _TILES):
            blocks.append(np.hstack(tiles[i : i + _TILES]))
    _write(path, np.vstack(blocks))


def write_timeline(path: Path, times: EpisodeTimes) -> None:
    """Write a picture of when each stream had messages, its gaps in red."""
    height = _TOP + _ROW_HEIGHT * len(times.streams) + _BOTTOM
    canvas = np.full((height, _WIDTH, 3), 255, np.uint8)
    span_s = max(times.duration_s, 1e-3)
    scale = (_WIDTH - _RIGHT - _TOPIC_WIDTH) / span_s
    _draw_seconds(canvas, _TOPIC_WIDTH, span_s)
    for row, stream in enumerate(times.streams):
        y = _TOP + row * _ROW_HEIGHT
        _put_text(canvas, stream.topic, 8, y + 18)
        for begin_s, end_s, is_gap in find_spans(stream, times.start_ns, times.end_ns):
            left, right = (_TOPIC_WIDTH + round(scale * s) for s in (begin_s, end_s))
            colour = _GAP if is_gap else _COLOURS[0]
            cv2.rectangle(canvas, (left, y + 5), (max(right, left + 1), y + 21), colour, -1)
    _write(path, canvas)


def write_joints(path: Path, motion: JointMotion, topic: str) -> None:
    """Write a picture of the positions and the velocities of all joints over time."""
    source = 'measured' if motion.is_measured else 'derived from the positions'
    panels = [
        _plot(f'{topic}: position, rad', motion.times_s, motion.positions),
        _plot(f'{topic}: velocity, rad/s ({source})', motion.times_s, motion.velocities),
        _legend(motion.names),
    ]
    _write(path, np.vstack(panels))


def find_spans(stream: StreamTimes, start_ns: int, end_ns: int) -> list[tuple[float, float, bool]]:
    """Return begin and end of the times with messages and of the gaps, in s, in order.

    A gap is a silence of more than three usual periods; the time before the first message of a
    stream and after the last one counts too.
    """
    measured = np.clip(np.sort(moments_of(stream)), start_ns, end_ns)
    moments = np.concatenate([[start_ns], measured, [end_ns]])
    steps = np.diff(moments)
    usual = float(np.median(steps[1:-1])) if len(steps) > 2 else float(end_ns - start_ns)
    is_gap = steps > _GAP_PERIODS * max(usual, 1.0)
    edges = [0, *(np.flatnonzero(np.diff(is_gap)) + 1).tolist(), len(steps)]
    seconds = (moments - start_ns) / 1e9
    return [(float(seconds[a]), float(seconds[b]), bool(is_gap[a])) for a, b in pairwise(edges)]


def _plot(title: str, x: NDArray[np.float64], lines: NDArray[np.float64]) -> Image:
    """Draw lines (N, J) over x (N,)."""
    canvas = np.full((_PLOT_HEIGHT, _WIDTH, 3), 255, np.uint8)
    _put_text(canvas, title, _LEFT, 22)
    finite = lines[np.isfinite(lines)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    pad = 0.05 * (high - low) or 1.0
    low, high = low - pad, high + pad
    span_s = max(float(x[-1]), 1e-3)
    _draw_seconds(canvas, _LEFT, span_s)
    height = _PLOT_HEIGHT - _TOP - _BOTTOM
    for value in np.linspace(low, high, 5):
        y = _TOP + round(height * (high - value) / (high - low))
        cv2.line(canvas, (_LEFT, y), (_WIDTH - _RIGHT, y), _GRID, 1)
        _put_text(canvas, f'{value:.2f}', 8, y + 5)
    columns = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / span_s
    for joint, line in enumerate(lines.T):
        rows = _TOP + height * (high - np.nan_to_num(line, nan=low)) / (high - low)
        points = np.stack([columns, rows], axis=1).round().astype(np.int32)
        colour = _COLOURS[joint % len(_COLOURS)]
        cv2.polylines(canvas, [points], False, colour, 2, cv2.LINE_AA)
    return canvas


def _legend(names: Sequence[str]) -> Image:
    columns = 4
    rows = -(-len(names) // columns)
    canvas = np.full((rows * _ROW_HEIGHT + 8, _WIDTH, 3), 255, np.uint8)
    for i, name in enumerate(names):
        x = _LEFT + (i % columns) * ((_WIDTH - _LEFT) // columns)
        y = (i // columns) * _ROW_HEIGHT + 14
        cv2.line(canvas, (x, y), (x + 30, y), _COLOURS[i % len(_COLOURS)], 3)
        _put_text(canvas, name, x + 38, y + 5)
    return canvas


def _draw_seconds(canvas: Image, left: int, span_s: float) -> None:
    """Draw a time axis along the bottom."""
    bottom = canvas.shape[0] - _BOTTOM
    for second in np.linspace(0.0, span_s, 7):
        x = left + round((_WIDTH - _RIGHT - left) * float(second) / span_s)
        cv2.line(canvas, (x, _TOP), (x, bottom), _GRID, 1)
        _put_text(canvas, f'{second:.1f} s', x - 20, bottom + 18)


def _tile(image: Image, caption: str, width: int) -> Image:
    height = round(image.shape[0] * (width - 6) / image.shape[1])
    small = cv2.resize(image, (width - 6, height), interpolation=cv2.INTER_AREA)
    framed = np.pad(small, ((0, 22), (3, 3), (0, 0)), constant_values=255).astype(np.uint8)
    _put_text(framed, caption, 6, framed.shape[0] - 6)
    return framed


def _caption(text: str, width: int) -> Image:
    bar = np.full((_ROW_HEIGHT, width, 3), 255, np.uint8)
    _put_text(bar, text, 6, 18)
    return bar


def _put_text(canvas: Image, text: str, x: int, y: int) -> None:
    cv2.putText(canvas, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)


def _write(path: Path, image: Image) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _, encoded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        path.write_bytes(encoded.tobytes())
    except OSError as err:
        raise ConfigError(
            f'Cannot write the picture {path} ({err.strerror}); choose a writable folder with '
            '--out, or --no-pictures.'
        ) from err
