"""Each tick is given what is stamped before it, whatever order it came in."""

from __future__ import annotations

from pathlib import Path
import shutil

import numpy as np
import pytest
from serialised import IMAGE, JOINT_STATE, make_image, make_joints, MS, START_NS

from mil_ros.core.errors import EpisodeError, StaleDataError
from mil_ros.core.pace import Pace
from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.inspection import find_episodes, open_file, read_quality, summarise
from mil_ros.data.metadata import METADATA_VERSION, read_metadata, update_custom_data
from mil_ros.data.playback import lay_out, read_playback, Sample, Step

EPISODES = Path(__file__).parents[1] / 'episodes'
AGES_S = {'image': 0.15, 'joints': 0.1}
RATE_HZ = 10.0


def make_samples(rng: np.random.Generator) -> list[Sample]:
    """Return two streams of 2 s that jitter, in no order."""
    samples = []
    for topic, period_ms in (('image', 33), ('joints', 10)):
        for ms in range(0, 2000, period_ms):
            stamp_ns = START_NS + ms * MS + int(rng.integers(0, 3 * MS))
            samples.append(Sample(topic, stamp_ns, b'%d' % stamp_ns))
    return [samples[i] for i in rng.permutation(len(samples))]


def lay(samples: list[Sample], longest_s: float = 60.0) -> list[Step]:
    return lay_out(samples, AGES_S, 'image', Pace(RATE_HZ, camera_rate_hz=30.0), longest_s)


def test_a_tick_uses_an_image_when_it_comes_and_the_newest_of_the_others(
    rng: np.random.Generator,
) -> None:
    samples = make_samples(rng)
    steps = lay(samples)
    for step in steps[1:]:
        assert step.image is not None
        assert step.moment_ns == step.used.moment_ns == step.used.stamps_ns['image']
        joints = [s.stamp_ns for s in samples if s.topic == 'joints']
        assert step.used.stamps_ns['joints'] == max(ns for ns in joints if ns <= step.moment_ns)
        images = [s.stamp_ns for s in samples if s.topic == 'image']
        before = max(ns for ns in images if ns < step.moment_ns)
        assert step.settled.stamps_ns['image'] == before, 'as long as its image has not come'


def test_the_policy_acts_at_its_rate_on_the_nearest_images(rng: np.random.Generator) -> None:
    steps = lay(make_samples(rng))
    turns = steps[0].moment_ns + 100 * MS * np.arange(len(steps) - 1)
    late = np.array([step.moment_ns for step in steps[1:]]) - turns
    assert late.min() >= -17 * MS
    assert late.max() <= 17 * MS + 36 * MS  # the first image of a run must be a new one


def test_a_run_begins_once_every_stream_does(rng: np.random.Generator) -> None:
    samples = make_samples(rng)
    first = lay(samples)[0]
    firsts = [min(s.stamp_ns for s in samples if s.topic == topic) for topic in AGES_S]
    assert first.moment_ns == first.settled.moment_ns == max(firsts)
    assert max(first.settled.stamps_ns.values()) == max(firsts)


def test_every_message_up_to_the_last_tick_is_played_once_in_order(
    rng: np.random.Generator,
) -> None:
    samples = make_samples(rng)
    steps = lay(samples)
    played = [sample for step in steps for sample in (*step.samples, step.image) if sample]
    expected = [s for s in samples if s.stamp_ns <= steps[-1].moment_ns]
    assert sorted(played, key=id) == sorted(expected, key=id)
    for step in steps:
        stamps_ns = [s.stamp_ns for s in step.samples]
        assert stamps_ns == sorted(stamps_ns)
        assert stamps_ns[-1] <= step.moment_ns


def test_arrival_makes_no_difference(rng: np.random.Generator) -> None:
    samples = make_samples(rng)
    assert lay(samples) == lay([samples[i] for i in rng.permutation(len(samples))])


def test_a_run_is_no_longer_than_the_control_node_allows(rng: np.random.Generator) -> None:
    samples = make_samples(rng)
    steps = lay(samples, longest_s=0.8)
    assert len(steps) == 10
    assert steps == lay(samples)[:10]
    assert steps[-1].moment_ns - steps[0].moment_ns <= 800 * MS


def test_a_gap_is_named_with_its_place(rng: np.random.Generator) -> None:
    gap_ns = range(START_NS + 1000 * MS, START_NS + 1400 * MS)
    samples = [s for s in make_samples(rng) if s.topic == 'joints' or s.stamp_ns not in gap_ns]
    expected = r'image has a gap: 1\.\d\d s into the episode .* expected at most 0\.15 s; record'
    with pytest.raises(StaleDataError, match=expected):
        lay(samples)


def test_streams_that_hardly_overlap_are_refused(rng: np.random.Generator) -> None:
    short = [s for s in make_samples(rng) if s.stamp_ns < START_NS + 350 * MS]
    with pytest.raises(
        StaleDataError, match=r'run together for 0\.3 s, in which the policy acts 4 times'
    ):
        lay(short)


# --- Episodes --------------------------------------------------------------------------------


def test_the_kept_episodes_are_small_and_good() -> None:
    episodes = find_episodes(EPISODES)
    assert len(episodes) == 2
    summaries = [summarise(path) for path in episodes]
    assert sum(summary.size_bytes for summary in summaries) <= 3_000_000
    for summary in summaries:
        assert summary.fault == ''
        assert summary.provenance['outcome'] == 'success'
        assert read_quality(summary.provenance)['verdict'] == 'accept'
        assert read_metadata(summary.path)['version'] == METADATA_VERSION == 8
    tasks = {summary.provenance['task'] for summary in summaries}
    assert len(tasks) == len(episodes), 'they should look different'


@pytest.mark.parametrize('path', find_episodes(EPISODES), ids=lambda path: path.name)
def test_a_bag_is_played_as_the_bytes_that_were_recorded(
    path: Path, robot: RobotDescription
) -> None:
    played: dict[str, list[bytes]] = {}
    for step in read_playback(path, robot):
        for sample in filter(None, (*step.samples, step.image)):
            played.setdefault(sample.topic, []).append(sample.data)
    assert set(played) == {robot.topics.image, robot.topics.joint_states}
    for topic, data in played.items():
        with open_file(path) as file:
            recorded = [bytes(entry.data) for entry in file.messages((topic,))]
        assert data == recorded[: len(data)], topic
        assert len(data) > 0.9 * len(recorded)


def copy_episode(folder: Path) -> Path:
    return Path(shutil.copytree(EPISODES / 'reach_a', folder / 'reach_a'))


def test_a_missing_episode_is_named(tmp_path: Path, robot: RobotDescription) -> None:
    with pytest.raises(EpisodeError, match=r'No episode at .*/none; expected a rosbag2 folder'):
        read_playback(tmp_path / 'none', robot)


def test_a_truncated_episode_is_refused(tmp_path: Path, robot: RobotDescription) -> None:
    path = copy_episode(tmp_path)
    (bag,) = path.glob('*.mcap')
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    with pytest.raises(EpisodeError, match=r'Episode reach_a cannot be read .* it was cut off'):
        read_playback(path, robot)


def test_a_damaged_episode_is_refused(tmp_path: Path, robot: RobotDescription) -> None:
    path = copy_episode(tmp_path)
    (bag,) = path.glob('*.mcap')
    data = bytearray(bag.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 1000] = bytes(1000)
    bag.write_bytes(data)
    with pytest.raises(EpisodeError, match=r'Episode reach_a is truncated or damaged .* whole'):
        read_playback(path, robot)


def test_an_episode_of_another_robot_is_refused(tmp_path: Path, robot: RobotDescription) -> None:
    path = copy_episode(tmp_path)
    update_custom_data(path, {'robot': 'ur5e'})
    expected = "recorded with robot 'ur5e', expected 'sim_panda'; choose the robot file with --rob"
    with pytest.raises(EpisodeError, match=expected):
        read_playback(path, robot)


@pytest.mark.parametrize('missing', ['image', 'joint_states'])
def test_an_episode_without_a_stream_is_refused(
    missing: str, tmp_path: Path, robot: RobotDescription
) -> None:
    topics = robot.topics
    kinds = {topics.image: IMAGE, topics.joint_states: JOINT_STATE}
    writer = EpisodeWriter(tmp_path / 'half', kinds, {'robot': robot.name})
    for ms in range(0, 1000, 20):
        stamp_ns = START_NS + ms * MS
        if missing == 'image':
            writer.write(topics.joint_states, make_joints(stamp_ns, robot.joint_names), stamp_ns)
        else:
            writer.write(topics.image, make_image(stamp_ns), stamp_ns)
    writer.close()
    expected = f'Episode half has no messages on {getattr(topics, missing)}; expected images and j'
    with pytest.raises(EpisodeError, match=expected):
        read_playback(tmp_path / 'half', robot)
