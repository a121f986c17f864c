"""What the benches are made of; the figures themselves are not for tests."""

from __future__ import annotations

from collections import namedtuple
import json
from pathlib import Path

import pytest
from serialised import IMAGE, JOINT_STATE, make_image, make_joints, MS, START_NS

from mil_ros.core.robot import RobotDescription
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.tools.cli import main

pytest.importorskip('rclpy')  # the bench talks to a graph

from mil_ros.tools.bench import command
from mil_ros.tools.bench.record import count_gaps, measure_alignment, measure_rosbags
from mil_ros.tools.bench.rows import at_least, at_most, plain, Row
from mil_ros.tools.load import camera_topics, DIGITS, read_number


@pytest.mark.parametrize(
    ('row', 'expected'),
    [
        (at_most('a', 0.99949, 's', 1.0), Row('a', 0.999, 's', 1.0, True)),
        (at_most('a', 1.00001, 's', 1.0), Row('a', 1.0, 's', 1.0, False)),
        (at_least('a', 99, 'bags', 100), Row('a', 99, 'bags', 100, False)),
        (at_least('a', 100, 'bags', 100), Row('a', 100, 'bags', 100, True)),
        (plain('a', 1e9, 'MB/s'), Row('a', 1e9, 'MB/s', None, True)),
    ],
)
def test_a_row_keeps_its_limit_or_not(row: Row, expected: Row) -> None:
    assert row == expected


Times = namedtuple('Times', ['user', 'idle', 'steal'])


def test_document_says_how_much_of_the_machine_others_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = iter([Times(10.0, 50.0, 1.0), Times(12.0, 65.0, 4.0)])
    monkeypatch.setattr(command.psutil, 'cpu_times', lambda: next(times))
    monkeypatch.setitem(command.BENCHES, 'loop', lambda _: [plain('a', 1.0, 's')])
    path = tmp_path / 'loop.json'
    assert main(['bench', 'loop', '--json', str(path)]) == 0
    assert json.loads(path.read_text())['machine']['stolen_percent'] == 15.0


def test_system_that_counts_no_stolen_time_had_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    others = namedtuple('Others', ['user', 'idle'])
    times = iter([others(10.0, 50.0), others(12.0, 65.0)])
    monkeypatch.setattr(command.psutil, 'cpu_times', lambda: next(times))
    monkeypatch.setitem(command.BENCHES, 'loop', lambda _: [at_most('a', 2.0, 's', 1.0)])
    path = tmp_path / 'loop.json'
    assert main(['bench', 'loop', '--json', str(path)]) == 1
    assert json.loads(path.read_text())['machine']['stolen_percent'] == 0.0


def number(data: bytes, value: int) -> bytes:
    """Put a number where the load puts it; the frame of the message must be long enough."""
    return data[:16] + b'%0*d' % (DIGITS, value) + data[16 + DIGITS :]


def test_numbers_are_read_from_serialised_messages() -> None:
    assert read_number(number(bytes(40), 1234)) == 1234


def test_missing_numbers_are_counted_per_topic(tmp_path: Path) -> None:
    writer = EpisodeWriter(tmp_path / 'cup', {'/a': IMAGE, '/b': IMAGE}, {})
    for topic, numbers in {'/a': (5, 6, 7, 8), '/b': (0, 1, 4, 5, 9)}.items():
        for value in numbers:
            writer.write(topic, number(make_image(START_NS), value), START_NS)
    writer.close()
    assert count_gaps(tmp_path / 'cup') == 5


def test_alignment_reads_both_streams(tmp_path: Path, tiny_robot: RobotDescription) -> None:
    topics = tiny_robot.topics
    kinds = {topics.image: IMAGE, topics.joint_states: JOINT_STATE}
    writer = EpisodeWriter(tmp_path / 'cup', kinds, {})
    for ms in range(0, 2000, 10):
        ns = START_NS + ms * MS
        writer.write(topics.joint_states, make_joints(ns, ('a',)), ns)
        if ms % 30 == 0:
            writer.write(topics.image, make_image(ns), ns)
    writer.close()
    assert 0.0 < measure_alignment(tmp_path / 'cup', tiny_robot) < 60.0


def test_yardstick_writes_and_cleans_up(
    tmp_path: Path, tiny_robot: RobotDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mil_ros.tools.bench.record._ROSBAGS_BYTES', 1_000_000)
    assert measure_rosbags(tmp_path, tiny_robot) > 0.0
    assert list(tmp_path.iterdir()) == []


def test_first_camera_is_that_of_the_robot_file(robot: RobotDescription) -> None:
    assert camera_topics(robot, 3) == [
        '/camera/image_raw',
        '/camera_2/image_raw',
        '/camera_3/image_raw',
    ]


@pytest.mark.parametrize('words', [['--seconds', '1'], ['--cycles', '0']])
def test_a_bench_of_nothing_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['bench', 'record', '--out', str(tmp_path), *words]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith('mil bench: Got --seconds ')
    assert 'expected at least 2 seconds and 1 cycle.' in shown.err
    assert shown.out == ''
    assert list(tmp_path.iterdir()) == []
