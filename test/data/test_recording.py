"""The writer's thread: all that came is written, what did not fit is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import errno
import os
from pathlib import Path
import threading
from typing import Any

import pytest
from serialised import (
    IMAGE,
    JOINT_JOG,
    JOINT_STATE,
    make_image,
    make_jog,
    make_joints,
    MS,
    START_NS,
)

from mil_ros.core.quality import QualityReport, Verdict
from mil_ros.data.baseline import count_with_rosbags
from mil_ros.data.episode_log import EpisodeLog, read_stamp_ns
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.inspection import read_times
from mil_ros.data.metadata import read_metadata
from mil_ros.data.preroll import Arrival
from mil_ros.data.recording import Recording

KINDS = {'/camera': IMAGE, '/joints': JOINT_STATE}
NAMES = ('a', 'b')
PATIENCE_S = 20.0


def accept(recording: Recording) -> QualityReport:
    return QualityReport(Verdict.ACCEPT, tuple(recording.faults), 1.0, None, None, None, {})


def image_at(ms: int) -> Arrival:
    ns = START_NS + ms * MS
    return Arrival('/camera', make_image(ns - 5 * MS), ns)


def jog_at(ms: int, velocity: float) -> Arrival:
    ns = START_NS + ms * MS
    return Arrival('/jog', make_jog(ns - MS, NAMES, velocity), ns)


def joints_at(ms: int, position: float = 0.0) -> Arrival:
    ns = START_NS + ms * MS
    return Arrival('/joints', make_joints(ns - MS, NAMES, position), ns)


class Disk:
    """Stands before the system's calls; can be slow, or full but for a few kilobytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_free = threading.Event()
        self.is_free.set()
        self.is_full = False
        self._writev = os.writev
        monkeypatch.setattr('mil_ros.data.mcap_writer.os.writev', self.writev)

    def writev(self, descriptor: int, parts: Any) -> int:
        assert self.is_free.wait(PATIENCE_S)
        if self.is_full and sum(map(len, parts)) > 10_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self._writev(descriptor, parts)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(monkeypatch)
    yield disk
    disk.is_free.set()


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Recording]:
    def begin(capacity_bytes: int = 10_000_000) -> Recording:
        writer = EpisodeWriter(tmp_path / 'cup', KINDS, {'task': 'reach'})
        log = EpisodeLog(KINDS, '/joints', NAMES, '/jog')
        return Recording(writer, log, START_NS, capacity_bytes, accept)

    return begin


def test_all_that_came_is_written_in_order(begin: Callable[..., Recording]) -> None:
    recording = begin()
    arrivals = [image_at(ms) if ms % 4 == 0 else joints_at(ms) for ms in range(200)]
    for arrival in arrivals:
        recording.put(arrival)
    recording.end(START_NS + 200 * MS)
    assert recording.wait(PATIENCE_S)
    assert recording.error == ''
    assert recording.dropped == {}
    assert recording.backlog_bytes == 0
    path = recording.writer.path
    assert count_with_rosbags(path) == {'/camera': 50, '/joints': 150}
    times = {s.topic: s for s in read_times(path).streams}
    assert times['/joints'].received_ns.tolist() == [
        a.received_ns for a in arrivals if a.topic == '/joints'
    ]


def test_verdict_and_outcome_are_noted(begin: Callable[..., Recording]) -> None:
    recording = begin()
    recording.put(image_at(0))
    recording.end(START_NS)
    assert recording.wait(PATIENCE_S)
    custom = read_metadata(recording.writer.path)['custom_data']
    assert custom['task'] == 'reach'
    assert custom['outcome'] == 'unknown'
    assert custom['verdict'] == 'accept'
    assert '"verdict": "accept"' in custom['quality']


def test_messages_are_on_their_way_to_disk_long_before_the_end(
    begin: Callable[..., Recording],
) -> None:
    recording = begin()
    recording.put(image_at(0))
    (file,) = recording.writer.path.glob('*.mcap')
    size = file.stat().st_size
    pause = threading.Event()
    for _ in range(200):
        if (grown := file.stat().st_size - size) > 0:
            break
        pause.wait(0.02)
    recording.end(START_NS)
    assert grown > 0
    assert recording.wait(PATIENCE_S)


def test_what_the_queue_has_no_room_for_is_counted(
    begin: Callable[..., Recording], disk: Disk
) -> None:
    size = len(image_at(0).data)
    recording = begin(capacity_bytes=3 * size)
    disk.is_free.clear()
    for ms in range(10):
        recording.put(image_at(ms))
    assert recording.dropped == {'/camera': 7}
    recording.put(joints_at(11))
    assert recording.dropped['/joints'] == 1
    disk.is_free.set()
    recording.end(START_NS + 12 * MS)
    assert recording.wait(PATIENCE_S)
    assert recording.error == ''
    assert count_with_rosbags(recording.writer.path) == {'/camera': 3}
    assert sum(recording.dropped.values()) == 8


def test_a_slow_disk_is_not_waited_for_by_who_brings_messages(
    begin: Callable[..., Recording], disk: Disk
) -> None:
    recording = begin()
    disk.is_free.clear()
    for ms in range(50):
        recording.put(image_at(ms))  # returns at once, or the test would never end
    recording.end(START_NS + 50 * MS)
    assert not recording.wait(0.05)
    assert not recording.is_done
    disk.is_free.set()
    assert recording.wait(PATIENCE_S)
    assert count_with_rosbags(recording.writer.path) == {'/camera': 50}


def test_a_disk_that_fills_up_ends_the_episode_and_leaves_it_readable(
    begin: Callable[..., Recording], disk: Disk
) -> None:
    recording = begin()
    recording.put(joints_at(0))
    pause = threading.Event()
    while not sum(recording.writer.counts.values()):
        pause.wait(0.01)
    disk.is_full = True
    for ms in range(1, 6):
        recording.put(image_at(ms))
    for _ in range(1000):
        if recording.error:
            break
        pause.wait(0.01)
    assert 'No space left on device' in recording.error
    assert recording.error.endswith(
        'expected a disk with free space; what was written until then is kept. Free space and '
        'record again.'
    )
    assert recording.wait(PATIENCE_S), 'the episode should have ended by itself'
    recording.put(image_at(7))
    assert recording.dropped['/camera'] == 6
    assert recording.report is not None
    (reason,) = recording.report.reasons
    assert reason.startswith('The end is missing: writing failed after 0.0 MB')
    assert count_with_rosbags(recording.writer.path) == {'/joints': 1}


def test_a_bug_in_the_writer_is_no_silent_loss(
    begin: Callable[..., Recording], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(threading, 'excepthook', seen.append)

    def fail(*_: object) -> None:
        raise ZeroDivisionError('oops')

    recording = begin()
    monkeypatch.setattr(recording.log, 'note', fail)
    recording.put(image_at(0))
    assert recording.wait(PATIENCE_S)
    assert 'ZeroDivisionError: oops' in recording.error
    assert [hook.exc_type for hook in seen] == [ZeroDivisionError]


# --- What is noted ---------------------------------------------------------------------------


def make_log(arrivals: list[Arrival]) -> EpisodeLog:
    kinds = {**KINDS, '/text': 'std_msgs/msg/String', '/jog': JOINT_JOG}
    log = EpisodeLog(kinds, '/joints', NAMES, '/jog')
    for arrival in arrivals:
        log.note(arrival)
    return log


def test_stamps_are_read_without_decoding() -> None:
    log = make_log([image_at(ms) for ms in (0, 33)])
    (stream,) = log.streams({}, {'/camera': 2})
    assert stream.stamps_ns is not None
    assert stream.stamps_ns.tolist() == [START_NS - 5 * MS, START_NS + 28 * MS]
    assert stream.received_ns.tolist() == [START_NS, START_NS + 33 * MS]
    assert stream.lost == 2


def test_stamps_of_either_byte_order_are_read() -> None:
    assert read_stamp_ns(bytes.fromhex('00010000 01000000 02000000')) == 1_000_000_002
    assert read_stamp_ns(bytes.fromhex('00000000 00000001 00000002')) == 1_000_000_002
    assert read_stamp_ns(bytes.fromhex('00010000 01')) == 0


def test_a_topic_without_header_has_no_stamps() -> None:
    (stream,) = make_log([Arrival('/text', b'\0\1\0\0\1\0\0\0\0', 7)]).streams({}, {})
    assert stream.stamps_ns is None
    assert stream.received_ns.tolist() == [7]


def test_a_topic_of_which_all_was_dropped_is_known() -> None:
    (stream,) = make_log([]).streams({'/camera': 4}, {})
    assert (stream.topic, stream.dropped, len(stream.received_ns)) == ('/camera', 4, 0)


def test_motion_is_the_widest_range_of_a_joint() -> None:
    assert make_log([]).motion_rad is None
    log = make_log([joints_at(200 * i, position) for i, position in enumerate((0.1, 0.4, 0.2))])
    assert log.motion_rad == pytest.approx(0.3)
    assert log.fault == ''


def test_motion_before_the_start_does_not_count() -> None:
    log = EpisodeLog(KINDS, '/joints', NAMES, '/jog', START_NS + 300 * MS)
    for ms in range(0, 1000, 100):
        log.note(joints_at(ms, 1.0 if ms < 300 else 0.2))
    assert log.motion_rad == log.speed_rad_s == 0.0


def test_speed_is_that_of_the_fastest_joint_by_stamp() -> None:
    assert make_log([joints_at(0)]).speed_rad_s is None
    late = [
        Arrival('/joints', make_joints(START_NS + ms * MS, NAMES, position), START_NS + came * MS)
        for ms, came, position in ((0, 5, 0.1), (100, 205, 0.14), (400, 405, 0.04))
    ]
    assert make_log(late).speed_rad_s == pytest.approx(0.4)


def test_joint_states_that_stand_still_in_time_tell_no_speed() -> None:
    log = make_log([Arrival('/joints', make_joints(0, NAMES, i), i * 200 * MS) for i in range(3)])
    assert log.motion_rad == pytest.approx(2.0)
    assert log.speed_rad_s is None


def test_fastest_command_of_either_direction_is_noted() -> None:
    assert make_log([]).command_rad_s is None
    assert make_log([jog_at(ms, 0.0) for ms in range(5)]).command_rad_s == 0.0
    log = make_log([jog_at(ms, speed) for ms, speed in enumerate((0.01, -0.3, 0.2, 0.0))])
    assert log.command_rad_s == pytest.approx(0.3)


def test_a_command_for_another_arm_is_named() -> None:
    log = make_log([Arrival('/jog', make_jog(START_NS, ('x',), 0.1), START_NS)])
    assert log.fault.startswith("/jog has 1 values for joints ['x'], expected one for each of")


def test_joint_states_are_decoded_now_and_then_only() -> None:
    log = make_log([joints_at(ms, float(ms)) for ms in range(250)])
    assert log.motion_rad == pytest.approx(200.0)


def test_joints_of_another_arm_are_named_once() -> None:
    foreign = [
        Arrival('/joints', make_joints(START_NS + k, ('x', 'y', 'z')), START_NS + k * 200 * MS)
        for k in range(3)
    ]
    log = make_log(foreign)
    assert log.motion_rad is None
    assert log.fault.startswith("/joints has 3 values for joints ['x', 'y', 'z'], expected one")


def test_bytes_that_are_no_joint_state_are_named() -> None:
    log = make_log([Arrival('/joints', b'\0\1\0\0' + bytes(9), START_NS)])
    assert log.fault.startswith('/joints brings 13 bytes that are no sensor_msgs/msg/JointState (')
    assert log.fault.endswith('check its publisher.')


def test_what_did_not_reach_the_disk_is_forgotten_from_the_end() -> None:
    log = make_log([image_at(ms) for ms in range(5)])
    assert log.trim({'/camera': 3, '/joints': 0}) == {'/camera': 2}
    (stream,) = log.streams({}, {})
    assert stream.received_ns.tolist() == [START_NS + ms * MS for ms in range(3)]
