"""When an arm slows and rests, and what becomes of it in the rows; no graph is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.tools.cli import main

pytest.importorskip('rclpy')

from mil_ros.tools.bench.rows import Row
from mil_ros.tools.bench.stops.command import make_rows, write_deadman_file
from mil_ros.tools.bench.stops.faults import Estop, make_faults
from mil_ros.tools.bench.stops.rig import PATIENCE_S, Repetition
from mil_ros.tools.bench.stops.trace import (
    find_pause_s,
    find_rest,
    find_slowing,
    find_steady_speed,
    Trace,
    TraceRecorder,
)

MS = 1_000_000
FULL = 1.0


def trace(*pieces: tuple[int, float]) -> Trace:
    """Return a trace of 2 ms steps from a number of steps and a speed for each piece."""
    speeds = np.concatenate([np.full(count, speed) for count, speed in pieces])
    return Trace(2 * MS * np.arange(len(speeds), dtype=np.int64), speeds)


def test_a_recorder_keeps_the_fastest_joint() -> None:
    recorder = TraceRecorder()
    recorder.add(5, np.array([0.1, -0.7, 0.2]))
    read = recorder.read()
    assert (read.times_ns.tolist(), read.speeds_rad_s.tolist()) == ([5], [0.7])
    recorder.clear()
    assert not len(recorder.read().times_ns)


@pytest.mark.parametrize(
    ('motion', 'expected'),
    [
        (trace((100, FULL)), FULL),
        (trace((50, 0.2), (76, FULL)), FULL),
        (trace((50, 0.2), (70, FULL)), None),  # not for long enough
        (trace((60, FULL)), None),  # nobody knows what was before
        (trace((100, 0.9)), None),  # too slow
        (trace((60, FULL), (1, 0.98), (60, FULL)), None),  # varies
        (trace((0, FULL)), None),
    ],
)
def test_steady_is_full_speed_for_a_while(motion: Trace, expected: float | None) -> None:
    assert find_steady_speed(motion, 0.97) == expected


def test_slowing_begins_where_the_speed_leaves_its_band_for_good() -> None:
    motion = trace((50, FULL), (2, 0.97), (3, 0.99), (4, 0.9), (100, 0.0))
    assert find_slowing(motion, 60 * MS, FULL) == 2 * 55 * MS
    assert find_slowing(motion, 2 * 56 * MS, FULL) == 2 * 56 * MS  # it slowed already
    assert find_slowing(trace((50, FULL)), 20 * MS, FULL) is None


def test_motion_that_comes_back_counts_as_not_slowed_before() -> None:
    motion = trace((50, FULL), (50, 0.0), (10, FULL), (50, 0.0))
    assert find_slowing(motion, 60 * MS, FULL) == 2 * 110 * MS
    assert find_rest(motion, 60 * MS) == 2 * 110 * MS


@pytest.mark.parametrize(('steps_at_rest', 'is_rest'), [(30, True), (20, False), (0, False)])
def test_rest_must_last(steps_at_rest: int, is_rest: bool) -> None:
    motion = trace((50, FULL), (10, 0.011), (steps_at_rest, 0.009))
    assert find_rest(motion, 0) == (2 * 60 * MS if is_rest else None)


def test_a_pause_of_the_arm_itself_is_found() -> None:
    motion = trace((50, FULL))
    late = Trace(np.concatenate([motion.times_ns, [198 * MS]]), np.ones(51))
    assert find_pause_s(late, 50 * MS) == pytest.approx(0.1)
    assert find_pause_s(motion, 50 * MS) == pytest.approx(0.002)
    assert find_pause_s(motion, 200 * MS) == 0.0


def repetitions(*values: tuple[float, float]) -> list[Repetition]:
    return [Repetition(reaction_s, rest_s, ()) for reaction_s, rest_s in values]


def test_a_row_is_the_worst_repetition() -> None:
    rows = make_rows(Estop('estop', 0.03), repetitions((0.01, 0.2), (0.03, 0.15)))
    assert rows == [
        Row('estop', 30.0, 'ms', 30.0, True),
        Row('estop_rest', 200.0, 'ms', None, True),
    ]


def test_one_slow_repetition_breaks_the_limit() -> None:
    assert not make_rows(Estop('estop', 0.03), repetitions((0.01, 0.2), (0.0301, 0.2)))[0].ok


def test_a_complaint_breaks_a_row_that_was_quick() -> None:
    done = [*repetitions((0.01, 0.2)), Repetition(0.01, 0.2, ('It moved.',))]
    assert [row.ok for row in make_rows(Estop('estop', None), done)] == [False, True]


def test_an_arm_that_never_rests_breaks_both_rows() -> None:
    done = [Repetition(0.01, PATIENCE_S, ('Waited.',))]
    assert [row.ok for row in make_rows(Estop('estop', 0.03), done)] == [False, False]


def test_limits_follow_from_the_robot_file(robot: RobotDescription) -> None:
    limits = {fault.name: fault.limit_s for fault in make_faults(robot)}
    image_s, joints_s = robot.camera.max_age_s + 0.03, robot.joint_states.max_age_s + 0.03
    assert limits == {
        'estop': 0.03,
        'deadman': 0.03,
        'camera_frozen': image_s,
        'joint_states_lost': joints_s,
        'stamps_stale': image_s,
        'policy_nan': 0.03,
        'policy_wrong_size': 0.03,
        'policy_over_limit': 0.03,
        'control_killed': 0.15,
        'guard_killed': 0.2,
        'sigterm': None,
        'clock_jump': 0.1,
        'second_publisher': 0.1,
        'servo_halt': 0.1,
        'servo_silent': 0.25,
    }


def test_the_deadman_file_differs_in_nothing_else(robot: RobotDescription, tmp_path: Path) -> None:
    other = load_robot(write_deadman_file(tmp_path))
    assert other.guard.deadman
    assert not robot.guard.deadman
    for part in ('joints', 'camera', 'joint_states', 'policy', 'topics', 'limits'):
        assert getattr(other, part) == getattr(robot, part)


@pytest.mark.parametrize(
    ('words', 'sentence'),
    [
        (['stops', '--repetitions', '0'], 'Got --repetitions 0; expected at least 1.'),
        (['loop', '--minutes', '0'], 'Got --minutes 0; expected a number above 0.'),
        (['loop', '--minutes', 'nan'], 'Got --minutes nan; expected a number above 0.'),
    ],
)
def test_a_bench_of_nothing_is_refused(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['bench', *words, '--out', str(tmp_path)]) == 2
    assert capsys.readouterr().err == f'mil bench: {sentence}\n'
    assert list(tmp_path.iterdir()) == []
