"""A source is what it looks like, and one that cannot be opened says why."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
import os
from pathlib import Path
import threading
from typing import Any

from clips import write_video
import cv2
import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.data.capture import CaptureSettings, find_kind, open_source, SourceKind
from mil_ros.data.source import CaptureError, EndOfVideoError
from mil_ros.data.synthetic import read_number

PIPELINE = 'v4l2src ! videoconvert ! appsink'
TIMEOUT = 'OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT'


def settings(source: str, **changes: Any) -> CaptureSettings:
    return CaptureSettings(
        source=source, **{'width': 64, 'height': 48, 'rate_hz': 20.0, **changes}
    )


class FakeCapture:
    """Stands for ``cv2.VideoCapture`` where there is no camera."""

    def __init__(self, address: str, backend: int, *options: Any) -> None:
        self.address, self.backend, self.options = address, backend, options
        self.properties: list[tuple[int, float]] = []
        self.frames_left = 2
        self.is_released = False

    def isOpened(self) -> bool:  # noqa: N802, OpenCV's name
        return self.frames_left > 0

    def set(self, key: int, value: float) -> bool:
        self.properties.append((key, value))
        return True

    def grab(self) -> bool:
        self.frames_left -= 1
        return self.frames_left >= 0

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((48, 64, 3), (1, 2, 3), dtype=np.uint8)

    def release(self) -> None:
        self.is_released = True


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[FakeCapture]:
    """What was opened."""
    opened: list[FakeCapture] = []

    def open_fake(*args: Any) -> FakeCapture:
        opened.append(FakeCapture(*args))
        return opened[-1]

    monkeypatch.setattr('mil_ros.data.capture.cv2.VideoCapture', open_fake)
    return opened


@pytest.fixture
def gstreamer(monkeypatch: pytest.MonkeyPatch) -> None:
    information = 'Video I/O:\n    GStreamer:                   YES (1.20.3)\n'
    monkeypatch.setattr('mil_ros.data.capture.cv2.getBuildInformation', lambda: information)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file where udev would put a camera."""
    monkeypatch.setattr('mil_ros.data.capture._check_device', lambda path: None)
    monkeypatch.setenv(TIMEOUT, '')  # so that what opening it sets is taken back
    monkeypatch.delenv(TIMEOUT)
    return '/dev/v4l/by-id/usb-camera'


@pytest.mark.parametrize(
    ('source', 'kind'),
    [
        ('synthetic', SourceKind.SYNTHETIC),
        ('0', SourceKind.DEVICE),
        ('/dev/video2', SourceKind.DEVICE),
        ('/dev/v4l/by-id/usb-046d_C920-video-index0', SourceKind.DEVICE),
        ('rtsp://user:a!b@10.0.0.7/stream', SourceKind.URL),
        ('http://10.0.0.7/video.mjpg', SourceKind.URL),
        (PIPELINE, SourceKind.PIPELINE),
        ('rtspsrc location=rtsp://10.0.0.7 ! decodebin ! appsink', SourceKind.PIPELINE),
        ('demo/reach.mp4', SourceKind.FILE),
    ],
)
@pytest.mark.usefixtures('gstreamer')
def test_kind_is_read_from_how_the_source_is_written(source: str, kind: SourceKind) -> None:
    assert find_kind(source) is kind


def test_file_may_have_an_exclamation_mark_in_its_name(tmp_path: Path) -> None:
    (tmp_path / 'hello!.mp4').touch()
    assert find_kind(str(tmp_path / 'hello!.mp4')) is SourceKind.FILE


def test_synthetic_source_has_the_size_that_was_asked_for() -> None:
    source = open_source(settings('synthetic', width=40, height=30))
    assert [source.grab() for _ in range(3)] == pytest.approx([0.0, 0.05, 0.1])
    assert source.retrieve().shape == (30, 40, 3)
    assert read_number(source.retrieve()) == 2


def test_file_plays_once(tmp_path: Path) -> None:
    source = open_source(settings(str(write_video(tmp_path / 'clip.mp4', 3))))
    assert [source.grab() for _ in range(3)] == pytest.approx([0.0, 0.05, 0.1])
    with pytest.raises(EndOfVideoError, match=r'clip\.mp4 is over after 3 frames\.'):
        source.grab()


@pytest.mark.parametrize('count', [1, 3])
def test_looped_file_goes_on_with_rising_times(tmp_path: Path, count: int) -> None:
    source = open_source(settings(str(write_video(tmp_path / 'clip.mp4', count)), loop=True))
    times, numbers = [], []
    for _ in range(7):
        times.append(source.grab())
        numbers.append(read_number(source.retrieve()))
    source.release()
    assert numbers == [n % count for n in range(7)]
    period_s = 0.05 if count > 1 else 0.1
    assert [b - a for a, b in pairwise(times)] == pytest.approx([period_s] * 6, abs=1e-3)


# --- Devices and streams ---------------------------------------------------------------------


def test_device_is_asked_for_format_then_size_then_rate(
    captures: list[FakeCapture], device: str
) -> None:
    open_source(settings(device, fourcc='MJPG'))
    (capture,) = captures
    assert (capture.address, capture.backend) == (device, cv2.CAP_V4L2)
    assert capture.properties == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*'MJPG')),
        (cv2.CAP_PROP_FRAME_WIDTH, 64),
        (cv2.CAP_PROP_FRAME_HEIGHT, 48),
        (cv2.CAP_PROP_FPS, 20.0),
    ]


@pytest.mark.usefixtures('device')
def test_number_of_a_device_is_its_path(captures: list[FakeCapture]) -> None:
    open_source(settings('3'))
    assert captures[0].address == '/dev/video3'
    assert cv2.CAP_PROP_FOURCC not in dict(captures[0].properties)


@pytest.mark.usefixtures('device')
def test_hanging_device_is_given_up_soon(captures: list[FakeCapture]) -> None:
    open_source(settings('0'))
    assert os.environ[TIMEOUT] == '1'


def test_stream_is_opened_with_timeouts(captures: list[FakeCapture]) -> None:
    open_source(settings('rtsp://10.0.0.7/x'))
    (capture,) = captures
    assert (capture.address, capture.backend) == ('rtsp://10.0.0.7/x', cv2.CAP_FFMPEG)
    (options,) = capture.options
    assert dict(zip(options[::2], options[1::2], strict=True)) == {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: 5000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: 3000,
    }


@pytest.mark.usefixtures('gstreamer')
def test_pipeline_goes_to_gstreamer(captures: list[FakeCapture]) -> None:
    open_source(settings(PIPELINE))
    assert (captures[0].address, captures[0].backend) == (PIPELINE, cv2.CAP_GSTREAMER)


@pytest.mark.usefixtures('device')
def test_live_frame_is_rgb_from_now(captures: list[FakeCapture]) -> None:
    source = open_source(settings('0'))
    assert source.grab() is None
    assert source.retrieve()[0, 0].tolist() == [3, 2, 1]
    source.release()
    assert captures[0].is_released


@pytest.mark.usefixtures('captures', 'device')
def test_unplugged_device_is_told() -> None:
    source = open_source(settings('/dev/video0'))
    source.grab()
    source.grab()
    with pytest.raises(CaptureError, match=r'/dev/video0 has stopped: it was unplugged.*Check'):
        source.grab()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server that streams the test's folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    server.server_close()
    thread.join()


def test_stream_is_read_over_the_network_until_it_ends(tmp_path: Path, web: str) -> None:
    write_video(tmp_path / 'clip.webm', 5)
    source = open_source(settings(f'{web}/clip.webm'))
    numbers = []
    for _ in range(5):
        source.grab()
        numbers.append(read_number(source.retrieve()))
    assert numbers == [0, 1, 2, 3, 4]
    with pytest.raises(CaptureError, match=r'clip\.webm has stopped: .* its stream has ended'):
        source.grab()
    source.release()


# --- Bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize('source', ['', ' '])
def test_empty_source_is_refused(source: str) -> None:
    message = r"source of the camera is empty; expected a number or /dev/.* or 'synthetic'\."
    with pytest.raises(ConfigError, match=message):
        find_kind(source)


def test_pipeline_without_gstreamer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('cv2.getBuildInformation', lambda: '    GStreamer:           NO\n')
    message = rf"Source '{PIPELINE}' is a GStreamer pipeline, and OpenCV .* without GStreamer; exp"
    with pytest.raises(ConfigError, match=message):
        find_kind(PIPELINE)


@pytest.mark.usefixtures('gstreamer')
def test_pipeline_that_does_not_start_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCapture, 'isOpened', lambda _: False)
    monkeypatch.setattr('mil_ros.data.capture.cv2.VideoCapture', FakeCapture)
    with pytest.raises(CaptureError, match=r'cannot be opened; expected a pipeline ending in `! '):
        open_source(settings(PIPELINE))


def test_missing_device_is_refused_with_those_that_are_there() -> None:
    message = r'No device /dev/video98, expected a camera there; plug it in .*\(there now: .*\)'
    with pytest.raises(CaptureError, match=message):
        open_source(settings('98'))


def test_forbidden_device_is_refused_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('os.access', lambda *_: False)
    message = r'/dev/null may not be opened by this user.*`sudo usermod -aG video \$USER`'
    with pytest.raises(CaptureError, match=message):
        open_source(settings('/dev/null'))


def test_device_that_is_no_camera_is_refused() -> None:
    with pytest.raises(CaptureError, match=r'/dev/null cannot be opened; expected a V4L2 camera'):
        open_source(settings('/dev/null'))


def test_unreachable_stream_is_refused() -> None:
    message = r'http://127\.0\.0\.1:9/x cannot be opened; expected a stream; check the address'
    with pytest.raises(CaptureError, match=message):
        open_source(settings('http://127.0.0.1:9/x'))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match=r'No video at .*none\.mp4; expected a file ending in'):
        open_source(settings(str(tmp_path / 'none.mp4')))


def test_looped_file_without_frames_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / 'clip.mp4', 1)
    source = open_source(settings(str(path), loop=True))
    monkeypatch.setattr('mil_ros.data.capture.VideoFile.grab', _end)
    with pytest.raises(EndOfVideoError):
        source.grab()


def _end(_: object) -> float:
    raise EndOfVideoError


@pytest.mark.parametrize('fourcc', ['MJPEG', 'x'])
def test_format_has_four_characters(fourcc: str) -> None:
    message = rf"fourcc is '{fourcc}'; expected four characters such as MJPG or YUYV"
    with pytest.raises(ConfigError, match=message):
        settings('0', fourcc=fourcc)


@pytest.mark.parametrize(
    ('source', 'shown'),
    [
        ('rtsp://admin:s3cret@10.0.0.7:554/x', 'rtsp://***@10.0.0.7:554/x'),
        ('rtsp://admin:s3@c/ret@10.0.0.7/x', 'rtsp://***@10.0.0.7/x'),
        ('rtspsrc location=rtsp://a:b@c/x ! appsink', 'rtspsrc location=rtsp://***@c/x ! appsink'),
        ('http://10.0.0.7/x?TOKEN=s3cret', 'http://10.0.0.7/x?TOKEN=***'),
        (
            'http://10.0.0.7/?user=a&password=s3cret&size=1',
            'http://10.0.0.7/?user=a&password=***&size=1',
        ),
        ('rtspsrc user-pw=s3cret ! appsink', 'rtspsrc user-pw=*** ! appsink'),
        ('/dev/video0', '/dev/video0'),
    ],
)
def test_password_is_never_shown(source: str, shown: str) -> None:
    assert settings(source).name == shown


def test_refused_pipeline_shows_no_password_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('cv2.getBuildInformation', lambda: '')
    with pytest.raises(
        ConfigError, match=r"Source 'rtspsrc location=rtsp://\*\*\*@c/x ! appsink'"
    ):
        find_kind('rtspsrc location=rtsp://a:s3cret@c/x ! appsink')
