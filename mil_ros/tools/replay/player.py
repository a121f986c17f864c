"""Plays an episode to a running adaptation and control node, in lock-step.

The nodes live in the bag's own time, which stands still until they have answered: a busy machine
makes a replay slower, never different. Before each tick the control node is asked what it would
use (``~/observe``), and only when that is what the bag gives as of that moment is the image
published that makes the policy act.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
import time
from typing import Final

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState

from mil_ros.core.alignment import AsOf, NS_PER_S
from mil_ros.core.errors import MilError, ReplayError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.messages import joints_in_order, stamp_ns
from mil_ros.data.playback import Sample, Step
from mil_ros.inference.bundle import Bundle, load_bundle
from mil_ros.tools.client import GraphClient
from mil_ros.tools.replay.reference import Command

PATIENCE_S: Final = 60.0  # a machine may be very busy
_RESEND_S: Final = 0.05  # what got lost on the way; the same again changes nothing
_ALL: Final = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_LAST: Final = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
_BURST: Final = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
_CLOCK: Final = '/clock'
_PREVIEW: Final = '/control/preview'
_TICK: Final = '/control/tick'
_OBSERVE, _START, _STOP = (f'/control/{name}' for name in ('observe', 'start', 'stop'))
_SERVICES: Final = ('/adaptation/adapt', _OBSERVE, _START, _STOP)


@dataclass(frozen=True, slots=True)
class Played:
    """What came of one episode.

    Attributes:
        commands: One for each tick.
        adaptation: What the adaptation node reported.
        latencies_ms: By hop, one value for each tick.
    """

    commands: list[Command]
    adaptation: dict[str, str]
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)


class Player:
    """Stands for camera, driver and clock."""

    def __init__(self, client: GraphClient, robot: RobotDescription) -> None:
        """Take the place of the hardware.

        Args:
            client: Has joined the graph of the nodes.
            robot: The arm that episodes were recorded with.

        Raises:
            ReplayError: If the control node may move an arm.
        """
        self._client, self._robot = client, robot
        self._commands: dict[int, JointJog] = {}
        self._reports: dict[int, DiagnosticStatus] = {}
        topics, node = robot.topics, client.node
        client.meet(*_SERVICES)
        client.wait(self._is_active, PATIENCE_S, 'the control node to be active')
        if client.values('control/state')['dry_run'] != 'True':
            raise ReplayError(
                'The control node has dry_run:=false, expected true: a replay must never move an '
                'arm. Start it again with dry_run:=true.'
            )
        self._clock = node.create_publisher(Clock, _CLOCK, _LAST)
        self._publishers = {
            topics.image: node.create_publisher(Image, topics.image, _BURST),
            topics.joint_states: node.create_publisher(JointState, topics.joint_states, _BURST),
        }
        self._own_topics = (_CLOCK, *self._publishers)
        node.create_subscription(JointJog, _PREVIEW, self._on_command, _ALL)
        node.create_subscription(DiagnosticStatus, _TICK, self._on_report, _ALL)
        client.wait(self._is_connected, PATIENCE_S, f'{_PREVIEW} and the subscriptions of control')

    def play(
        self,
        episode: Path,
        bundle: Bundle,
        steps: list[Step],
        on_tick: Callable[[], None] = lambda: None,
    ) -> Played:
        """Adapt to an episode, then run on it.

        Args:
            episode: For the adaptation node to read.
            bundle: The one that the adaptation node was started with.
            steps: Of the episode.
            on_tick: Called after each tick.

        Raises:
            MilError: If a node refuses, with its sentence, or does not answer.
        """
        client = self._client
        client.set_parameter('adaptation', 'demo', str(episode.resolve()), PATIENCE_S)
        adaptation = client.adapt(PATIENCE_S)
        _check_parent(load_bundle(adaptation['path']), bundle)
        check_alone(client.node, self._own_topics)
        played = Played([], adaptation)
        self._settle(steps[0])
        self._commands.clear()
        self._reports.clear()
        ended_before = self._ended_runs
        client.trigger(_START, PATIENCE_S)
        for step in steps[1:]:
            self._tick(step, ended_before, played)
            on_tick()
        client.trigger(_STOP, PATIENCE_S)
        client.wait(lambda: self._ended_runs > ended_before, PATIENCE_S, 'the run to end')
        check_alone(client.node, self._own_topics)  # nobody may have come meanwhile
        return played

    def _tick(self, step: Step, ended_before: int, played: Played) -> None:
        """Let time come to a tick, and take down what it commands."""
        began_s = time.perf_counter()
        self._settle(step)
        settled_s = time.perf_counter()
        resend_due_s = 0.0

        def is_answered() -> bool:
            nonlocal resend_due_s
            if time.monotonic() > resend_due_s:
                assert step.image is not None
                self._publishers[step.image.topic].publish(step.image.data)
                resend_due_s = time.monotonic() + _RESEND_S
            if self._ended_runs > ended_before:
                outcome = self._client.states['control/state'].message
                raise ReplayError(
                    f'The control node ended the run after {len(played.commands)} commands '
                    f'({outcome}); expected {_PREVIEW} at each tick. See its log.'
                )
            return step.moment_ns in self._commands and step.moment_ns in self._reports

        self._client.wait(is_answered, PATIENCE_S, f'a command on {_PREVIEW}')
        commanded_s = time.perf_counter()
        report = {v.key: v.value for v in self._reports[step.moment_ns].values}
        used = _read_used(report, step.used.stamps_ns)
        if used != step.used:
            raise ReplayError(
                f'A tick overtook its data: it used {used} Expected: {step.used} This is a bug '
                'of the replay; report it.'
            )
        played.commands.append(Command(used, self._velocities(step.moment_ns)))
        hops_ms = {
            'data_to_control': 1e3 * (settled_s - began_s),
            'control': float(report['tick_ms']),
            'image_to_command': 1e3 * (commanded_s - settled_s),
        }
        for hop, value in hops_ms.items():
            played.latencies_ms.setdefault(hop, []).append(value)

    def _settle(self, step: Step) -> None:
        """Publish what comes before a tick, and return once the control node has all of it."""
        client = self._client
        newest = {sample.topic: sample for sample in step.samples}
        end_s = time.monotonic() + PATIENCE_S
        samples: Iterable[Sample] = step.samples
        while True:
            self._set_clock(step.settled.moment_ns)
            for sample in samples:
                self._publishers[sample.topic].publish(sample.data)
            resend_due_s, answer = time.monotonic() + _RESEND_S, ''
            while not answer or time.monotonic() < resend_due_s:
                answer = client.ask(_OBSERVE, PATIENCE_S)
                if answer == str(step.settled):
                    return
            if time.monotonic() > end_s:
                raise ReplayError(
                    f'The control node does not get what is published. It says: {answer} '
                    f'Expected: {step.settled} See its log.'
                )
            samples = newest.values()  # an older one must not come after the newest

    def _set_clock(self, now_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(now_ns, NS_PER_S)
        self._clock.publish(message)

    def _velocities(self, moment_ns: int) -> tuple[float, ...]:
        message = self._commands[moment_ns]
        names, expected = list(message.joint_names), self._robot.joint_names
        return tuple(joints_in_order(names, message.velocities, expected, _PREVIEW).tolist())

    def _is_active(self) -> bool:
        return self._client.values('control/state').get('active') == 'True'

    @property
    def _ended_runs(self) -> int:
        return int(self._client.values('control/state')['ended_runs'])

    def _is_connected(self) -> bool:
        publishers = [self._clock, *self._publishers.values()]
        heard = all(publisher.get_subscription_count() for publisher in publishers)
        node = self._client.node
        return heard and all(node.count_publishers(topic) for topic in (_PREVIEW, _TICK))

    def _on_command(self, message: JointJog) -> None:
        self._commands[stamp_ns(message.header)] = message

    def _on_report(self, message: DiagnosticStatus) -> None:
        (command_ns,) = (v.value for v in message.values if v.key == 'command_ns')
        self._reports[int(command_ns)] = message


def check_alone(node: Node, topics: Iterable[str]) -> None:
    """Refuse to mix with hardware, or with another replay.

    Raises:
        ReplayError: If anyone else publishes on a topic that this node publishes on.
    """
    for topic in topics:
        if others := node.count_publishers(topic) - 1:
            raise ReplayError(
                f'{topic} has {others} other publishers, expected none: a replay would mix with '
                'them. Start it in a domain of its own, with ROS_DOMAIN_ID set to another number.'
            )


def _check_parent(adapted: Bundle, bundle: Bundle) -> None:
    """Refuse commands of another policy than was asked for."""
    parent = adapted.manifest['parent']
    if parent['sha256'] != bundle.sha256:
        raise MilError(
            f'The adaptation node has bundle {parent["name"]!r} with SHA-256 '
            f'{parent["sha256"][:12]}..., expected {bundle.name!r} with {bundle.sha256[:12]}...; '
            'start it with the same bundle as the replay.'
        )


def _read_used(report: dict[str, str], topics: Iterable[str]) -> AsOf:
    stamps_ns = {topic: int(report[f'{topic} stamp_ns']) for topic in topics}
    return AsOf(int(report['moment_ns']), stamps_ns)
