"""The camera of the simulated arm: drawing must not hold up the physics."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.robot import RobotDescription
from mil_ros.ros.node import to_stamp
from mil_ros.sim.faults import FaultInjector, paint_mark
from mil_ros.sim.simulation import Simulation


class SimCamera:
    """Takes a picture in no time, and draws and publishes it in a thread of its own.

    Drawing takes a third of a tick on a small machine, and would delay Servo by that.
    """

    def __init__(self, node: Node, simulation: Simulation, faults: FaultInjector) -> None:
        """Open the camera, and publish nothing yet."""
        self._robot: RobotDescription = simulation.robot
        self._simulation, self._faults = simulation, faults
        topic = self._robot.topics.image
        self._images = node.create_publisher(Image, topic, qos_profile_sensor_data)
        info = topic.rsplit('/', 1)[0] + '/camera_info'
        self._infos = node.create_publisher(CameraInfo, info, qos_profile_sensor_data)
        self._thread = ThreadPoolExecutor(1, 'camera')  # the one that OpenGL is used in
        self._thread.submit(simulation.open_camera).result()
        self._drawing: Future[None] | None = None
        self._due_ns = 0

    def tick(self, now_ns: int) -> None:
        """Take a picture if one is due; its stamp is the moment that it shows."""
        if now_ns < self._due_ns or (self._drawing is not None and not self._drawing.done()):
            return
        self.wait()
        self._due_ns += round(NS_PER_S / self._robot.camera.rate_hz)
        self._due_ns = max(self._due_ns, now_ns)
        stamp_ns = self._faults.image_stamp_ns(now_ns)
        if stamp_ns is None:
            return
        self._simulation.capture()
        draw = partial(self._draw, stamp_ns, self._faults.mark)
        self._drawing = self._thread.submit(draw)

    def wait(self) -> None:
        """Wait until nothing is being drawn, so that the scene may be changed by hand.

        Raises what drawing has raised.
        """
        if self._drawing is not None:
            self._drawing.result()

    def close(self) -> None:
        """Close the camera in the thread that it was opened in."""
        self._thread.submit(self._simulation.close).result()
        self._thread.shutdown()

    def _draw(self, stamp_ns: int, mark: int | None) -> None:
        frame = self._simulation.draw()
        if mark is not None:
            paint_mark(frame, mark)
        message = Image(height=frame.shape[0], width=frame.shape[1], encoding='rgb8')
        message.header.stamp = to_stamp(stamp_ns)
        message.header.frame_id = self._robot.camera.frame_id
        message.step = 3 * frame.shape[1]
        message.data.frombytes(frame.data.cast('B'))
        self._images.publish(message)
        info = CameraInfo(height=message.height, width=message.width, header=message.header)
        self._infos.publish(info)
