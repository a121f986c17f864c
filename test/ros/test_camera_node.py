"""The camera node: what is published, and what is told when the camera fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

from clips import write_video
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from fake_source import FakeSource, noise
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from mil_ros.core.errors import MilError
from mil_ros.data.capture import CaptureSettings
from mil_ros.data.messages import image_to_rgb, stamp_ns
from mil_ros.data.source import CaptureError
from mil_ros.data.synthetic import read_number
from mil_ros.ros.camera_node import CameraNode

pytestmark = pytest.mark.ros

PATIENCE_S = 60.0
SMALL = {'width': 32, 'height': 24, 'timeout_s': 10.0}
LENS = """\
image_width: 32
image_height: 24
distortion_model: plumb_bob
camera_matrix: {data: [30.0, 0, 16.0, 0, 31.0, 12.0, 0, 0, 1]}
distortion_coefficients: {data: [0.1, -0.2, 0.001, -0.002, 0.5]}
rectification_matrix: {data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {data: [29.0, 0, 15.0, 0, 0, 28.0, 11.0, 0, 0, 0, 1, 0]}
"""


class Rig:
    """The node in this process, its camera in the hands of the test, and somebody who listens."""

    def __init__(self) -> None:
        self.sources: list[FakeSource] = []
        self.refusal: CaptureError | None = None
        self.camera = CameraNode(self._open)
        self.settings: CaptureSettings
        self.listener = Node('listener')
        self.executor = SingleThreadedExecutor()
        for node in (self.camera, self.listener):
            self.executor.add_node(node)
        self.images = self.listen(Image, '/camera/image_raw')
        self.infos = self.listen(CameraInfo, '/camera/camera_info')
        self.reports = self.listen(DiagnosticArray, '/diagnostics')
        self.wait(lambda: self.listener.count_publishers('/camera/image_raw'))
        self.wait(lambda: self.camera.count_subscribers('/diagnostics'))
        self.wait(lambda: self.camera._images.get_subscription_count())
        self.wait(lambda: self.camera._infos.get_subscription_count())

    def _open(self, settings: CaptureSettings) -> FakeSource:
        self.settings = settings
        if self.refusal is not None:
            raise self.refusal
        self.sources.append(FakeSource())
        return self.sources[-1]

    def listen(self, kind: type, topic: str) -> list[Any]:
        messages: list[Any] = []
        qos = 10 if kind is DiagnosticArray else qos_profile_sensor_data
        self.listener.create_subscription(kind, topic, messages.append, qos)
        return messages

    def wait(self, until: Callable[[], object]) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end_s, 'it never came about'
            self.executor.spin_once(0.02)

    def source(self, number: int = 1) -> FakeSource:
        self.wait(lambda: len(self.sources) >= number)
        return self.sources[number - 1]

    def see(self, frames: int = 1) -> list[Any]:
        """Let the camera deliver some frames; returns all images so far."""
        for _ in range(frames):
            count = len(self.images)
            self.sources[-1].allow()
            self.wait(lambda count=count: len(self.images) > count)
        return self.images

    @property
    def told(self) -> tuple[bytes, str]:
        """Level and message of the newest report."""
        if not self.reports:
            return b'', ''
        (status,) = self.reports[-1].status
        return status.level, status.message

    def values(self) -> dict[str, str]:
        return {v.key: v.value for v in self.reports[-1].status[0].values}

    def close(self) -> None:
        for source in self.sources:
            source.fail(CaptureError('the test is over'))
        self.camera.destroy_node()
        self.listener.destroy_node()


def init(**parameters: object) -> None:
    words = [w for k, v in parameters.items() for w in ('-p', f'{k}:={v}')]
    rclpy.init(args=['--ros-args', *words])


@pytest.fixture
def make() -> Iterator[Callable[..., Rig]]:
    """Start the node with parameters."""
    rigs: list[Rig] = []

    def make(**parameters: object) -> Rig:
        init(**{**SMALL, **parameters})
        rigs.append(Rig())
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()
    rclpy.try_shutdown()


@pytest.fixture
def refused() -> Iterator[Callable[..., None]]:
    """Start the node with parameters that it must refuse."""

    def check(match: str, **parameters: object) -> None:
        init(**{'source': 'synthetic', **parameters})
        with pytest.raises(MilError, match=match):
            CameraNode()

    yield check
    rclpy.try_shutdown()


# --- Frames ----------------------------------------------------------------------------------


def test_frame_is_published_as_it_is(make: Callable[..., Rig]) -> None:
    rig = make(frame_id='eye')
    before_ns = time.time_ns()
    rig.source()
    images = rig.see(2)
    for number, message in enumerate(images, 1):
        np.testing.assert_array_equal(image_to_rgb(message), noise(number))
        assert (message.encoding, message.step, message.is_bigendian) == ('rgb8', 96, 0)
        assert message.header.frame_id == 'eye'
    stamps = [stamp_ns(message.header) for message in images]
    assert before_ns < stamps[0] < stamps[1] < time.time_ns()


def test_camera_info_goes_with_every_image(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.source()
    images = rig.see(2)
    rig.wait(lambda: len(rig.infos) == 2)
    for image, info in zip(images, rig.infos, strict=True):
        assert info.header == image.header
        assert (info.width, info.height) == (32, 24)
        assert not info.k.any(), 'all zero: not calibrated'


def test_calibration_is_published(make: Callable[..., Rig], tmp_path: Path) -> None:
    (tmp_path / 'lens.yaml').write_text(LENS)
    rig = make(calibration=f'file://{tmp_path}/lens.yaml')
    rig.source()
    rig.see()
    rig.wait(lambda: rig.infos)
    info = rig.infos[0]
    assert info.distortion_model == 'plumb_bob'
    assert info.d.tolist() == [0.1, -0.2, 0.001, -0.002, 0.5]
    assert info.k.tolist() == [30.0, 0, 16.0, 0, 31.0, 12.0, 0, 0, 1]
    assert info.r.tolist() == [1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert info.p.tolist() == [29.0, 0, 15.0, 0, 0, 28.0, 11.0, 0, 0, 0, 1, 0]


def test_jpeg_is_made_only_while_somebody_wants_it(
    make: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mil_ros.ros import camera_node

    made: list[int] = []
    encode = camera_node.encode_jpeg

    def count(image: Any, quality: int) -> Any:
        made.append(quality)
        return encode(image, quality)

    monkeypatch.setattr(camera_node, 'encode_jpeg', count)
    rig = make(jpeg_quality=95)
    rig.source()
    rig.see(3)
    assert made == []
    jpegs = rig.listen(CompressedImage, '/camera/image_raw/compressed')
    rig.wait(lambda: rig.camera._jpegs.get_subscription_count())
    rig.sources[-1].picture = lambda _: np.full((24, 32, 3), (250, 120, 10), np.uint8)
    rig.see()
    rig.wait(lambda: jpegs)
    assert made == [95]
    (jpeg,) = jpegs
    assert jpeg.header == rig.images[-1].header
    assert jpeg.format == 'rgb8; jpeg compressed bgr8'
    bgr = cv2.imdecode(np.frombuffer(jpeg.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_allclose(bgr[..., ::-1], np.broadcast_to((250, 120, 10), bgr.shape), atol=4)


def test_what_is_not_chosen_comes_from_the_robot_file(make: Callable[..., Rig]) -> None:
    rig = make(width=0, height=0, robot='panda', source=3)
    rig.source().picture = lambda _: np.zeros((480, 640, 3), np.uint8)
    assert (rig.settings.width, rig.settings.height, rig.settings.rate_hz) == (640, 480, 30.0)
    assert rig.settings.source == '3'
    assert rig.see()[0].header.frame_id == 'camera_optical_frame'


# --- Failures --------------------------------------------------------------------------------


def test_unplugged_camera_is_told_and_comes_back_by_itself(make: Callable[..., Rig]) -> None:
    rig = make(source='/dev/video7')
    source = rig.source()
    rig.see()
    rig.wait(lambda: rig.told[0] == DiagnosticStatus.OK)
    source.fail(CaptureError('/dev/video7 was unplugged.'))
    rig.wait(lambda: rig.told == (DiagnosticStatus.ERROR, '/dev/video7 was unplugged.'))
    assert len(rig.images) == 1
    rig.source(2)
    rig.see()
    rig.wait(lambda: rig.told == (DiagnosticStatus.OK, '/dev/video7 delivers frames.'))
    assert rig.values()['reconnects'] == '1'


def test_camera_that_is_not_there_yet_is_waited_for(make: Callable[..., Rig]) -> None:
    rig = make()
    rig.source().fail(CaptureError('gone'))
    rig.refusal = CaptureError('No device /dev/video0.')
    rig.wait(lambda: rig.told == (DiagnosticStatus.ERROR, 'No device /dev/video0.'))
    rig.refusal = None
    rig.source(2)
    rig.see()
    rig.wait(lambda: rig.told[0] == DiagnosticStatus.OK)


def test_hanging_camera_is_told_while_it_hangs(make: Callable[..., Rig]) -> None:
    rig = make(source='/dev/video7', timeout_s=0.2)
    rig.source()
    rig.see()
    message = '/dev/video7 hangs: no frame for more than 0.2 s, expected one after the other.'
    rig.wait(lambda: rig.told[0] == DiagnosticStatus.ERROR and rig.told[1].startswith(message))
    assert float(rig.values()['age_s']) > 0.2
    before = len(rig.reports)
    rig.see()
    error = DiagnosticStatus.ERROR
    rig.wait(lambda: any(r.status[0].level != error for r in rig.reports[before:]))


def test_report_has_the_figures_and_names_the_camera(make: Callable[..., Rig]) -> None:
    rig = make(source='rtsp://admin:s3cret@10.0.0.7/x')
    rig.source()
    rig.see(3)
    count = len(rig.reports)
    rig.wait(lambda: len(rig.reports) > count)
    (status,) = rig.reports[-1].status
    assert (status.name, status.hardware_id) == ('camera: capture', 'rtsp://***@10.0.0.7/x')
    assert 's3cret' not in str(rig.reports)
    values = rig.values()
    assert set(values) == {
        *('rate_hz', 'age_s', 'frames', 'dropped', 'reconnects', 'clock_error_s'),
    }
    assert (values['frames'], values['dropped']) == ('3', '0')
    assert stamp_ns(rig.reports[-1].header) > 0


# --- Parameters ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'value', 'expected'),
    [
        ('jpeg_quality', 0, 'is 0; expected a whole number from 1 to 100'),
        ('width', -1, 'is -1; expected a whole number from 0 to 8192'),
        (
            'rate_hz',
            1000.0,
            r'is 1000\.0; expected a number with a decimal point from 0',
        ),
        ('rate_hz', 30, r'is 30; expected a number with a decimal point from 0\.0 to 240\.0'),
        ('timeout_s', 'soon', "is 'soon'; expected a number with a decimal point"),
        ('loop', 1, 'is 1; expected true or false'),
    ],
)
def test_parameter_out_of_range_is_refused(
    refused: Callable[..., None], name: str, value: object, expected: str
) -> None:
    refused(rf'^Parameter {name} of node camera {expected}', **{name: value})


@pytest.mark.parametrize(
    ('parameters', 'match'),
    [
        ({'source': "''"}, r'The source of the camera is empty; expected'),
        ({'source': '/nowhere/clip.mp4'}, r'No video at /nowhere/clip\.mp4; expected a file'),
        ({'robot': 'r2d2'}, r"No robot file 'r2d2'; expected"),
        ({'calibration': '/nowhere.yaml'}, r'Calibration /nowhere\.yaml cannot be read'),
        ({'fourcc': 'MJPEG'}, r"fourcc is 'MJPEG'; expected four characters"),
        ({'use_sim_time': 'true'}, r'use_sim_time of node camera is True; expected False'),
        (
            {'timeout_s': 0.05, 'rate_hz': 10.0},
            r'timeout_s is 0\.05, at 10 Hz a frame comes every 0\.1 s; expected .*, 0\.2\.',
        ),
    ],
)
def test_mistake_is_refused_at_the_start(
    refused: Callable[..., None], parameters: dict[str, object], match: str
) -> None:
    refused(match, **parameters)


def test_calibration_of_another_size_is_refused(
    refused: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / 'lens.yaml').write_text(LENS)
    message = r'Calibration lens\.yaml is of 32x24 images, the camera delivers 320x240; expected'
    refused(message, calibration=tmp_path / 'lens.yaml')


def test_parameters_describe_themselves_and_stay(make: Callable[..., Rig]) -> None:
    camera = make().camera
    quality = camera.describe_parameter('jpeg_quality')
    (limits,) = quality.integer_range
    assert (limits.from_value, limits.to_value) == (1, 100)
    (limits,) = camera.describe_parameter('rate_hz').floating_point_range
    assert (limits.from_value, limits.to_value) == (0.0, 240.0)
    for name in ('source', 'calibration', 'loop', 'freeze_s'):
        assert camera.describe_parameter(name).description
    (answer,) = camera.set_parameters([Parameter('jpeg_quality', value=50)])
    assert not answer.successful


# --- The process -----------------------------------------------------------------------------


@pytest.fixture
def listener() -> Iterator[Node]:
    rclpy.init()
    node = Node('listener')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def start(**parameters: object) -> subprocess.Popen[str]:
    words = [w for k, v in parameters.items() for w in ('-p', f'{k}:={v}')]
    command = [sys.executable, '-m', 'mil_ros.ros.camera_node', '--ros-args', *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def watch(listener: Node, count: int) -> list[int]:
    """Return the numbers of the next synthetic frames."""
    numbers: list[int] = []
    listener.create_subscription(
        Image,
        '/camera/image_raw',
        lambda m: numbers.append(read_number(image_to_rgb(m))),
        qos_profile_sensor_data,
    )
    end_s = time.monotonic() + PATIENCE_S
    while len(numbers) < count:
        assert time.monotonic() < end_s, 'no images came'
        rclpy.spin_once(listener, timeout_sec=0.1)
    return numbers


def test_test_picture_runs_until_it_is_interrupted(listener: Node) -> None:
    process = start(source='synthetic', rate_hz=20.0)
    numbers = watch(listener, 5)
    assert numbers == sorted(set(numbers))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'Traceback' not in errors


def test_looped_video_starts_again(listener: Node, tmp_path: Path) -> None:
    clip = write_video(tmp_path / 'clip.mp4', 4, rate_hz=20.0)
    process = start(source=clip, loop='true', width=64, height=48)
    numbers = watch(listener, 12)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(numbers) == {0, 1, 2, 3}
    assert (np.diff(numbers) < 0).any()


def test_mistake_is_one_sentence_and_exit_code_2() -> None:
    process = start(source='synthetic', jpeg_quality=101)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert 'Parameter jpeg_quality of node camera is 101; expected a whole number' in errors
    assert 'Traceback' not in errors
