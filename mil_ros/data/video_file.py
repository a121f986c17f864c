"""Frames of a video file or of a folder of pictures, each with its true time."""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any, Final

import cv2

from mil_ros.core.types import Image
from mil_ros.data.source import CaptureError, EndOfVideoError

VIDEO_SUFFIXES: Final = ('.avi', '.gif', '.m4v', '.mkv', '.mov', '.mp4', '.mpg', '.ogv', '.webm')
_COUNTING: Final = ('.avi', '.m4v', '.mov', '.mp4')  # others guess from duration and rate
PICTURE_SUFFIXES: Final = ('.bmp', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp')


class VideoFile:
    """A video, upright as it was filmed; its times are those of the container, never counted."""

    def __init__(self, path: Path, rate_hz: float | None = None) -> None:
        """Open a file.

        Args:
            path: MP4, WebM, GIF or another container that FFmpeg knows.
            rate_hz: For a file without times: the rate that it was filmed at.

        Raises:
            CaptureError: If it is missing, of an unknown kind or cannot be decoded.
        """
        _check_file(path)
        self.name = path.name
        self._rate_hz = rate_hz
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise CaptureError(
                f'{path.name} cannot be decoded: it is damaged, or OpenCV lacks its codec; '
                'expected a video that plays. Convert it, for example with '
                f'`ffmpeg -i {path.name} video.mp4`.'
            )
        self.frame_count = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))  # or a guess
        self.announced = self.frame_count if path.suffix.lower() in _COUNTING else 0
        self._number = 0
        self._first_s = self._last_s = 0.0

    def grab(self) -> float:
        """Go to the next frame.

        Returns:
            Its time since the first frame, in s.

        Raises:
            EndOfVideoError: If there is none.
            CaptureError: If the frame has no time later than the one before it.
        """
        if not self._capture.grab():
            raise EndOfVideoError(f'{self.name} is over after {self._number} frames.')
        time_s = self._read_time()
        if self._number == 0:
            self._first_s = time_s
        elif not time_s > self._last_s:
            raise CaptureError(
                f'{self.name}: frame {self._number + 1} is stamped {time_s:.3f} s, the one before '
                f'it {self._last_s:.3f} s; expected rising times. Convert it with '
                f'`ffmpeg -i {self.name} video.mp4`, or import it with its rate (--rate-hz).'
            )
        self._number, self._last_s = self._number + 1, time_s
        return time_s - self._first_s

    def _read_time(self) -> float:
        if self._rate_hz is not None:
            return self._number / self._rate_hz
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000.0

    def retrieve(self) -> Image:
        """Return the grabbed frame as RGB, (H, W, 3) uint8."""
        return retrieve_rgb(self._capture, self.name)

    def release(self) -> None:
        """Close the file."""
        self._capture.release()


class FrameFolder:
    """Pictures in a folder, in the order of the numbers in their names."""

    def __init__(self, path: Path, rate_hz: float | None) -> None:
        """List a folder.

        Args:
            path: Holds the pictures; files of other kinds are passed over.
            rate_hz: At which they were taken; pictures do not say.

        Raises:
            CaptureError: If there is no picture, or no rate.
        """
        self.name = path.name
        self._paths = sorted(
            (p for p in path.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES),
            key=lambda p: [int(part) if part.isdecimal() else part for part in _split(p.name)],
        )
        if not self._paths:
            raise CaptureError(
                f'Folder {path} holds no pictures; expected files ending in '
                f'{", ".join(PICTURE_SUFFIXES)}.'
            )
        if rate_hz is None:
            raise CaptureError(
                f'Folder {path} holds {len(self._paths)} pictures, which carry no times; give the '
                'rate they were taken at, for example --rate-hz 30.'
            )
        self._rate_hz = rate_hz
        self.frame_count = self.announced = len(self._paths)
        self._number = 0
        self._shape: tuple[int, ...] | None = None

    def grab(self) -> float:
        """Go to the next picture; returns its time in s.

        Raises:
            EndOfVideoError: If there is none.
        """
        if self._number == self.frame_count:
            raise EndOfVideoError(f'{self.name} is over after {self._number} frames.')
        self._number += 1
        return (self._number - 1) / self._rate_hz

    def retrieve(self) -> Image:
        """Return the grabbed picture as RGB, (H, W, 3) uint8.

        Raises:
            CaptureError: If it cannot be decoded or is of another size than the first.
        """
        path = self._paths[self._number - 1]
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise CaptureError(
                f'{path.name} in {self.name} cannot be decoded; expected a whole picture, delete '
                'or replace it.'
            )
        self._shape = self._shape or bgr.shape
        if bgr.shape != self._shape:
            raise CaptureError(
                f'{path.name} in {self.name} is {bgr.shape[1]}x{bgr.shape[0]}, the first picture '
                f'is {self._shape[1]}x{self._shape[0]}; expected one size, remove what does not '
                'belong to the video.'
            )
        return _to_rgb(bgr)

    def release(self) -> None:
        """Do nothing: each picture is closed as soon as it is read."""


def open_clip(path: Path, rate_hz: float | None = None) -> VideoFile | FrameFolder:
    """Open a video file or a folder of pictures.

    Raises:
        CaptureError: If it is neither, or cannot be read.
    """
    return FrameFolder(path, rate_hz) if path.is_dir() else VideoFile(path, rate_hz)


def retrieve_rgb(capture: Any, name: str) -> Image:
    """Return the frame that a ``cv2.VideoCapture`` has grabbed, as RGB, (H, W, 3) uint8.

    Raises:
        CaptureError: If it cannot be decoded.
    """
    is_whole, bgr = capture.retrieve()
    if not is_whole:
        raise CaptureError(f'{name} gave a frame that cannot be decoded; expected a whole one.')
    return _to_rgb(bgr)


def _to_rgb(bgr: Any) -> Image:
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CaptureError(
            f'No video at {path}; expected a file ending in {", ".join(VIDEO_SUFFIXES)}.'
        )
    if path.suffix.lower() not in VIDEO_SUFFIXES:
        raise CaptureError(
            f'{path.name} ends in {path.suffix!r}; expected one of {", ".join(VIDEO_SUFFIXES)}.'
        )


def _split(name: str) -> list[str]:
    """Split a name where digits begin and end, so that frame_10 comes after frame_9."""
    return re.split(r'(\d+)', name)
