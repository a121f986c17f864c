"""The camera: frames from OpenCV onto topics, stamped when they were captured.

OpenCV blocks, so a thread reads the camera (`data.grabber`); this node takes the newest frame and
tells how the camera is doing. A vendor driver can stand in its place: same topics, same messages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import sys
import time

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from mil_ros.core.clock import SteadyClock
from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.calibration import load_calibration
from mil_ros.data.capture import CaptureSettings, find_kind, open_source, SourceKind
from mil_ros.data.grabber import Frame, Grabber, GrabberSettings
from mil_ros.data.health import judge
from mil_ros.data.jpeg import encode_jpeg, JPEG_FORMAT
from mil_ros.data.source import FrameSource
from mil_ros.ros.node import now_ns, run_node, status
from mil_ros.ros.parameters import declare_parameters, parameter

_WATCH_PERIOD_S = 0.1
_REPORT_PERIOD_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraParameters:
    """The node's parameters."""

    robot: str = parameter('robot file: a shipped name or a path to a .yaml', 'sim_panda')
    source: str = parameter(
        'V4L2 number or /dev/..., rtsp:// or http:// address, GStreamer pipeline, video file, '
        'or synthetic',
        '/dev/video0',
    )
    width: int = parameter('columns, in pixels; 0: as in the robot file', 0, 0, 8192)
    height: int = parameter('rows, in pixels; 0: as in the robot file', 0, 0, 8192)
    rate_hz: float = parameter(
        'frames per second asked of a device; 0.0: as in the robot file', 0.0, 0.0, 240.0
    )
    frame_id: str = parameter('optical frame; empty: as in the robot file', '')
    calibration: str = parameter('YAML of camera_calibration; empty: not calibrated', '')
    loop: bool = parameter('start a video file again at its end', False)
    fourcc: str = parameter('pixel format asked of a device, such as MJPG', '')
    jpeg_quality: int = parameter('of image_raw/compressed', 85, 1, 100)
    timeout_s: float = parameter('longest silence between frames, in s', 0.5, 0.05, 60.0)
    freeze_s: float = parameter(
        'how long a live picture may stay the same to the bit, in s; 0.0: for ever',
        2.0,
        0.0,
        600.0,
    )


class CameraNode(Node):
    """Publishes what a camera sees; survives the camera."""

    def __init__(
        self, open_camera: Callable[[CaptureSettings], FrameSource] = open_source
    ) -> None:
        """Check everything a user may have got wrong, then begin to read.

        Args:
            open_camera: Opens the source.

        Raises:
            MilError: If a parameter or the calibration does not make sense.
        """
        super().__init__('camera')
        chosen = declare_parameters(self, CameraParameters)
        robot = load_robot(chosen.robot)
        self._capture = _capture_settings(chosen, robot)
        self._kind = find_kind(self._capture.source)
        self._check(chosen)
        self._quality = chosen.jpeg_quality
        self._frame_id = chosen.frame_id or robot.camera.frame_id
        self._info = _camera_info(chosen, self._capture)
        self._shown = ''
        self._dropped = 0
        self._make_publishers(robot.topics.image)
        self._news = self.create_guard_condition(self._on_news)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_WATCH_PERIOD_S, self._watch, clock=steady)
        self.create_timer(_REPORT_PERIOD_S, self._report, clock=steady)
        self._grabber = Grabber(
            partial(open_camera, self._capture),
            _grabber_settings(chosen, self._capture),
            SteadyClock(time.monotonic_ns, partial(now_ns, self)),
            self._news.trigger,
        )
        self._grabber.start()

    def _check(self, chosen: CameraParameters) -> None:
        if self.get_parameter('use_sim_time').value:
            raise ConfigError(
                'Parameter use_sim_time of node camera is True; expected False, for a camera '
                'knows no simulated time. The node `sim` has a camera of its own.'
            )
        if chosen.timeout_s < 2.0 / self._capture.rate_hz:
            raise ConfigError(
                f'Parameter timeout_s is {chosen.timeout_s:g}, at {self._capture.rate_hz:g} Hz '
                f'a frame comes every {1.0 / self._capture.rate_hz:g} s; expected at least two '
                f'periods, {2.0 / self._capture.rate_hz:g}.'
            )
        if self._kind is SourceKind.FILE:
            open_source(self._capture).release()  # it will never be there if it is not now

    def _make_publishers(self, topic: str) -> None:
        qos = qos_profile_sensor_data
        info = f'{topic.rpartition("/")[0]}/camera_info'
        self._images = self.create_publisher(Image, topic, qos)
        self._jpegs = self.create_publisher(CompressedImage, f'{topic}/compressed', qos)
        self._infos = self.create_publisher(CameraInfo, info, qos)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)

    # Frames

    def _on_news(self) -> None:
        frame = self._grabber.take()
        if frame is not None:
            self._publish(frame)
        self._watch()

    def _publish(self, frame: Frame) -> None:
        seconds, rest_ns = divmod(frame.stamp_ns, 1_000_000_000)
        header = Header(stamp=Time(sec=seconds, nanosec=rest_ns), frame_id=self._frame_id)
        height, width, _ = frame.image.shape
        message = Image(header=header, height=height, width=width, encoding='rgb8', step=3 * width)
        message.data.frombytes(frame.image.data.cast('B'))  # one copy; assigning makes more
        self._images.publish(message)
        self._info.header = header
        self._infos.publish(self._info)
        if self._jpegs.get_subscription_count():
            jpeg = CompressedImage(header=header, format=JPEG_FORMAT)
            jpeg.data.frombytes(encode_jpeg(frame.image, self._quality).data)
            self._jpegs.publish(jpeg)

    # Health

    def _watch(self) -> None:
        """Tell at once when the camera fails or is back."""
        error = self._grabber.health().error
        if error == self._shown:
            return
        self._shown = error
        if error:
            self.get_logger().error(error)
        else:
            self.get_logger().info(f'{self._capture.name} delivers frames.')
        self._report()

    def _report(self) -> None:
        health = self._grabber.health()
        expected_hz = None if self._kind is SourceKind.FILE else self._capture.rate_hz
        severity, text = judge(health, self._capture.name, expected_hz, self._dropped)
        self._dropped = health.dropped
        entry = status(
            f'{self.get_name()}: capture',
            bytes([severity]),
            text,
            rate_hz=f'{health.rate_hz:.2f}',
            age_s=f'{health.age_s:.3f}',
            frames=health.frames,
            dropped=health.dropped,
            reconnects=health.reconnects,
            clock_error_s=f'{health.clock_error_s:.3f}',
        )
        entry.hardware_id = self._capture.name
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(DiagnosticArray(header=Header(stamp=stamp), status=[entry]))

    def destroy_node(self) -> None:
        """Stop reading before what the thread wakes is gone."""
        self._grabber.close()
        super().destroy_node()


def _capture_settings(chosen: CameraParameters, robot: RobotDescription) -> CaptureSettings:
    return CaptureSettings(
        source=chosen.source,
        width=chosen.width or robot.camera.width,
        height=chosen.height or robot.camera.height,
        rate_hz=chosen.rate_hz or robot.camera.rate_hz,
        fourcc=chosen.fourcc,
        loop=chosen.loop,
    )


def _grabber_settings(chosen: CameraParameters, capture: CaptureSettings) -> GrabberSettings:
    return GrabberSettings(
        name=capture.name,
        width=capture.width,
        height=capture.height,
        timeout_s=chosen.timeout_s,
        freeze_s=chosen.freeze_s,
    )


def _camera_info(chosen: CameraParameters, capture: CaptureSettings) -> CameraInfo:
    """Return the message for every frame; all zero but for the size if there is no calibration."""
    info = CameraInfo(width=capture.width, height=capture.height)
    if chosen.calibration:
        path = Path(chosen.calibration.removeprefix('file://')).expanduser()
        lens = load_calibration(path, capture.width, capture.height)
        info.distortion_model, info.d = lens.model, list(lens.d)
        info.k, info.r, info.p = list(lens.k), list(lens.r), list(lens.p)
    return info


def main() -> int:
    """Run the node."""
    return run_node(CameraNode)


if __name__ == '__main__':
    sys.exit(main())
