"""The doctor at the simulated graph: all well, and what a test breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from control_msgs.msg import JointJog
from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data, QoSProfile
from running import PATIENCE_S, RunningGraph
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import SetBool

from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.safety import RESET_COOLDOWN_S
from mil_ros.ros.node import COMMAND, NEWEST
from mil_ros.tools.doctor.checks import examine
from mil_ros.tools.doctor.collector import Collector
from mil_ros.tools.doctor.findings import Finding, Verdict
from mil_ros.tools.doctor.report import find_next_step

pytestmark = pytest.mark.ros

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED
# A busy machine simulates slowly, and the doctor says so.
TIMING = {'joint_states_rate', 'joint_states_stamps', 'image_rate', 'image_stamps'}
FRAME_S = 1.0 / 30.0
Findings = dict[str, Finding]


def diagnose(
    robot: RobotDescription,
    until: Callable[[Findings], bool],
    feed: Callable[[], None] = lambda: None,
) -> Findings:
    """Listen, feeding the graph the while, until the findings are as expected."""
    collector = Collector(robot)
    try:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            for _ in range(15):
                feed()
                collector.spin(FRAME_S)
            rows = {row.name: row.finding for row in examine(collector.snapshot())}
            if until(rows):
                return rows
            assert time.monotonic() < end_s, rows
    finally:
        collector.close()


def expect(
    robot: RobotDescription,
    name: str,
    verdict: Verdict,
    found: str,
    feed: Callable[[], None] = lambda: None,
) -> Finding:
    """Return the finding of a check once it has a verdict for a reason."""

    def is_there(rows: Findings) -> bool:
        return rows[name].verdict is verdict and found in rows[name].found

    return diagnose(robot, is_there, feed)[name]


def is_fit(rows: Findings) -> bool:
    return all(rows[name].verdict in (OK, SKIPPED) for name in set(rows) - TIMING)


@pytest.fixture
def healed(running: RunningGraph) -> Iterator[RunningGraph]:
    """A graph whose guard is reset after the test, should it have stopped."""
    yield running
    client = running.client

    def is_ready() -> bool:
        if client.values('guard/state').get('state') == 'fault':
            client.spin_for(RESET_COOLDOWN_S)
            with suppress(MilError):
                client.trigger('/guard/reset')
        return client.values('guard/state').get('state') == 'ready'

    running.spin_until(is_ready, 'the guard')


@contextmanager
def publisher(running: RunningGraph, kind: Any, topic: str, qos: QoSProfile) -> Iterator[Any]:
    node = running.client.node
    made = node.create_publisher(kind, topic, qos)
    try:
        yield made
    finally:
        node.destroy_publisher(made)


def stamp(message: Any, lag_s: float = 0.0) -> Any:
    sec, nanosec = divmod(time.time_ns() - round(lag_s * 1e9), 1_000_000_000)
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    return message


def make_image(robot: RobotDescription, pixels: np.ndarray) -> Image:
    height, width = robot.camera.height, robot.camera.width
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    frame = np.broadcast_to(pixels, (height, width, 3)).astype(np.uint8)
    message.data.frombytes(frame.tobytes())
    return stamp(message)


def with_topics(robot: RobotDescription, **topics: str) -> RobotDescription:
    return replace(robot, topics=replace(robot.topics, **topics))


def test_a_fresh_graph_is_fit(running: RunningGraph) -> None:
    rows = diagnose(running.robot, is_fit)
    assert all(rows[name].verdict is not SKIPPED for name in TIMING)
    skipped = {name for name, finding in rows.items() if finding.verdict is SKIPPED}
    assert skipped <= {'image_frozen', 'controller', 'deadman', 'robot_description', 'bundle'}
    assert rows['control'].found == 'active, the arm will move, policy none yet'
    assert rows['command_listener'].found == '/sim on /servo_node/delta_joint_cmds'
    assert rows['controller'].found.startswith('nobody serves /controller_manager/list_controll')


def test_the_next_step_on_a_fresh_graph_is_to_show_a_task(running: RunningGraph) -> None:
    collector = Collector(running.robot)
    try:
        rows = []
        while not rows or any(row.finding.verdict is FAILED for row in rows):
            collector.spin(0.25)
            snapshot = collector.snapshot()
            rows = [row for row in examine(snapshot) if row.name not in TIMING]
        assert find_next_step(rows, snapshot).startswith('show it a task. Call /recorder/start')
    finally:
        collector.close()


def test_the_doctor_publishes_nothing(running: RunningGraph) -> None:
    collector = Collector(running.robot)
    try:
        node = running.client.node
        running.spin_until(lambda: 'mil_doctor' in node.get_node_names(), 'the doctor')
        collector.spin(1.0)
        found = node.get_publisher_names_and_types_by_node('mil_doctor', '/')
        assert found == [('/parameter_events', ['rcl_interfaces/msg/ParameterEvent'])]
        topics = running.robot.topics
        for topic in (topics.command, '/teleop/joint_jog', '/control/joint_jog'):
            senders = [e.node_name for e in node.get_publishers_info_by_topic(topic)]
            assert 'mil_doctor' not in senders
    finally:
        collector.close()


def test_joint_names_of_another_arm(running: RunningGraph) -> None:
    joints = tuple(replace(j, name=f'left_{j.name}') for j in running.robot.joints)
    other = replace(running.robot, joints=joints)
    finding = expect(other, 'joint_names', FAILED, 'no left_panda_joint1')
    assert finding.remedy == 'Use --robot panda, whose joints these are.'


def test_a_topic_a_namespace_away_is_suggested(running: RunningGraph) -> None:
    other = with_topics(running.robot, image='/wrist/camera/image_raw')
    finding = expect(other, 'image_topic', FAILED, 'but /camera/image_raw has its type')
    assert finding.remedy.startswith('Set topics.image to /camera/image_raw in the robot file')


def test_a_second_publisher_of_commands(healed: RunningGraph) -> None:
    with publisher(healed, JointJog, healed.robot.topics.command, COMMAND):
        finding = expect(healed.robot, 'command_sender', FAILED, '/mil_client publishes ')
    assert finding.remedy.startswith('End /mil_client, or have it send to /teleop/joint_jog')


def test_a_joystick_whose_qos_does_not_fit(running: RunningGraph) -> None:
    with publisher(running, JointJog, '/teleop/joint_jog', NEWEST):
        expect(running.robot, 'qos', FAILED, '/mil_client offers /teleop/joint_jog BEST_EFFORT')


def test_a_paused_servo(healed: RunningGraph) -> None:
    pause(healed, True)
    try:
        finding = expect(healed.robot, 'servo_status', FAILED, 'it is paused')
    finally:
        pause(healed, False)
    assert '/servo_node/pause_servo std_srvs/srv/SetBool "{data: false}"' in finding.remedy


def pause(running: RunningGraph, is_paused: bool) -> None:
    client = running.client.node.create_client(SetBool, '/servo_node/pause_servo')
    running.spin_until(client.service_is_ready, 'the service')
    future = client.call_async(SetBool.Request(data=is_paused))
    running.spin_until(future.done, 'an answer')
    running.client.node.destroy_client(client)


def test_a_dark_and_frozen_camera(running: RunningGraph) -> None:
    robot = with_topics(running.robot, image='/fake/image_raw')
    black = np.zeros(3)
    with publisher(running, Image, '/fake/image_raw', qos_profile_sensor_data) as images:
        rows = diagnose(
            robot,
            lambda rows: rows['image_frozen'].verdict is FAILED,
            lambda: images.publish(make_image(robot, black)),
        )
    assert rows['image_light'].found == 'dark: mean 0 of 255, spread 0'
    assert 'images alike to the last bit' in rows['image_frozen'].found
    assert rows['image_frozen'].remedy.startswith('Restart /mil_client')
    assert rows['camera_info'].verdict is WARNING


def test_a_camera_that_sees_noise_is_neither(running: RunningGraph) -> None:
    robot = with_topics(running.robot, image='/fake/image_raw')
    rng = np.random.default_rng(3)
    with publisher(running, Image, '/fake/image_raw', qos_profile_sensor_data) as images:

        def feed() -> None:
            noise = rng.integers(0, 256, (robot.camera.height, robot.camera.width, 3))
            images.publish(make_image(robot, noise))

        rows = diagnose(robot, lambda rows: rows['image_frozen'].verdict is OK, feed)
    assert rows['image_light'].verdict is OK


def test_stamps_of_another_clock(running: RunningGraph) -> None:
    robot = with_topics(running.robot, joint_states='/fake/joint_states')
    names = list(robot.joint_names)
    with publisher(running, JointState, '/fake/joint_states', qos_profile_sensor_data) as states:

        def feed() -> None:
            message = JointState(name=names, position=list(robot.home_rad))
            states.publish(stamp(message, lag_s=3600.0))

        rows = diagnose(
            robot,
            lambda rows: 'before they come' in rows['joint_states_stamps'].found,
            feed,
        )
    assert rows['joint_states_stamps'].verdict is FAILED
    assert 'stamped 3600.' in rows['joint_states_stamps'].found
    assert rows['joint_values'].found == '0 velocities for 7 joints'


def test_a_guard_in_fault_is_quoted(healed: RunningGraph) -> None:
    healed.client.trigger('/guard/estop')
    finding = expect(healed.robot, 'guard', FAILED, 'in fault: Emergency stop')
    assert '/guard/reset' in finding.remedy


def test_a_control_node_that_is_not_armed(running: RunningGraph) -> None:
    running.client.change_state('control', Transition.TRANSITION_DEACTIVATE)
    try:
        finding = expect(running.robot, 'control', WARNING, 'inactive')
    finally:
        running.client.change_state('control', Transition.TRANSITION_ACTIVATE)
    assert finding.remedy == 'ros2 lifecycle set /control activate.'


def run_doctor(file: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-m', 'mil_ros.tools.cli', 'doctor', '--json', str(file)]
    return subprocess.run(
        [*command, '--bundle', 'models/reach'],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )


def test_the_command_shows_writes_and_ends_as_it_found(
    running: RunningGraph, tmp_path: Path
) -> None:
    done = run_doctor(tmp_path / 'doctor.json')
    document = json.loads((tmp_path / 'doctor.json').read_text())
    verdicts = {entry['name']: entry['verdict'] for entry in document['checks']}
    assert {verdicts[name] for name in ('bundle', 'servo_node', 'command_sender')} == {'ok'}, (
        document
    )
    assert document['ok'] == ('failed' not in verdicts.values())
    assert done.returncode == (0 if document['ok'] else 1)
    assert 'Next:' in done.stderr
    assert 'Traceback' not in done.stderr


def test_the_command_alone_says_that_nobody_is_there(tmp_path: Path) -> None:
    done = run_doctor(tmp_path / 'doctor.json', ROS_AUTOMATIC_DISCOVERY_RANGE='OFF')
    document = json.loads((tmp_path / 'doctor.json').read_text())
    assert done.returncode == 1
    wrong = [entry for entry in document['checks'] if entry['verdict'] == 'failed']
    assert [entry['name'] for entry in wrong] == ['graph']
    assert 'unset ROS_AUTOMATIC_DISCOVERY_RANGE=OFF' in wrong[0]['remedy']
    assert 'Traceback' not in done.stderr
