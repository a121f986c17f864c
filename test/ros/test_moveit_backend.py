"""The planner node with a stand-in for MoveIt: who is paused, watched and stopped, and when."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator
from pathlib import Path
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus
from fake_moveit import FakeMoveIt, GROUP, install
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from running import PATIENCE_S
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool
from std_srvs.srv import SetBool, Trigger
import yaml

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.ros.joint_space import JointSpaceBackend
from mil_ros.ros.moveit_backend import MoveItBackend
from mil_ros.ros.node import LATCHED, status
from mil_ros.ros.planner_node import PlannerNode

pytestmark = pytest.mark.ros

SPEED = 1.0  # rad/s of the arm while MoveIt moves it


class Arm(Node):
    """Driver, guard, deadman switch and Servo in one node."""

    def __init__(self, robot: RobotDescription, world: FakeMoveIt) -> None:
        super().__init__('arm')
        self.robot, self.world = robot, world
        self.positions = robot.home + 0.3
        self.speed = 0.0
        self.guard = 'ready'
        self.deadman_on = self.joints_on = True
        self.servo_agrees = True
        self.paused: list[bool] = []
        self.log: list[str] = []
        self._joints = self.create_publisher(JointState, robot.topics.joint_states, 5)
        self._deadman = self.create_publisher(Bool, '/teleop/deadman', 1)
        self._state = self.create_publisher(DiagnosticStatus, '/guard/state', LATCHED)
        self.create_service(SetBool, robot.topics.pause_servo, self._on_pause)
        self.create_timer(0.01, self._tick)
        world.moves = self.follow

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self.paused.append(bool(request.data))
        self.world.calls.append('pause' if request.data else 'resume')
        response.success = self.servo_agrees
        return response

    def _tick(self) -> None:
        if self.joints_on:
            count = len(self.positions)
            message = JointState(name=list(self.robot.joint_names))
            message.header.stamp = self.get_clock().now().to_msg()
            message.position = array.array('d', self.positions)
            message.velocity = array.array('d', np.full(count, self.speed))
            self._joints.publish(message)
        self._deadman.publish(Bool(data=self.deadman_on))
        message = 'Emergency stop was called.' if self.guard == 'fault' else self.guard
        self._state.publish(status('guard', DiagnosticStatus.OK, message, state=self.guard))

    def follow(self, goal: dict[str, float]) -> None:
        """Be moved by MoveIt, in its own thread, until there or stopped."""
        target = np.array([goal[name] for name in self.robot.joint_names])
        start, self.speed = self.positions, SPEED
        for share in np.linspace(0.0, 1.0, 60):
            if self.world.stopped.wait(0.01):
                break
            self.positions = start + share * (target - start)
        self.speed = 0.0


class Rig:
    def __init__(self, robot_file: Path, world: FakeMoveIt) -> None:
        words = ['--ros-args', '-p', 'backend:=moveit', '-p', f'robot:={robot_file}']
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
        self.world, self.robot = world, load_robot(robot_file)
        self.arm, self.planner = Arm(self.robot, world), PlannerNode()
        self.executor = SingleThreadedExecutor()
        for node in (self.arm, self.planner):
            self.executor.add_node(node)

    def close(self) -> None:
        for node in (self.arm, self.planner):
            node.destroy_node()
        rclpy.shutdown()

    def wait(self, until: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end_s, f'waited for {what}'
            self.executor.spin_once(0.02)

    def begin(self, verb: str) -> Any:
        client = self.arm.create_client(Trigger, f'/planner/{verb}')
        self.wait(client.service_is_ready, verb)
        return client.call_async(Trigger.Request())

    def end(self, answer: Any) -> tuple[bool, str]:
        self.wait(answer.done, 'an answer')
        return bool(answer.result().success), str(answer.result().message)

    def call(self, verb: str) -> tuple[bool, str]:
        return self.end(self.begin(verb))

    def wait_until_executing(self) -> None:
        self.wait(lambda: self.arm.speed > 0.0, 'the arm to move')


@pytest.fixture
def robot_file(tmp_path: Path) -> Path:
    """An arm that MoveIt knows, with a deadman switch."""
    document = yaml.safe_load((share_dir() / 'config/robots/sim_panda.yaml').read_text())
    package = 'moveit_resources_panda_moveit_config'
    document['moveit'] = {'group': GROUP, 'config_package': package, 'config_name': 'panda'}
    document['guard']['deadman'] = True
    document['joint_states']['max_age_s'] = 1.0  # the machine may be busy
    document['guard']['source_timeout_s'] = 1.0
    path = tmp_path / 'arm.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture
def world(robot_file: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMoveIt:
    return install(monkeypatch, dict.fromkeys(load_robot(robot_file).joint_names, 0.0))


@pytest.fixture
def rig(robot_file: Path, world: FakeMoveIt) -> Iterator[Rig]:
    rig = Rig(robot_file, world)
    yield rig
    rig.close()


@pytest.mark.usefixtures('world')
@pytest.mark.parametrize(
    ('name', 'is_installed', 'kind'),
    [
        ('arm', True, MoveItBackend),
        ('arm', False, JointSpaceBackend),
        ('sim_panda', True, JointSpaceBackend),
    ],
)
def test_moveit_is_taken_where_it_is(
    robot_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    is_installed: bool,
    kind: type[MoveItBackend | JointSpaceBackend],
) -> None:
    monkeypatch.setattr('mil_ros.ros.moveit_arm.is_installed', lambda: is_installed)
    robot = robot_file if name == 'arm' else name
    rclpy.init(
        args=['--ros-args', '-p', f'robot:={robot}'],
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        node = PlannerNode()
        assert type(node._backend) is kind
        node.destroy_node()
    finally:
        rclpy.shutdown()


def test_the_arm_is_home_and_servo_has_it_back(rig: Rig) -> None:
    is_done, answer = rig.call('go_home')
    assert is_done, answer
    assert answer == (
        'The arm is at the start pose (within 0.000 rad), around all that move_group knows.'
    )
    np.testing.assert_allclose(rig.arm.positions, rig.robot.home)
    assert rig.world.calls == ['load', 'pause', 'start from here', 'plan', 'execute', 'resume']


def test_the_answer_comes_when_the_guard_would_let_the_next_command_through(rig: Rig) -> None:
    rig.world.moves = lambda goal: wait_and_follow(rig, goal)
    answer = rig.begin('go_home')
    rig.wait(lambda: rig.arm.paused == [True, False], 'Servo to be resumed')
    for _ in range(20):
        rig.executor.spin_once(0.02)
    assert not answer.done()
    rig.arm.guard = 'ready'
    assert rig.end(answer)[0]


def wait_and_follow(rig: Rig, goal: dict[str, float]) -> None:
    """Move while the guard waits for a Servo that says nothing."""
    rig.arm.guard = 'waiting'
    rig.arm.follow(goal)


@pytest.mark.parametrize('state', ['teleop', 'fault', 'disabled'])
def test_nothing_is_paused_while_the_guard_is_not_ready(rig: Rig, state: str) -> None:
    rig.arm.guard = state
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert answer.startswith('Motion refused: the guard ')
    assert rig.arm.paused == []


def test_nothing_is_paused_while_the_arm_moves(rig: Rig) -> None:
    rig.arm.speed = 0.2
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert 'panda_joint1 moves at 0.200 rad/s, expected every joint below 0.01' in answer
    assert rig.arm.paused == []


def test_moveit_moves_nothing_unless_the_deadman_switch_is_held(rig: Rig) -> None:
    rig.arm.deadman_on = False
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert 'the deadman switch is not held, expected it held until the arm is home' in answer
    assert rig.arm.paused == []


def test_servo_is_resumed_if_no_way_is_found(rig: Rig) -> None:
    rig.world.plan_fails = True
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert 'MoveIt finds no way to the start pose' in answer
    assert rig.arm.paused == [True, False]
    assert 'execute' not in rig.world.calls


def test_a_servo_that_refuses_to_pause_is_asked_to_resume(rig: Rig) -> None:
    rig.arm.servo_agrees = False
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert answer.startswith('Servo does not pause: /servo_node/pause_servo did not agree')
    assert 'And Servo is still paused: Servo does not resume' in answer
    assert rig.arm.paused == [True, False]
    assert 'plan' not in rig.world.calls


def break_guard(rig: Rig) -> None:
    rig.arm.guard = 'fault'


def release(rig: Rig) -> None:
    rig.arm.deadman_on = False


def lose_joints(rig: Rig) -> None:
    rig.arm.joints_on = False


def call_stop(rig: Rig) -> None:
    assert rig.call('stop') == (True, 'Stopping.')


@pytest.mark.parametrize(
    ('happens', 'sentence'),
    [
        (break_guard, 'Motion ended: the guard has a fault (Emergency stop was called), expected'),
        (release, 'Motion ended: the deadman switch was released, expected it held; hold it'),
        (lose_joints, 'Motion ended: /joint_states is 1.'),
        (call_stop, 'Motion ended: /planner/stop was called.'),
    ],
)
def test_what_the_guard_would_stop_stops_moveit(
    rig: Rig, happens: Callable[[Rig], None], sentence: str
) -> None:
    rig.world.moves = lambda _: follow_until_stopped(rig)
    answer = rig.begin('go_home')
    rig.wait_until_executing()
    happens(rig)
    is_done, text = rig.end(answer)
    assert not is_done
    assert text.startswith(sentence)
    assert rig.world.calls.count('execute') == 1
    assert 'stop' in rig.world.calls
    assert rig.world.calls[-1] == 'resume'
    assert rig.arm.speed == 0.0


def follow_until_stopped(rig: Rig) -> None:
    rig.arm.speed = SPEED
    rig.world.stopped.wait(PATIENCE_S)
    rig.arm.speed = 0.0


def test_the_end_of_the_process_stops_moveit_and_resumes_servo(rig: Rig) -> None:
    rig.world.moves = lambda _: follow_until_stopped(rig)
    answer = rig.begin('go_home')
    rig.wait_until_executing()
    rig.planner.finish(rig.executor)
    assert rig.arm.paused == [True, False]
    assert 'Motion ended: the planner is shutting down.' in rig.end(answer)[1]


def test_a_stop_that_comes_before_the_execution_has_begun_is_not_forgotten(rig: Rig) -> None:
    told = threading.Event()
    rig.world.before_start = lambda: told.wait(PATIENCE_S)
    rig.world.moves = lambda _: follow_until_stopped(rig)
    answer = rig.begin('go_home')
    rig.wait(lambda: 'execute' in rig.world.calls, 'the execution')
    call_stop(rig)
    rig.wait(lambda: 'stop' in rig.world.calls, 'the first stop')
    told.set()
    assert rig.end(answer) == (False, 'Motion ended: /planner/stop was called.')
    assert rig.world.calls.count('stop') >= 2


def test_a_motion_that_ends_elsewhere_is_no_success(rig: Rig) -> None:
    rig.world.moves = lambda _: None
    rig.arm.positions = rig.robot.home + 0.5
    is_done, answer = rig.call('go_home')
    assert not is_done
    assert answer.startswith('MoveIt says that it is done, but panda_joint1 is 0.50 rad from the')


def test_a_collision_is_told_and_so_is_none(rig: Rig) -> None:
    assert rig.call('check') == (
        True,
        'The arm is not in collision with itself or anything that move_group knows.',
    )
    rig.world.collides = lambda state: abs(state['panda_joint1'] - 0.3) < 0.01
    is_free, answer = rig.call('check')
    assert not is_free
    assert answer.startswith('The arm is in collision, expected it free of itself and of all')
    rig.arm.joints_on = False
    rig.wait(lambda: True, '')
    is_free, answer = rig.call('check')
    assert not is_free
    assert answer.startswith('Nobody can tell whether the arm is in collision: nothing has come')


def test_only_one_thing_is_done_at_a_time(rig: Rig) -> None:
    assert rig.call('stop') == (False, 'Nothing to stop; call /planner/go_home first.')
    answer = rig.begin('go_home')
    rig.wait_until_executing()
    for verb in ('go_home', 'check'):
        is_done, text = rig.call(verb)
        assert not is_done
        assert text.startswith('Refused: the planner is at work, expected it idle; wait until')
    assert rig.end(answer)[0]
