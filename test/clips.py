"""Small videos whose frames say which they are (`read_number`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import struct

import cv2
import numpy as np

from mil_ros.data.synthetic import SyntheticSource

CODECS = {'.mp4': 'mp4v', '.mov': 'mp4v', '.webm': 'VP80', '.mkv': 'VP80', '.avi': 'MJPG'}


def make_frames(count: int, width: int = 64, height: int = 48) -> list[np.ndarray]:
    """Return synthetic frames 0, 1, ..., (H, W, 3) RGB."""
    source = SyntheticSource(width, height, 30.0)
    frames = []
    for _ in range(count):
        source.grab()
        frames.append(source.retrieve())
    return frames


def write_video(
    path: Path, count: int, rate_hz: float = 20.0, width: int = 64, height: int = 48
) -> Path:
    codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, codec, rate_hz, (width, height))
    assert writer.isOpened()
    for frame in make_frames(count, width, height):
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def write_gif(path: Path, durations_ms: Sequence[int], width: int = 64, height: int = 48) -> Path:
    animation = cv2.Animation()
    frames = make_frames(len(durations_ms), width, height)
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGR) for frame in frames]
    animation.durations = np.array(durations_ms, dtype=np.int32)
    assert cv2.imwriteanimation(str(path), animation)
    return path


def write_pictures(path: Path, count: int, width: int = 64, height: int = 48) -> Path:
    path.mkdir()
    for number, frame in enumerate(make_frames(count, width, height)):
        cv2.imwrite(str(path / f'frame{number}.png'), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    return path


def set_durations(path: Path, durations_ms: Sequence[int]) -> Path:
    """Give the frames of an MP4 durations of their own, as phones do."""

    def set_times(box: bytes) -> bytes:
        entries = (struct.pack('>II', 1, scale * ms // 1000) for ms in durations_ms)
        return box[:4] + struct.pack('>I', len(durations_ms)) + b''.join(entries)

    def show_all(box: bytes) -> bytes:
        return box[:8] + struct.pack('>I', 1 << 30) + box[12:]

    content = path.read_bytes()
    (scale,) = struct.unpack_from('>I', content, content.index(b'mdhd') + 16)
    content = _edit(content, ('moov', 'trak', 'mdia', 'minf', 'stbl', 'stts'), set_times)
    path.write_bytes(_edit(content, ('moov', 'trak', 'edts', 'elst'), show_all))
    return path


def turn(path: Path) -> Path:
    """Mark an MP4 as filmed with the phone held upright: to be turned by 90 degrees clockwise."""

    def edit(box: bytes) -> bytes:
        one = 1 << 16
        matrix = struct.pack('>9i', 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)
        return box[:40] + matrix + box[76:]

    path.write_bytes(_edit(path.read_bytes(), ('moov', 'trak', 'tkhd'), edit))
    return path


def _edit(content: bytes, names: Sequence[str], edit: Callable[[bytes], bytes]) -> bytes:
    """Change a box of an MP4, and the sizes of those around it; what follows moves."""
    if not names:
        return edit(content)
    boxes, at = [], 0
    while at < len(content):
        (size,) = struct.unpack_from('>I', content, at)
        body = content[at + 8 : at + size]
        if content[at + 4 : at + 8] == names[0].encode():
            body = _edit(body, names[1:], edit)
        boxes.append(struct.pack('>I', 8 + len(body)) + content[at + 4 : at + 8] + body)
        at += size
    return b''.join(boxes)
