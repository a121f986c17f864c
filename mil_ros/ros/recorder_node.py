"""The recorder: demonstrations by service call, into rosbag2, as the bytes that came.

It is subscribed before the start and keeps the last moments in memory, so that an episode begins
before it was asked for. A slow disk stalls no subscription: another thread writes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
import sys
import time

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.executors import Executor
from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import String

from mil_ros.core.errors import EpisodeError, MilError, OrderError
from mil_ros.core.memory import keep_freed_memory
from mil_ros.core.meter import SLOW, STALLED, StreamState
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.core.streams import Expectation
from mil_ros.data.episode_streams import TELEOP_TOPIC
from mil_ros.data.preflight import (
    check_image,
    check_joints,
    check_newest_stamps,
    IMAGE,
    prepare,
)
from mil_ros.data.recorder import Recorder, RECORDING, Topic
from mil_ros.ros.node import add_trigger, LATCHED, NEWEST, now_ns, run_node, status
from mil_ros.ros.parameters import declare_parameters
from mil_ros.ros.recorder_parameters import declare_labels, declare_topics, RecorderParameters
from mil_ros.ros.sources import find_kind, Source

_CHECK_PERIOD_S = 0.1  # how late a stall may be noticed
_STATUS_PERIOD_S = 0.5


class RecorderNode(Node):
    """Records one episode at a time."""

    def __init__(self) -> None:
        """Subscribe to every topic of the robot file."""
        super().__init__('recorder')
        prepare()
        parameters = declare_parameters(self, RecorderParameters)
        declare_labels(self)
        robot = load_robot(parameters.robot)
        self.robot = robot
        required = {
            robot.topics.image: Expectation(robot.camera.rate_hz, robot.camera.max_age_s),
            robot.topics.joint_states: Expectation(
                robot.joint_states.rate_hz, robot.joint_states.max_age_s
            ),
        }
        self._episode = self.create_publisher(String, '~/episode', LATCHED)
        self._status = self.create_publisher(DiagnosticStatus, '~/status', LATCHED)
        self.recorder = Recorder(
            parameters.settings, robot, required, partial(now_ns, self), self._announce
        )
        self._sources: dict[str, Source] = {}
        for topic, kind in list_topics(robot).items():
            self._sources[topic] = Source(self, topic, kind, required.get(topic), self._on_message)
        self._more_topics = declare_topics(self) - set(self._sources)
        self._states: dict[str, StreamState] = {}
        self._status_due_s = 0.0
        actions: dict[str, Callable[[], str]] = {
            'start': self._start,
            'stop': self.recorder.stop,
            'discard': self.recorder.discard,
            'mark_success': partial(self.recorder.mark, 'success'),
            'mark_failure': partial(self.recorder.mark, 'failure'),
        }
        self._actions = {name: partial(self._act, action) for name, action in actions.items()}
        for name, action in self._actions.items():
            add_trigger(self, f'~/{name}', action)
        self._buttons = parameters.make_buttons()
        if self._buttons.is_used:
            self.create_subscription(Joy, parameters.joy_topic, self._on_joy, NEWEST)
        self.create_timer(_CHECK_PERIOD_S, self._check)

    # Services and buttons

    def _act(self, action: Callable[[], str]) -> str:
        """Do something and let the status say so at once."""
        try:
            return action()
        finally:
            self._publish_status()

    def _start(self) -> str:
        self.recorder.check_ready()
        self._adapt()
        self._check_sources()
        return self.recorder.start(
            str(self.get_parameter('task').value),
            str(self.get_parameter('operator').value),
            {t: Topic(s.kind, s.describe_offers()) for t, s in self._sources.items()},
            lambda: {topic: source.lost for topic, source in self._sources.items()},
        )

    def _on_joy(self, message: Joy) -> None:
        try:
            for name in self._buttons.press(message.buttons):
                self.get_logger().info(self._actions[name]())
        except MilError as err:
            self.get_logger().warning(str(err), throttle_duration_sec=2.0)

    def _announce(self, path: Path) -> None:
        self._episode.publish(String(data=str(path)))

    # Streams

    def _on_message(self, source: Source, data: bytes) -> None:
        source.meter.note(time.monotonic())
        self.recorder.take(source.topic, data)

    def _adapt(self) -> None:
        """Fit subscriptions to the publishers; not while recording, which it would interrupt."""
        for topic in sorted(self._more_topics):
            kind = find_kind(self, topic)
            if not kind:
                continue
            self._more_topics.discard(topic)
            try:
                self._sources[topic] = Source(self, topic, kind, None, self._on_message)
            except EpisodeError as err:
                self.get_logger().warning(f'{topic} is not recorded: {err}')
        for source in self._sources.values():
            source.adapt()
            if source.is_latched:
                self.recorder.preroll.latch(source.topic)

    def _check_sources(self) -> None:
        """Raise `OrderError` if a demonstration recorded now could not be used."""
        required = [source for source in self._sources.values() if source.expected is not None]
        for source in required:
            if fault := source.find_fault() or source.find_absence():
                raise OrderError(f'Recording refused: {fault}')
        newest = {source.topic: self.recorder.preroll.newest(source.topic) for source in required}
        found = {topic: arrival for topic, arrival in newest.items() if arrival is not None}
        check_newest_stamps(found)
        image = self.robot.topics.image
        if image in found:
            check_image(image, found[image].data, self.robot.camera)
        joints = self.robot.topics.joint_states
        states = (arrival.data for arrival in self.recorder.preroll.recent(joints))
        check_joints(joints, states, self.robot.joint_names)

    # Status

    def _check(self) -> None:
        """Notice what has gone wrong, within a tenth of a second."""
        if news := self.recorder.check():
            self.get_logger().warning(news)
        now_s = time.monotonic()
        before = {topic: state.name for topic, state in self._states.items()}
        self._states = {t: s.meter.measure(now_s) for t, s in self._sources.items()}
        is_news = before != {topic: state.name for topic, state in self._states.items()}
        if is_news or news or now_s >= self._status_due_s:
            self._publish_status()
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + _STATUS_PERIOD_S
            self._check_publishers()

    def _check_publishers(self) -> None:
        if self.recorder.state != RECORDING:
            self._adapt()
            return
        for source in self._sources.values():
            if fault := source.find_fault():
                self.recorder.note_fault(fault)

    def _publish_status(self) -> None:
        """Say how every stream is doing."""
        dropped = self.recorder.dropped
        values: dict[str, object] = {'dropped': sum(dropped.values())}
        for topic, state in self._states.items():
            values[topic] = state.name
            values[f'{topic} rate_hz'] = f'{state.rate_hz:.1f}'
            values[f'{topic} age_s'] = f'{state.age_s:.3f}'
            values[f'{topic} dropped'] = dropped.get(topic, 0)
            values[f'{topic} lost'] = self._sources[topic].lost
        is_recording = self.recorder.state == RECORDING
        faulty = {t: s for t, s in self._states.items() if s.name in (SLOW, STALLED)}
        text = self.recorder.state
        for topic, state in faulty.items():
            text += f'; {topic} is {state.name}, {state.rate_hz:.1f} Hz, age {state.age_s:.1f} s'
        level = DiagnosticStatus.WARN if faulty or dropped else DiagnosticStatus.OK
        if self.recorder.trouble:
            level, text = DiagnosticStatus.ERROR, f'{text}; {self.recorder.trouble}'
        elif is_recording and any(state.name == STALLED for state in faulty.values()):
            level = DiagnosticStatus.ERROR
        self._status.publish(status('recorder', level, text, **values))

    def finish(self, _: Executor) -> None:
        """Close the running episode so that nothing recorded is lost."""
        if text := self.recorder.close():
            self.get_logger().warning(f'Ended in mid-episode. {text}')


def list_topics(robot: RobotDescription) -> dict[str, str]:
    """Return what is recorded of a robot by default: the type of each topic."""
    topics = robot.topics
    info = topics.image.rsplit('/', 1)[0] + '/camera_info'
    return {
        topics.image: IMAGE,
        info: 'sensor_msgs/msg/CameraInfo',
        topics.joint_states: 'sensor_msgs/msg/JointState',
        TELEOP_TOPIC: 'control_msgs/msg/JointJog',
        '/control/joint_jog': 'control_msgs/msg/JointJog',
        topics.command: 'control_msgs/msg/JointJog',
        topics.servo_status: 'moveit_msgs/msg/ServoStatus',
    }


def main() -> int:
    """Run the node."""
    keep_freed_memory()
    return run_node(RecorderNode, is_streaming=True)


if __name__ == '__main__':
    sys.exit(main())
