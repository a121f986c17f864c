"""Looking into episodes, whole and cut off, without reading what is not asked for."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from serialised import IMAGE, JOINT_STATE, make_header, make_image, make_joints, MS, START_NS

from mil_ros.core.errors import DemoError, EpisodeError
from mil_ros.data.baseline import write_with_rosbags
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.inspection import (
    COMPRESSED,
    find_episodes,
    is_episode,
    read_frames,
    read_motion,
    read_quality,
    read_times,
    summarise,
)
from mil_ros.data.messages import typestore
from mil_ros.data.metadata import FILE_NAME
from mil_ros.data.preroll import Arrival

KINDS = {'/camera': IMAGE, '/jpeg': COMPRESSED, '/joints': JOINT_STATE}
NAMES = ('a', 'b')


def arrivals(duration_ms: int = 1000) -> list[Arrival]:
    """Images at 20 Hz that arrive 30 ms late, joint states at 100 Hz that arrive 1 ms late."""
    found = []
    for ms in range(0, duration_ms, 10):
        ns = START_NS + ms * MS
        found.append(Arrival('/joints', make_joints(ns, NAMES, ms / 1000.0), ns + MS))
        if ms % 50 == 0:
            found.append(Arrival('/camera', make_image(ns), ns + 30 * MS))
    return sorted(found, key=lambda a: a.received_ns)


def record(path: Path, messages: list[Arrival], **provenance: str) -> Path:
    writer = EpisodeWriter(path, KINDS, provenance)
    for i, message in enumerate(messages):
        writer.write(*message)
        if i % 25 == 24:
            writer.flush()
    writer.close()
    return path


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    return record(tmp_path / 'cup', arrivals(), task='reach', quality='{"verdict": "warn"}')


def test_times_of_everything_are_read(episode: Path) -> None:
    times = read_times(episode)
    assert times.kinds == {'/joints': JOINT_STATE, '/camera': IMAGE}
    streams = {stream.topic: stream for stream in times.streams}
    assert len(streams['/joints'].received_ns) == 100
    assert streams['/camera'].stamps_ns is not None
    delay = streams['/camera'].received_ns - streams['/camera'].stamps_ns
    assert set(delay.tolist()) == {30 * MS}
    assert times.start_ns == START_NS + MS
    assert times.duration_s == pytest.approx(0.99)
    assert times.reports()['/camera'].max_gap_s == pytest.approx(0.05)


def test_times_of_one_topic_are_read(episode: Path) -> None:
    times = read_times(episode, ('/camera',))
    assert [stream.topic for stream in times.streams] == ['/camera']


def test_times_of_a_bag_of_others_are_read(tmp_path: Path) -> None:
    write_with_rosbags(tmp_path / 'foreign', KINDS, arrivals())
    assert len(read_times(tmp_path / 'foreign').streams) == 2


def test_times_of_nothing_are_refused(episode: Path) -> None:
    with pytest.raises(
        EpisodeError, match=r'Episode cup holds no message of /none; expected some'
    ):
        read_times(episode, ('/none',))


def test_frames_are_spread_over_the_episode(episode: Path) -> None:
    frames = read_frames(episode, read_times(episode), '/camera', 5)
    assert [at_s for at_s, _ in frames] == pytest.approx([0.029, 0.279, 0.529, 0.729, 0.979])
    for at_s, image in frames:
        stamp_ms = START_NS // MS + round(1000 * at_s) - 29
        assert image.shape == (24, 32, 3)
        assert set(image.ravel().tolist()) == {stamp_ms % 251}


def test_few_frames_are_all_shown(episode: Path) -> None:
    assert len(read_frames(episode, read_times(episode), '/camera', 99)) == 20


def test_compressed_frames_are_decoded(tmp_path: Path) -> None:
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:, :, 0] = 200  # red
    _, encoded = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    kind = typestore().types[COMPRESSED]
    message = kind(make_header(START_NS), 'rgb8; png compressed bgr8', encoded.ravel())
    data = bytes(typestore().serialize_cdr(message, COMPRESSED))
    path = record(tmp_path / 'cup', [Arrival('/jpeg', data, START_NS)])
    ((_, image),) = read_frames(path, read_times(path), '/jpeg', 3)
    np.testing.assert_array_equal(image, picture)


def test_frames_of_unknown_encoding_are_refused(tmp_path: Path) -> None:
    data = make_image(START_NS, encoding='thermal')
    path = record(tmp_path / 'cup', [Arrival('/camera', data, START_NS)])
    with pytest.raises(DemoError, match=r"Image encoding 'thermal' cannot be turned into rgb8"):
        read_frames(path, read_times(path), '/camera', 3)


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    kind = typestore().types[COMPRESSED]
    message = kind(make_header(START_NS), 'h264', np.arange(20, dtype=np.uint8))
    data = bytes(typestore().serialize_cdr(message, COMPRESSED))
    path = record(tmp_path / 'cup', [Arrival('/jpeg', data, START_NS)])
    with pytest.raises(EpisodeError, match=r"image on /jpeg of format 'h264' cannot be decoded"):
        read_frames(path, read_times(path), '/jpeg', 3)


def test_motion_is_read_with_measured_velocities(episode: Path) -> None:
    motion = read_motion(episode, read_times(episode), '/joints')
    assert motion.names == NAMES
    assert motion.is_measured
    assert motion.positions.shape == motion.velocities.shape == (100, 2)
    np.testing.assert_allclose(motion.positions[:, 1], 1.0 + np.arange(100) / 100.0)
    np.testing.assert_allclose(motion.times_s, np.arange(100) / 100.0, atol=1e-6)


def test_velocities_are_derived_where_none_were_measured(tmp_path: Path) -> None:
    def without_velocity(ns: int, position: float) -> bytes:
        kind = typestore().types[JOINT_STATE]
        values, none = np.array([position, 0.0]), np.zeros(0)
        message = kind(make_header(ns), list(NAMES), values, none, none)
        return bytes(typestore().serialize_cdr(message, JOINT_STATE))

    moments = [START_NS + ms * MS for ms in range(0, 500, 10)]
    messages = [
        Arrival('/joints', without_velocity(ns, 2e-9 * (ns - START_NS)), ns) for ns in moments
    ]
    path = record(tmp_path / 'cup', messages)
    motion = read_motion(path, read_times(path), '/joints')
    assert not motion.is_measured
    np.testing.assert_allclose(motion.velocities[:, 0], 2.0, rtol=1e-6)


def test_messages_of_other_joints_are_left_out(tmp_path: Path) -> None:
    messages = [
        Arrival(
            '/joints', make_joints(START_NS + i, ('g',) if i % 3 == 1 else NAMES), START_NS + i
        )
        for i in range(9)
    ]
    path = record(tmp_path / 'cup', messages)
    assert len(read_motion(path, read_times(path), '/joints').positions) == 6


def test_padding_that_rclpy_leaves_is_no_damage(tmp_path: Path) -> None:
    """Regressions pinned: rosbags refuses what rclpy's serialize_message makes."""
    data = make_joints(START_NS, NAMES) + bytes(4)
    path = record(tmp_path / 'cup', [Arrival('/joints', data, START_NS)])
    assert read_motion(path, read_times(path), '/joints').positions.tolist() == [[0.5, 1.5]]


def test_summary_says_what_a_list_shows(episode: Path) -> None:
    summary = summarise(episode)
    assert summary.provenance['task'] == 'reach'
    assert read_quality(summary.provenance) == {'verdict': 'warn'}
    assert summary.messages == 120
    assert summary.duration_s == pytest.approx(0.99)
    assert summary.size_bytes > 50_000
    assert summary.fault == ''


def test_summary_of_a_cut_off_episode_says_so(episode: Path) -> None:
    (file,) = episode.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:-200])
    assert summarise(episode).fault == 'cut off'
    (episode / FILE_NAME).unlink()
    assert summarise(episode).fault == 'was never finished'
    (episode / FILE_NAME).write_text('nonsense')
    assert summarise(episode).fault.startswith('damaged: ')


def test_quality_that_is_no_json_is_none() -> None:
    assert read_quality({'quality': 'good'}) == {}
    assert read_quality({}) == {}


def test_episodes_of_a_folder_are_found(tmp_path: Path, episode: Path) -> None:
    record(tmp_path / 'apple', arrivals(100))
    (tmp_path / 'pictures').mkdir()
    (tmp_path / 'notes.txt').touch()
    assert find_episodes(tmp_path) == [tmp_path / 'apple', episode]
    assert is_episode(episode)
    assert not is_episode(tmp_path)


def test_a_folder_without_episodes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'No episode in .*; expected rosbag2 folders, record'):
        find_episodes(tmp_path)
