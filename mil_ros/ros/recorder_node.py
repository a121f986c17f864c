"""The recorder: demonstrations by service call, into rosbag2, as the bytes that came.

It is subscribed before the start and writes off the executor's thread, so a start takes effect at
once and a slow disk stalls no subscription.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from datetime import datetime
from functools import partial
import json
from pathlib import Path
import queue
import re
import sys
import time

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String

from mil_ros import __version__
from mil_ros.core.errors import MilError, OrderError
from mil_ros.core.robot import load_robot
from mil_ros.data.episode import EpisodeWriter, TELEOP_TOPIC
from mil_ros.ros.node import add_trigger, LATCHED, now_ns, run_node, status

_QUEUE_SIZE = 2000  # messages; about 20 s of everything
_STATUS_PERIOD_S = 0.5
_STALLED_S = 1.0
_CLOSE_S = 3.0  # the queue is short and the footer small; nothing is recorded meanwhile


class RecorderNode(Node):
    """Records one episode at a time."""

    def __init__(self) -> None:
        """Subscribe to every topic of the robot file."""
        super().__init__('recorder')
        self.robot = load_robot(self.declare_parameter('robot', 'sim_panda').value)
        self.declare_parameter('task', '')
        default = str(Path.home() / 'mil_episodes')
        self.directory = Path(self.declare_parameter('directory', default).value).expanduser()
        topics = self.robot.topics
        kinds = {
            topics.image: Image,
            topics.joint_states: JointState,
            TELEOP_TOPIC: JointJog,
            '/control/joint_jog': JointJog,
            topics.command: JointJog,
        }
        self._kinds = {
            t: f'{k.__module__.split(".")[0]}/msg/{k.__name__}' for t, k in kinds.items()
        }
        self._required = (topics.image, topics.joint_states)
        self._last_s = dict.fromkeys(self._required, -float('inf'))
        self._dropped: Counter[str] = Counter()
        self._queue: queue.Queue[tuple[str, bytes, int]] = queue.Queue(_QUEUE_SIZE)
        self._writer: EpisodeWriter | None = None
        self._write_error: str | None = None
        self._pool = ThreadPoolExecutor(1, 'writer')
        qos = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        for topic, kind in kinds.items():
            self.create_subscription(kind, topic, partial(self._on_message, topic), qos, raw=True)
        self._episode = self.create_publisher(String, '~/episode', LATCHED)
        self._status = self.create_publisher(DiagnosticStatus, '~/status', LATCHED)
        add_trigger(self, '~/start', self._start)
        add_trigger(self, '~/stop', self._stop)
        add_trigger(self, '~/discard', self._discard)
        self.create_timer(_STATUS_PERIOD_S, self._publish_status)

    # Services

    def _start(self) -> str:
        if self._writer is not None:
            raise OrderError(
                f'Already recording {self._writer.path.name}; call /recorder/stop or '
                '/recorder/discard first.'
            )
        silent = [t for t in self._required if time.monotonic() - self._last_s[t] > _STALLED_S]
        if silent:
            raise OrderError(
                f'Recording refused: nothing came on {", ".join(silent)} in the last '
                f'{_STALLED_S:g} s, expected a running camera and driver; start them or correct '
                'the topics of the robot file.'
            )
        task = str(self.get_parameter('task').value)
        name = datetime.now().strftime('%Y%m%d_%H%M%S_%f')[:-3]
        if label := re.sub(r'[^A-Za-z0-9]+', '_', task).strip('_'):
            name += f'_{label}'
        provenance = {
            'task': task,
            'robot': self.robot.name,
            'robot_sha256': self.robot.sha256,
            'software': f'mil_ros {__version__}',
        }
        self._writer = EpisodeWriter(self.directory / name, self._kinds, provenance)
        self._write_error = None
        self._dropped.clear()
        self._pool.submit(self._write_queue, self._writer)
        self._publish_status()
        return f'RECORDING {self._writer.path}'

    def _stop(self) -> str:
        writer = self._finish_episode('stop')
        counts = ', '.join(f'{n} {t}' for t, n in writer.counts.items() if n)
        lost = f'; LOST {json.dumps(dict(self._dropped))}' if self._dropped else ''
        if self._write_error:
            raise MilError(f'Episode {writer.path} is incomplete: {self._write_error}{lost}')
        self._episode.publish(String(data=str(writer.path)))  # a whole one, fit to learn from
        return f'Saved {writer.path}: {counts}{lost}'

    def _discard(self) -> str:
        writer = self._finish_episode('discard')
        trash = writer.path.with_name(f'{writer.path.name}.discarded')
        writer.path.rename(trash)
        return f'Discarded; the recording lies in {trash} until you delete it.'

    def _finish_episode(self, verb: str) -> EpisodeWriter:
        """End the episode and wait, not for long, until it is whole on disk."""
        writer = self._end(verb)
        closing = self._pool.submit(writer.close)
        try:
            closing.result(_CLOSE_S)
        except TimeoutError:
            raise MilError(
                f'Episode {writer.path} is not on disk after {_CLOSE_S:g} s, expected it there; '
                'the disk is slow. Do not use it before its metadata.yaml is there.'
            ) from None
        except OSError as err:
            raise MilError(
                f'Episode {writer.path} could not be finished ({err.strerror}), expected a '
                'writable disk; free space and record again.'
            ) from err
        return writer

    def _end(self, verb: str) -> EpisodeWriter:
        if self._writer is None:
            raise OrderError(
                f'Not recording, so there is nothing to {verb}; call /recorder/start first.'
            )
        writer, self._writer = self._writer, None
        return writer

    # Data

    def _on_message(self, topic: str, data: bytes) -> None:
        if topic in self._last_s:
            self._last_s[topic] = time.monotonic()
        if self._writer is None:
            return
        try:
            self._queue.put_nowait((topic, data, now_ns(self)))
        except queue.Full:
            self._dropped[topic] += 1

    def _write_queue(self, writer: EpisodeWriter) -> None:
        """Write until the episode ends and the queue is empty; runs in the writer's thread."""
        while self._writer is writer or not self._queue.empty():
            try:
                topic, data, received_ns = self._queue.get(timeout=0.05)
                if self._write_error is None:
                    writer.write(topic, data, received_ns)
            except queue.Empty:
                continue
            except Exception as err:  # the disk is full, say; shown in status and at stop
                self._write_error = f'writing failed ({err}); free disk space and record again.'

    def _publish_status(self) -> None:
        now_s = time.monotonic()
        ages = {topic: now_s - last_s for topic, last_s in self._last_s.items()}
        stalled = [topic for topic, age_s in ages.items() if age_s > _STALLED_S]
        recording = self._writer is not None
        level = DiagnosticStatus.WARN if stalled or self._dropped else DiagnosticStatus.OK
        if self._write_error:
            level = DiagnosticStatus.ERROR
        text = 'RECORDING' if recording else 'READY'
        states = {topic: 'STALLED' if topic in stalled else 'OK' for topic in ages}
        dropped = sum(self._dropped.values())
        self._status.publish(
            status('recorder', level, self._write_error or text, dropped=dropped, **states)
        )

    def finish(self, _: Executor) -> None:
        """Close the running episode so that nothing recorded is lost."""
        if self._writer is not None:
            writer = self._end('stop')
            self._pool.submit(writer.close).result()
            self.get_logger().warning(f'Ended in mid-episode; saved {writer.path}.')


def main() -> int:
    """Run the node."""
    return run_node(RecorderNode, is_streaming=True)


if __name__ == '__main__':
    sys.exit(main())
