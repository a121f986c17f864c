"""Opening a camera by what a user would call it: a device, an address, a pipeline, a file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import os
from pathlib import Path
import re
from typing import Any, Final

import cv2

from mil_ros.core.errors import ConfigError
from mil_ros.core.types import Image
from mil_ros.data.source import CaptureError, EndOfVideoError, FrameSource
from mil_ros.data.synthetic import SyntheticSource
from mil_ros.data.video_file import retrieve_rgb, VideoFile

SYNTHETIC: Final = 'synthetic'
_OPEN_TIMEOUT_MS: Final = 5000
_STILL_S: Final = 0.1  # how long a video of a single frame shows it
_READ_TIMEOUT_MS: Final = 3000  # longer than a hiccup of a wireless link
_LOGIN = re.compile(r'(?<=://)\S*(?=@)')
_SECRET = re.compile(r'((?:pw|pwd|pass|password|token|key)=)[^&\s]+', re.IGNORECASE)


class SourceKind(Enum):
    """What a source is, read from how it is written."""

    DEVICE = 'V4L2 device'
    URL = 'network stream'
    PIPELINE = 'GStreamer pipeline'
    FILE = 'video file'
    SYNTHETIC = 'test picture'


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureSettings:
    """How to open a camera.

    Attributes:
        source: A number or ``/dev/...`` (V4L2), ``scheme://...``, a GStreamer pipeline (it has a
            ``!``), a video file, or ``synthetic``.
        width: Columns asked of a device and expected of every source.
        height: Rows, likewise.
        rate_hz: Frame rate asked of a device and made by the synthetic source.
        fourcc: Pixel format asked of a device, such as ``MJPG``; empty for its own choice.
        loop: Whether a video file starts again at its end.
    """

    source: str
    width: int
    height: int
    rate_hz: float
    fourcc: str = ''
    loop: bool = False

    def __post_init__(self) -> None:
        if self.fourcc and len(self.fourcc) != 4:
            raise ConfigError(
                f'fourcc is {self.fourcc!r}; expected four characters such as MJPG or YUYV, or '
                'nothing for what the device prefers.'
            )

    @property
    def name(self) -> str:
        """The source as it may be shown to anyone."""
        return hide_secrets(self.source)


def hide_secrets(source: str) -> str:
    """Return a source without the login and the password in it."""
    return _SECRET.sub(r'\1***', _LOGIN.sub('***', source))


def find_kind(source: str) -> SourceKind:
    """Return what a source is.

    Raises:
        ConfigError: If it can be nothing that this machine could open, now or later.
    """
    if not source.strip():
        raise ConfigError(
            'The source of the camera is empty; expected a number or /dev/..., an rtsp:// or '
            f'http:// address, a GStreamer pipeline, a video file or {SYNTHETIC!r}.'
        )
    if source == SYNTHETIC:
        return SourceKind.SYNTHETIC
    if source.isdecimal() or source.startswith('/dev/'):
        return SourceKind.DEVICE
    if re.match(r'[A-Za-z][A-Za-z0-9+.-]*://', source):
        return SourceKind.URL
    if '!' in source and not Path(source).exists():
        if not re.search(r'GStreamer:\s+YES', cv2.getBuildInformation()):
            raise ConfigError(
                f'Source {hide_secrets(source)!r} is a GStreamer pipeline, and OpenCV '
                f'{cv2.__version__} was built without GStreamer; expected python3-opencv of the '
                'distribution, which has it, in place of the wheel of pip.'
            )
        return SourceKind.PIPELINE
    return SourceKind.FILE


def open_source(settings: CaptureSettings) -> FrameSource:
    """Open a camera.

    Raises:
        ConfigError: If the source is written in a way that means nothing.
        CaptureError: If it is not there or cannot be opened.
    """
    kind = find_kind(settings.source)
    if kind is SourceKind.SYNTHETIC:
        return SyntheticSource(settings.width, settings.height, settings.rate_hz)
    if kind is SourceKind.FILE:
        path = Path(settings.source).expanduser()
        return LoopedVideo(path) if settings.loop else VideoFile(path)
    if kind is SourceKind.DEVICE:
        return _open_device(settings)
    if kind is SourceKind.URL:
        timeouts = (
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_TIMEOUT_MS),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_TIMEOUT_MS),
        )
        capture = cv2.VideoCapture(settings.source, cv2.CAP_FFMPEG, timeouts)
        hint = 'a stream; check the address, the network and that the camera is on'
    else:
        capture = cv2.VideoCapture(settings.source, cv2.CAP_GSTREAMER)
        hint = 'a pipeline ending in `! videoconvert ! appsink` that runs in gst-launch-1.0'
    return LiveSource(capture, settings.name, hint)


class LiveSource:
    """A device or stream; the world sets its pace."""

    def __init__(self, capture: Any, name: str, expected: str) -> None:
        """Take over an opened ``cv2.VideoCapture``.

        Raises:
            CaptureError: If it did not open; says what was expected.
        """
        self._capture, self._name = capture, name
        if not capture.isOpened():
            raise CaptureError(f'{name} cannot be opened; expected {expected}.')

    def grab(self) -> None:
        """Wait for the next frame.

        Raises:
            CaptureError: If the device is gone or the stream has ended or is silent.
        """
        if not self._capture.grab():
            raise CaptureError(
                f'{self._name} has stopped: it was unplugged, or its stream has ended or hangs; '
                'expected frame after frame. Check cable, power and network.'
            )

    def retrieve(self) -> Image:
        """Return the grabbed frame as RGB, (H, W, 3) uint8."""
        return retrieve_rgb(self._capture, self._name)

    def release(self) -> None:
        """Close the device or stream."""
        self._capture.release()


class LoopedVideo:
    """A video file that starts again at its end; its times go on rising."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._path = path
        self._video = VideoFile(path)
        self._begin_s = self._last_s = 0.0
        self._period_s = _STILL_S  # between the last two frames; the last one is shown as long

    def grab(self) -> float:
        """Go to the next frame or back to the first; returns its time in s.

        Raises:
            EndOfVideoError: If the file holds no frame.
        """
        try:
            time_s = self._video.grab()
        except EndOfVideoError:
            self._video.release()
            self._video = VideoFile(self._path)
            self._begin_s = self._last_s + self._period_s
            time_s = self._video.grab()
        self._period_s = self._begin_s + time_s - self._last_s or self._period_s
        self._last_s = self._begin_s + time_s
        return self._last_s

    def retrieve(self) -> Image:
        """Return the grabbed frame as RGB, (H, W, 3) uint8."""
        return self._video.retrieve()

    def release(self) -> None:
        """Close the file."""
        self._video.release()


def _open_device(settings: CaptureSettings) -> LiveSource:
    source = settings.source
    path = Path(f'/dev/video{source}' if source.isdecimal() else source)
    _check_device(path)
    # OpenCV reads this once, before its first frame. Its own 10 s for a device that hangs would
    # be as long until the device can be opened again.
    os.environ.setdefault('OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT', '1')
    capture = cv2.VideoCapture(str(path), cv2.CAP_V4L2)
    if settings.fourcc:  # before the size: a format has sizes of its own
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*settings.fourcc))
    capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
    capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
    capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)
    return LiveSource(capture, str(path), 'a V4L2 camera that no other program is using')


def _check_device(path: Path) -> None:
    if not path.exists():
        there = ', '.join(sorted(str(p) for p in Path('/dev').glob('video*'))) or 'none'
        raise CaptureError(
            f'No device {path}, expected a camera there; plug it in or choose another '
            f'(there now: {there}).'
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise CaptureError(
            f'{path} may not be opened by this user, expected the right to read and write it; '
            'type `sudo usermod -aG video $USER` and log in again.'
        )
