"""What the doctor makes of its findings, and how it is called; no graph is needed."""

from __future__ import annotations

from io import StringIO
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from healthy import make_healthy
from rich.console import Console
import yaml

from mil_ros.core.robot import RobotDescription
from mil_ros.tools import cli
from mil_ros.tools.doctor import session
from mil_ros.tools.doctor.checks import examine
from mil_ros.tools.doctor.findings import failed, from_sentence, Verdict
from mil_ros.tools.doctor.report import find_next_step, to_document
from mil_ros.tools.doctor.samples import ImageLog, JointLog, to_switch
from mil_ros.tools.doctor.snapshot import NodeState, Snapshot, Switch
from mil_ros.tools.doctor.table import render


def next_step(**changes: Any) -> str:
    snapshot = make_healthy(**changes)
    return find_next_step(examine(snapshot), snapshot)


def control_state(**values: str) -> dict[str, NodeState]:
    guard = NodeState(False, 'ready', {'state': 'ready'})
    return {'/guard/state': guard, '/control/state': NodeState(False, 'idle', values)}


def draw(snapshot: Snapshot, width: int = 100) -> str:
    rows = examine(snapshot)
    console = Console(width=width, record=True, file=StringIO())
    console.print(render('mil doctor: panda', rows, find_next_step(rows, snapshot)))
    return console.export_text()


# Next step


def test_next_step_is_the_remedy_of_the_first_failure() -> None:
    step = next_step(servo=None, deadman=None)
    assert step.startswith('mend servo_status first. Wake it: ros2 service call /servo_node/pause')


def test_next_step_activates_control_before_anything_else() -> None:
    assert next_step(lifecycle='inactive') == 'ros2 lifecycle set /control activate.'


def test_next_step_without_a_policy_is_to_show_the_task() -> None:
    step = next_step(states=control_state(policy='', dry_run='True'))
    assert step.startswith('show it a task. Call /recorder/start')


@pytest.mark.parametrize(('dry_run', 'what'), [('True', 'nothing moves'), ('False', 'the arm mo')])
def test_next_step_of_a_fit_arm_is_to_start(dry_run: str, what: str) -> None:
    step = next_step(states=control_state(policy='cup', dry_run=dry_run))
    assert step.startswith(f'call /control/start ({what}')
    assert step.endswith('ros2 service call /control/start std_srvs/srv/Trigger.')


def test_next_step_while_a_policy_runs_is_to_end_it() -> None:
    assert 'end it with /control/stop' in next_step(states=control_state(running='True'))


# Report


def test_document_is_what_machines_were_promised() -> None:
    rows = examine(make_healthy(servo=None))
    document = to_document('panda', rows, 'mend it')
    assert list(document) == ['robot', 'checks', 'ok', 'next']
    assert document['ok'] is False
    keys = {'name', 'verdict', 'found', 'expected', 'remedy'}
    assert all(set(entry) == keys for entry in document['checks'])
    broken = next(entry for entry in document['checks'] if entry['name'] == 'servo_status')
    assert broken['verdict'] == 'failed'
    json.dumps(document)
    assert to_document('panda', examine(make_healthy()), '')['ok'] is True


def test_warnings_and_skipped_checks_leave_an_arm_fit() -> None:
    rows = examine(make_healthy(camera_info=None, controllers=None, controllers_reason='none'))
    assert {'warning', 'skipped'} <= {row.finding.verdict.value for row in rows}
    assert to_document('panda', rows, '')['ok'] is True


def test_table_shows_name_verdict_finding_wish_and_remedy() -> None:
    shown = draw(make_healthy(servo=None))
    assert '✗ failed' in shown
    assert 'servo_status' in shown
    assert 'silent on /servo_node/status: it is paused' in shown
    assert '(expected a status in each of its periods)' in shown
    assert '→ Wake it: ros2 service call /servo_node/pause_servo' in shown
    assert 'Not fit to move.' in shown
    assert '✗ 1 failed' in shown
    assert 'Next: mend servo_status first.' in shown


def test_table_of_a_fit_arm_says_so() -> None:
    shown = draw(make_healthy())
    assert 'Fit to move.' in shown
    assert 'failed' not in shown


def test_table_shows_brackets_of_messages_as_they_are() -> None:
    state = NodeState(True, 'got joints [red] of [/x]', {})
    assert 'got joints [red] of [/x]' in draw(make_healthy(states={'/guard/state': state}))


def test_table_fits_a_narrow_terminal() -> None:
    shown = draw(make_healthy(servo=None, nodes=('/guard',)), width=80)
    assert max(map(len, shown.splitlines())) <= 80


# Sentences


@pytest.mark.parametrize(
    ('sentence', 'finding'),
    [
        ('A is 1; expected 2, mend it.', failed('A is 1', '2, mend it', 'Remedy.')),
        ('A is 1, expected 2; mend it.', failed('A is 1', '2', 'Mend it.')),
        ('A is 1; expected 2. Mend it.', failed('A is 1', '2', 'Mend it.')),
        ('A is 1; mend it.', failed('A is 1', '', 'Mend it.')),
        ('A is 1.', failed('A is 1', '', 'Remedy.')),
    ],
)
def test_sentences_of_errors_are_taken_apart(sentence: str, finding: object) -> None:
    assert from_sentence(sentence, 'Remedy.') == finding


# Samples


def stamped(ns: int, **fields: Any) -> SimpleNamespace:
    sec, nanosec = divmod(ns, 10**9)
    header = SimpleNamespace(stamp=SimpleNamespace(sec=sec, nanosec=nanosec))
    return SimpleNamespace(header=header, **fields)


def joints(ns: int, names: list[str], position: list[float], velocity: list[float]) -> Any:
    return stamped(ns, name=names, position=position, velocity=velocity)


def test_joint_states_are_kept_apart_by_their_names(robot: RobotDescription) -> None:
    log = JointLog(robot)
    for i in range(4):
        log.add(joints(i, ['a', 'b'], [0.0, 0.1 * i], [0.0, 0.0]), 10 + i, None)
    log.add(joints(9, ['finger'], [float('nan')], [0.0]), 20, None)
    arm, finger = log.streams(is_simulated=False)
    assert arm.names == ('a', 'b')
    assert arm.times.received_ns.tolist() == [10, 11, 12, 13]
    assert arm.times.stamps_ns.tolist() == [0, 1, 2, 3]
    assert arm.motion_rad == pytest.approx(0.3)
    assert arm.positions == pytest.approx((0.0, 0.3))
    assert (arm.non_finite, finger.non_finite) == (0, 1)


def test_joint_states_of_changing_length_are_survived(robot: RobotDescription) -> None:
    log = JointLog(robot)
    log.add(joints(1, ['a', 'b'], [0.0, 0.1], []), 10, None)
    log.add(joints(2, ['a', 'b'], [], []), 11, None)
    (arm,) = log.streams(is_simulated=False)
    assert arm.positions == ()


def test_simulated_time_takes_the_place_of_arrival(robot: RobotDescription) -> None:
    log = JointLog(robot)
    log.add(joints(500, ['a'], [0.0], [0.0]), 10**18, 505)
    (arm,) = log.streams(is_simulated=True)
    assert arm.times.received_ns.tolist() == [505]


def image(ns: int, value: int, encoding: str = 'mono8') -> Any:
    pixels = np.full((2, 3), value, np.uint8).tobytes()
    return stamped(ns, height=2, width=3, step=3, encoding=encoding, data=pixels)


def test_images_leave_digests_and_figures_of_the_newest() -> None:
    log = ImageLog('/x')
    for i, value in enumerate((7, 7, 90)):
        log.add(image(i, value), 10 + i, None)
    seen = log.stream(is_simulated=False)
    assert seen.digests[0] == seen.digests[1] != seen.digests[2]
    assert (seen.width, seen.height, seen.encoding) == (3, 2, 'mono8')
    assert (seen.brightness, seen.contrast, seen.fault) == (90.0, 0.0, '')


def test_image_that_cannot_be_read_is_a_fault() -> None:
    log = ImageLog('/x')
    log.add(image(0, 7, encoding='rgb8'), 10, None)  # three times too short
    assert 'expected a step of at least 9' in log.stream(is_simulated=False).fault


def test_rate_of_a_switch_is_that_between_its_messages() -> None:
    assert to_switch([]) is None
    assert to_switch([(1.0, True)]) == Switch(True, 0.0)
    assert to_switch([(1.0, True), (1.1, True), (1.2, False)]) == Switch(False, pytest.approx(10))


# The command


@pytest.fixture
def no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake must be found before anything listens."""

    def fail(*_: object) -> None:
        raise AssertionError('joined the graph')

    monkeypatch.setattr(session, 'look', fail)


@pytest.fixture
def healthy_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, 'look', lambda robot, slices: make_healthy())


MISTAKES = {
    'another robot': (['--robot', 'toaster'], "No robot file 'toaster'; expected a path to a"),
    'no bundle': (['--bundle', 'TMP/none'], 'No policy bundle at TMP/none: expected a folder'),
    'too short': (['--seconds', '0'], 'Got --seconds 0; expected 1 to 60, long enough to hear'),
    'no number': (['--seconds', 'nan'], 'Got --seconds nan; expected 1 to 60'),
}


@pytest.mark.usefixtures('no_graph')
@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = MISTAKES[mistake]
    assert cli.main(['doctor', *(word.replace('TMP', str(tmp_path)) for word in words)]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith('mil doctor: ' + message.replace('TMP', str(tmp_path)))
    assert shown.err.count('\n') == 1
    assert shown.out == ''


def test_without_ros_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__('sys').modules, 'rclpy', None)
    assert cli.main(['doctor']) == 2
    shown = capsys.readouterr().err
    assert shown.startswith('mil doctor: ROS 2 cannot be imported (')
    assert 'source /opt/ros/$ROS_DISTRO/setup.bash' in shown


@pytest.mark.usefixtures('no_graph')
def test_robot_file_that_makes_no_sense_is_a_finding(
    document: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document['home_rad'] = document['home_rad'][:6]
    (tmp_path / 'arm.yaml').write_text(yaml.safe_dump(document))
    words = ['doctor', '--robot', str(tmp_path / 'arm.yaml'), '--json', str(tmp_path / 'd.json')]
    assert cli.main(words) == 1
    written = json.loads((tmp_path / 'd.json').read_text())
    assert written['robot'] == 'arm'
    assert written['checks'][0]['verdict'] == 'failed'
    assert written['checks'][0]['found'] == 'arm: home_rad has 6 values'
    assert 'home_rad has 6 values' in capsys.readouterr().err


@pytest.mark.usefixtures('no_graph')
def test_topic_that_is_no_name_is_a_finding(document: dict[str, Any], tmp_path: Path) -> None:
    document['topics']['image'] = 'camera one'
    (tmp_path / 'arm.yaml').write_text(yaml.safe_dump(document))
    assert cli.main(['doctor', '--robot', str(tmp_path / 'arm.yaml')]) == 1


@pytest.mark.usefixtures('healthy_graph')
def test_fit_arm_is_exit_code_0_and_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'new' / 'doctor.json'
    words = ['doctor', '--bundle', 'models/reach', '--json', str(file)]
    assert cli.main(words) == 1  # the bundle is for another image size
    document = json.loads(file.read_text())
    wrong = [c['name'] for c in document['checks'] if c['verdict'] == Verdict.FAILED.value]
    assert wrong == ['bundle']
    assert cli.main(['doctor', '--json', str(file)]) == 0
    assert json.loads(file.read_text())['ok'] is True
    assert 'Fit to move.' in capsys.readouterr().err


@pytest.mark.usefixtures('healthy_graph')
def test_file_that_cannot_be_written_is_one_sentence_below_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert cli.main(['doctor', '--json', str(tmp_path / 'file' / 'a.json')]) == 2
    shown = capsys.readouterr().err
    assert 'Fit to move.' in shown
    assert 'expected a file in a writable folder, choose another --json' in shown
    assert 'Traceback' not in shown
