"""What was recorded is what is read, aligned by header stamp; bad recordings are named."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recordings import PROVENANCE, Recording, REST_MS
from rosbags.interfaces import ConnectionExtRosbag2, QosReliability
from rosbags.rosbag2 import Reader
import yaml

from mil_ros.core.errors import DemoError, EpisodeError, MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode import EpisodeWriter, load_demo, read_provenance, TELEOP_TOPIC
from mil_ros.data.messages import typestore


@pytest.fixture
def recording(tiny_robot: RobotDescription) -> Recording:
    return Recording(tiny_robot)


@pytest.fixture
def read(recording: Recording, tmp_path: Path) -> Callable[[], Any]:
    """Write the recording as the test has set it and load the demonstration."""
    return lambda: load_demo(recording.write(tmp_path / 'cup_03'), recording.robot)


# --- Round trip ------------------------------------------------------------------------------


def newest(stamps_ms: list[int], moment_ms: int) -> int:
    return max(i for i, ms in enumerate(stamps_ms) if ms <= moment_ms)


def test_every_stream_is_read_as_of_the_same_moments(
    recording: Recording, read: Callable[[], Any]
) -> None:
    demo = read()
    first_ms = max(recording.image_ms[0], recording.joint_ms[0], recording.action_ms[0])
    last_ms = min(recording.image_ms[-1], recording.joint_ms[-1], recording.action_ms[-1])
    begin_ms = next(ms for ms in recording.action_ms if ms >= REST_MS)
    moments = [ms for ms in range(first_ms, last_ms + 1, 100) if ms >= begin_ms]
    assert len(demo) == len(moments) == 15
    assert demo.action_source == 'commanded'
    for step, moment in enumerate(moments):
        assert set(demo.images[step].ravel()) == {newest(recording.image_ms, moment)}
        joint_ms = recording.joint_ms[newest(recording.joint_ms, moment)]
        action_ms = recording.action_ms[newest(recording.action_ms, moment)]
        expected = [recording.position(joint_ms, j) for j in range(7)]
        np.testing.assert_allclose(demo.joint_positions[step], expected, rtol=1e-6)
        expected = [recording.velocity(action_ms, j) for j in range(7)]
        np.testing.assert_allclose(demo.joint_velocities[step], expected, rtol=1e-6)


def test_demo_has_the_size_and_types_of_the_policy(read: Callable[[], Any]) -> None:
    demo = read()
    assert demo.images.shape[1:] == (12, 16, 3)
    assert demo.joint_positions.shape[1:] == demo.joint_velocities.shape[1:] == (7,)
    assert demo.images.dtype == np.uint8
    assert demo.joint_positions.dtype == demo.joint_velocities.dtype == np.float32


def test_order_of_the_messages_in_the_bag_does_not_matter(
    recording: Recording, read: Callable[[], Any], tmp_path: Path
) -> None:
    expected = read()
    for stamps in (recording.joint_ms, recording.action_ms):
        stamps.reverse()
    reversed_stamps = recording.write(tmp_path / 'reversed')
    got = load_demo(reversed_stamps, recording.robot)
    np.testing.assert_array_equal(got.joint_positions, expected.joint_positions)
    np.testing.assert_array_equal(got.joint_velocities, expected.joint_velocities)


def test_provenance_comes_back(recording: Recording, tmp_path: Path) -> None:
    assert read_provenance(recording.write(tmp_path / 'cup_03')) == PROVENANCE


def test_metadata_is_of_a_version_that_every_ros_reads(
    recording: Recording, tmp_path: Path
) -> None:
    path = recording.write(tmp_path / 'cup_03')
    information = yaml.safe_load((path / 'metadata.yaml').read_text())
    assert information['rosbag2_bagfile_information']['version'] == 8
    assert information['rosbag2_bagfile_information']['storage_identifier'] == 'mcap'


def test_writer_counts_messages_per_topic(recording: Recording, tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / 'cup_03', {TELEOP_TOPIC: 'control_msgs/msg/JointJog'}, {})
    message = recording.messages()[-1][2]
    data = bytes(typestore().serialize_cdr(message, 'control_msgs/msg/JointJog'))
    for ms in range(3):
        writer.write(TELEOP_TOPIC, data, ms)
    writer.close()
    assert writer.counts == {TELEOP_TOPIC: 3}


def test_offered_qos_comes_back(tmp_path: Path) -> None:
    forever = {'sec': 9223372036, 'nsec': 854775807}
    policies = {'history': 1, 'depth': 5, 'reliability': 2, 'durability': 2, 'liveliness': 1}
    times = dict.fromkeys(('deadline', 'lifespan', 'liveliness_lease_duration'), forever)
    flag = {'avoid_ros_namespace_conventions': False}
    offered = yaml.safe_dump([json.loads(json.dumps({**policies, **times, **flag}))])
    kinds = {'/a': 'std_msgs/msg/String', '/b': 'std_msgs/msg/String'}
    EpisodeWriter(tmp_path / 'cup_03', kinds, {}, {'/a': offered}).close()
    with Reader(tmp_path / 'cup_03') as reader:
        found = {c.topic: c.ext for c in reader.connections}
    assert isinstance(found['/a'], ConnectionExtRosbag2)
    (qos,) = found['/a'].offered_qos_profiles
    assert qos.reliability == QosReliability.BEST_EFFORT
    assert qos.depth == 5
    assert isinstance(found['/b'], ConnectionExtRosbag2)
    assert list(found['/b'].offered_qos_profiles) == []


# --- Bad input -------------------------------------------------------------------------------


def test_missing_folder_is_refused(tmp_path: Path, robot: RobotDescription) -> None:
    with pytest.raises(EpisodeError, match=r'No episode at .*none; expected a rosbag2 folder, re'):
        load_demo(tmp_path / 'none', robot)


def test_folder_without_metadata_is_refused(tmp_path: Path, robot: RobotDescription) -> None:
    with pytest.raises(EpisodeError, match=r'cannot be read \(.*it was cut off or is no rosbag2'):
        load_demo(tmp_path, robot)


@pytest.mark.parametrize('text', ['', '[]', 'a: b', 'rosbag2_bagfile_information: {version: 99}'])
def test_damaged_metadata_is_refused(recording: Recording, tmp_path: Path, text: str) -> None:
    path = recording.write(tmp_path / 'cup_03')
    (path / 'metadata.yaml').write_text(text)
    with pytest.raises(
        EpisodeError, match=r'Episode cup_03 cannot be read .*Try `mil inspect --repair`, or'
    ):
        load_demo(path, recording.robot)


def test_empty_episode_is_refused(recording: Recording, read: Callable[[], Any]) -> None:
    recording.image_ms = recording.joint_ms = recording.action_ms = []
    with pytest.raises(EpisodeError, match=r'Episode cup_03 has no messages on /camera/image_raw'):
        read()


@pytest.mark.parametrize(
    ('stream', 'topic'),
    [
        ('image_ms', '/camera/image_raw'),
        ('joint_ms', '/joint_states'),
    ],
)
def test_lacking_stream_is_named(
    recording: Recording, read: Callable[[], Any], stream: str, topic: str
) -> None:
    setattr(recording, stream, [])
    with pytest.raises(EpisodeError, match=rf'Episode cup_03 has no messages on {topic}; expect'):
        read()


@pytest.mark.parametrize('share', [0.0, 0.001, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_truncated_file_is_refused(recording: Recording, tmp_path: Path, share: float) -> None:
    path = recording.write(tmp_path / 'cup_03')
    (file,) = path.glob('*.mcap')
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    message = r'Episode cup_03 (cannot be read|is truncated or damaged) \(.*again\.'
    with pytest.raises(EpisodeError, match=message):
        load_demo(path, recording.robot)


def test_flipped_byte_is_never_more_than_a_refusal(
    recording: Recording, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = recording.write(tmp_path / 'cup_03')
    (file,) = path.glob('*.mcap')
    content = file.read_bytes()
    refused = 0
    for place in rng.integers(0, len(content), 60):
        damaged = bytearray(content)
        damaged[place] ^= 0xFF
        file.write_bytes(damaged)
        try:
            load_demo(path, recording.robot)
        except MilError:
            refused += 1
    assert refused > 0


def test_motion_that_is_too_short_is_refused(
    recording: Recording, read: Callable[[], Any]
) -> None:
    recording.action_ms = [ms for ms in recording.action_ms if ms < REST_MS + 300]
    message = r'Episode cup_03: It holds 0\.\d s of motion, expected at least 0\.5 s; record a'
    with pytest.raises(DemoError, match=message):
        read()


def test_joints_of_another_arm_are_refused(recording: Recording, read: Callable[[], Any]) -> None:
    recording.names = [f'ur5e_joint{i}' for i in range(8)]
    message = r"/joint_states has 8 values for joints \['ur5e_joint0', .*'panda_joint1'"
    with pytest.raises(DemoError, match=message):
        read()


def test_images_of_another_size_are_refused(recording: Recording, read: Callable[[], Any]) -> None:
    recording.size = (30, 40)
    message = r"Episode cup_03 has images of 40x30, robot 'tiny' expects 32x24; record with that"
    with pytest.raises(DemoError, match=message):
        read()


def test_images_of_unknown_encoding_are_refused(
    recording: Recording, read: Callable[[], Any]
) -> None:
    recording.encoding = 'nonsense'
    with pytest.raises(DemoError, match=r"Image encoding 'nonsense' cannot be turned into rgb8"):
        read()


@pytest.mark.parametrize(
    ('stream', 'topic', 'age'),
    [
        ('image_ms', '/camera/image_raw', r'0\.15'),
        ('joint_ms', '/joint_states', r'0\.\d+'),
        ('action_ms', '/teleop/joint_jog', r'0\.25'),
    ],
)
def test_gap_in_a_stream_is_refused(
    recording: Recording, read: Callable[[], Any], stream: str, topic: str, age: str
) -> None:
    setattr(recording, stream, [ms for ms in getattr(recording, stream) if not 900 < ms < 1400])
    message = rf'Episode cup_03: {topic} has a gap: 0\.\d+ s into .* expected at most {age} s'
    with pytest.raises(EpisodeError, match=message):
        read()


def test_streams_of_different_clocks_are_refused(
    recording: Recording, read: Callable[[], Any]
) -> None:
    recording.image_ms = [ms + 60_000 for ms in recording.image_ms]
    with pytest.raises(
        EpisodeError, match=r'Episode cup_03: The streams .* never run at the same'
    ):
        read()


def test_non_finite_positions_are_refused(
    recording: Recording, read: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recording, 'position', staticmethod(lambda ms, joint: float('nan')))
    with pytest.raises(DemoError, match=r'Demo has non-finite joint_positions'):
        read()


def test_existing_folder_is_never_written_to(recording: Recording, tmp_path: Path) -> None:
    path = recording.write(tmp_path / 'cup_03')
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    with pytest.raises(
        EpisodeError, match=r'cup_03 exists already; expected a new folder, choose'
    ):
        EpisodeWriter(path, {}, {})
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(EpisodeError, match=r'Cannot write to .*cup_03 \(.*\); choose a writable'):
        EpisodeWriter(tmp_path / 'file' / 'cup_03', {}, {})
