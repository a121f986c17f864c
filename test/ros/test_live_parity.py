"""A bag gives exactly what the control node used live: the same frames, the same joint states."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from control_msgs.msg import JointJog
from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from running import RunningGraph

from mil_ros.core.alignment import AsOf, indices_as_of, NS_PER_S, Stream
from mil_ros.core.errors import MilError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Observation, Vector
from mil_ros.data.episode import read_provenance
from mil_ros.data.episode_log import read_stamp_ns
from mil_ros.data.episode_streams import read_raw
from mil_ros.data.inspection import read_quality
from mil_ros.data.messages import deserialize, image_to_rgb, joints_in_order, stamp_ns
from mil_ros.inference.bundle import load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.ros.run import RAMP_S
from mil_ros.tools.loop import Episode

pytestmark = pytest.mark.ros

ATTEMPTS = 5  # the middleware may lose a message for the recorder on a busy machine
TICKS = 10  # in full force


@dataclass
class Live:
    """What the control node said while a recording was running.

    Attributes:
        commands: Velocities by stamp.
        used: What they were made of, by the same stamp.
        ages_s: How old each node said that was.
    """

    commands: dict[int, Vector] = field(default_factory=dict)
    used: dict[int, AsOf] = field(default_factory=dict)
    ages_s: list[dict[str, float]] = field(default_factory=list)

    def on_command(self, message: JointJog) -> None:
        self.commands[stamp_ns(message.header)] = np.array(message.velocities)

    @property
    def started_ns(self) -> int:
        """When the run was: its stream begins with a zero."""
        return min(self.commands)

    @property
    def in_full_force(self) -> set[int]:
        """Stamps of the commands that are what the policy said, long after the ramp."""
        if not self.commands:
            return set()
        return {ns for ns in self.used if ns >= self.started_ns + 2 * RAMP_S * NS_PER_S}

    def on_tick(self, message: DiagnosticStatus) -> None:
        values = {v.key: v.value for v in message.values}
        topics = [key.removesuffix(' stamp_ns') for key in values if key.endswith(' stamp_ns')]
        stamps_ns = {topic: int(values[f'{topic} stamp_ns']) for topic in topics}
        self.used[int(values['command_ns'])] = AsOf(int(values['moment_ns']), stamps_ns)
        self.ages_s.append({topic: float(values[f'{topic} age_s']) for topic in topics})


class Bag:
    """An episode, read back as of moments."""

    def __init__(self, path: Path, robot: RobotDescription) -> None:
        self.robot, topics = robot, robot.topics
        self.ages_s = {
            topics.image: robot.camera.max_age_s,
            topics.joint_states: robot.joint_states.max_age_s,
        }
        self.raw = read_raw(path, self.ages_s)
        self.stamps_ns = {
            topic: np.array([read_stamp_ns(data) for data, _ in messages], dtype=np.int64)
            for topic, messages in self.raw.items()
        }

    def index_as_of(self, topic: str, moment_ns: int) -> int:
        stream = Stream(topic, self.stamps_ns[topic], self.ages_s[topic])
        return int(indices_as_of(stream, np.array([moment_ns], dtype=np.int64))[0])

    def observe(self, used: AsOf, frames_back: int = 0) -> Observation:
        """Return what was to be seen as of the stamps that were used."""
        topics, size = self.robot.topics, self.robot.policy
        found = {t: self.index_as_of(t, ns) for t, ns in used.stamps_ns.items()}
        found[topics.image] -= frames_back
        image, state = (deserialize(*self.raw[topic][i]) for topic, i in found.items())
        pixels = resize_area(image_to_rgb(image), size.image_height, size.image_width)
        names = self.robot.joint_names
        return Observation(pixels, joints_in_order(state.name, state.position, names, 'joints'))


def run_and_record(running: RunningGraph) -> tuple[Live, Path]:
    """Record a run of the adapted policy until nothing of it is missing in the bag."""
    client, live = running.client, Live()
    depth = QoSProfile(depth=100)
    kinds = ((JointJog, '/control/joint_jog', live.on_command),)
    kinds += ((DiagnosticStatus, '/control/tick', live.on_tick),)
    subscriptions = [client.node.create_subscription(k, t, f, depth) for k, t, f in kinds]
    client.wait(
        lambda: all(client.node.count_publishers(topic) for _, topic, _ in kinds),
        20.0,
        'the control node',
    )
    for _ in range(ATTEMPTS):
        running.loop.new_layout()
        live.commands.clear()
        live.used.clear()
        live.ages_s.clear()
        path = Path(client.trigger('/recorder/start').removeprefix('RECORDING '))
        client.trigger('/control/start')
        try:
            client.wait(lambda: len(live.in_full_force) >= TICKS, 20.0, 'the ticks')
            client.trigger('/control/stop')
        except MilError:  # a busy machine held up a stream, and the run ended
            client.trigger('/recorder/discard')
            continue
        client.trigger('/recorder/stop')
        streams = read_quality(read_provenance(path))['streams']
        if not any(streams[topic]['lost'] for topic in Bag(path, running.robot).raw):
            break
    for subscription in subscriptions:
        client.node.destroy_subscription(subscription)
    return live, path


@pytest.fixture(scope='module')
def policy(running: RunningGraph) -> OnnxPolicy:
    """The policy that the control node has."""
    running.loop.demonstrate(Episode(0, 'any'))
    return OnnxPolicy(load_bundle(running.client.adapt(20.0)['path']))


def test_the_bag_gives_the_very_frames_that_were_used_live(
    running: RunningGraph, policy: OnnxPolicy
) -> None:
    """The commands are computed again from the bag: one other pixel or joint would show."""
    live, path = run_and_record(running)
    robot, bag = running.robot, Bag(path, running.robot)
    assert len(live.in_full_force) >= TICKS
    others = 0
    for used in live.used.values():
        assert list(used.stamps_ns) == [robot.topics.image, robot.topics.joint_states]
        for topic, ns in used.stamps_ns.items():
            assert bag.stamps_ns[topic][bag.index_as_of(topic, ns)] == ns, 'it is in the bag'
            # Something newer may have been on its way, nothing older can be newest.
            assert ns <= bag.stamps_ns[topic][bag.index_as_of(topic, used.moment_ns)]
    for command_ns in live.in_full_force:
        used, command = live.used[command_ns], live.commands[command_ns]
        assert np.array_equal(policy.act(bag.observe(used)), command)
        others += not np.array_equal(policy.act(bag.observe(used, frames_back=1)), command)
    assert others > len(live.in_full_force) / 2, 'another frame should give another command'


@pytest.mark.usefixtures('policy')
def test_a_run_is_ramped_in_and_goes_on_at_a_steady_beat(running: RunningGraph) -> None:
    live, _ = run_and_record(running)
    stamps_ns = sorted(live.commands)
    assert not live.commands[live.started_ns].any()
    assert np.median(np.diff(stamps_ns)) < 0.05 * NS_PER_S, 'silence would mean nothing'
    first_ns = min(live.used)
    before = [live.commands[ns] for ns in stamps_ns if ns < first_ns]
    assert not np.any(before), 'nothing moves before the policy has acted'
    during = [ns for ns in stamps_ns if first_ns <= ns < live.started_ns + 0.5 * RAMP_S * NS_PER_S]
    full = live.commands[min(ns for ns in stamps_ns if ns > live.started_ns + RAMP_S * NS_PER_S)]
    for ns in during:
        gain = (ns - live.started_ns) / (RAMP_S * NS_PER_S)
        speed = np.abs(live.commands[ns]).max()
        assert speed <= 1.5 * gain * np.abs(full).max() + 0.01


@pytest.mark.usefixtures('policy')
def test_each_tick_says_how_old_its_data_were(running: RunningGraph) -> None:
    live, _ = run_and_record(running)
    robot = running.robot
    for used, ages_s in zip(live.used.values(), live.ages_s, strict=True):
        assert ages_s == pytest.approx(used.ages_s, abs=1e-4)
        assert 0.0 <= used.ages_s[robot.topics.image] <= robot.camera.max_age_s
        assert 0.0 <= used.ages_s[robot.topics.joint_states] <= robot.joint_states.max_age_s
    assert set(live.used) <= set(live.commands), 'every report names a command'


def test_control_can_be_asked_what_it_would_use(running: RunningGraph) -> None:
    answer = running.client.trigger('/control/observe')
    topics = running.robot.topics
    assert answer.startswith('At ')
    assert f': {topics.image} of ' in answer
    assert f', {topics.joint_states} of ' in answer
