"""The simulated arm does what its family says, with the clock in hand and live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
import time

import numpy as np
import pytest
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.parameter import Parameter
from running import PATIENCE_S, RunningGraph, start_graph

from mil_ros.core.errors import OrderError
from mil_ros.core.robot import load_robot
from mil_ros.data.episode import load_demo
from mil_ros.data.messages import stamp_ns
from mil_ros.ros import sim_node
from mil_ros.sim.families import FAMILIES, get_family
from mil_ros.sim.servo import JOINT_JOG
from mil_ros.tools.loop import Episode

pytestmark = pytest.mark.ros

DONE = {
    'reach': 'The tip touched the target.',
    'push': 'The target was pushed onto the goal.',
    'place': 'The object lies in the target container.',
}


class Stage:
    """The node alone: the clock moves 10 ms a tick, and the teleoperator commands Servo."""

    def __init__(self, family: str, monkeypatch: pytest.MonkeyPatch, *parameters: str) -> None:
        self.now_ns = 1_000_000_000_000
        monkeypatch.setattr(sim_node, 'now_ns', lambda node: self.now_ns)
        words = [w for p in (f'family:={family}', 'seed:=3', *parameters) for w in ('-p', p)]
        rclpy.init(args=['--ros-args', *words])
        self.node = sim_node.SimNode()
        self.node.servo.switch_command_type(JOINT_JOG)
        self.verdicts: list[bool] = []
        monkeypatch.setattr(self.node, '_teleop', self)
        monkeypatch.setattr(self.node._success, 'publish', self.on_verdict)

    def publish(self, message: object) -> None:
        names, velocities = list(message.joint_names), np.array(message.velocities)
        self.node.servo.on_joint_jog(self.now_ns, names, velocities)

    def on_verdict(self, message: object) -> None:
        self.verdicts.append(message.data)

    def tick(self, seconds: float) -> None:
        for _ in range(round(100 * seconds)):
            self.now_ns += 10_000_000
            self.node._tick()


@pytest.fixture(params=list(FAMILIES))
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage(request.param, monkeypatch)
    yield made
    made.node.destroy_node()
    rclpy.shutdown()


def test_a_demonstration_lasts_its_steps_and_ends_in_a_verdict(stage: Stage) -> None:
    node = stage.node
    answers: list[str] = []
    call = Thread(target=lambda: answers.append(node.demonstrate()))
    call.start()
    end_s = time.monotonic() + PATIENCE_S
    while node._teleop_end_s is None:
        assert time.monotonic() < end_s
    length_s = node.family.demo_steps / node.robot.policy.rate_hz
    stage.tick(length_s - 0.1)
    assert answers == []
    assert stage.verdicts == [], 'the gripper must not open before the end'
    with pytest.raises(OrderError, match='Reset refused: a demonstration is running; wait'):
        node._reset()
    stage.tick(0.12)
    call.join(PATIENCE_S)
    assert answers == [DONE[node.family.name]]
    assert stage.verdicts == [True]


def test_a_run_is_judged_while_it_goes_on(stage: Stage) -> None:
    node, steps = stage.node, 0
    while not stage.verdicts and steps < 100 * node.family.run_s:
        names, steps = list(node.robot.joint_names), steps + 1
        node.servo.on_joint_jog(stage.now_ns, names, node.family.expert(node.simulation))
        stage.tick(0.01)
    assert stage.verdicts == [True]
    assert node._end_trial() == DONE[node.family.name]
    assert stage.verdicts == [True], 'asking again decides nothing'
    assert node._reset().startswith('New scene 2 of test task 0: ')
    assert stage.verdicts == [True, False]


def test_judging_ends_a_trial_that_has_not_succeeded(stage: Stage) -> None:
    stage.tick(0.1)
    assert stage.node._end_trial() != DONE[stage.node.family.name]
    assert stage.verdicts == [False]


@pytest.fixture
def reach(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    made = Stage('reach', monkeypatch, 'trace:=true')
    yield made
    made.node.destroy_node()
    rclpy.shutdown()


def set_fault(stage: Stage, fault: object) -> SetParametersResult:
    return stage.node.set_parameters([Parameter('fault', value=fault)])[0]


def test_a_fault_is_taken_over_while_the_arm_goes_on(
    reach: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = []
    monkeypatch.setattr(reach.node._joint_states, 'publish', sent.append)
    reach.tick(0.05)
    assert set_fault(reach, 'joint_states_lost').successful
    reach.tick(0.05)
    assert len(sent) == 5
    assert set_fault(reach, '').successful
    reach.tick(0.05)
    assert len(sent) == 10


def test_an_unknown_fault_is_refused_in_a_sentence(reach: Stage) -> None:
    result = set_fault(reach, 'fire')
    assert not result.successful
    assert result.reason.startswith("Parameter fault is 'fire'; expected one of camera_frozen, ")
    assert reach.node.faults.fault == ''
    assert not set_fault(reach, 7).successful


def test_the_trace_has_every_step_and_none_before_its_command(
    reach: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces, states = [], []
    monkeypatch.setattr(reach.node._trace, 'publish', traces.append)
    monkeypatch.setattr(reach.node._joint_states, 'publish', states.append)
    names = list(reach.node.robot.joint_names)
    reach.node.servo.on_joint_jog(reach.now_ns, names, np.full(7, 0.2))
    reach.tick(0.03)
    assert [stamp_ns(t.header) for t in traces] == [
        reach.now_ns - ms * 1_000_000 for ms in (20, 10, 0)
    ]
    for trace, state in zip(traces, states, strict=True):
        after = [point.time_from_start.nanosec for point in trace.points]
        assert after == [2_000_000, 4_000_000, 6_000_000, 8_000_000, 10_000_000]
        assert trace.points[-1].velocities == state.velocity
    assert traces[0].points[0].velocities[0] > 0.0


def test_a_picture_is_stamped_with_the_moment_that_it_shows(
    reach: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arm moves on while the thread of the camera has not even begun to draw."""
    camera, sent, shown = reach.node._camera, [], []
    monkeypatch.setattr(camera._images, 'publish', sent.append)
    reach.tick(0.04)
    camera.wait()
    sent.clear()
    gate = Event()
    camera._thread.submit(gate.wait)
    names = list(reach.node.robot.joint_names)
    while not shown:
        reach.tick(0.01)
        if not camera._drawing.done():
            shown.append(reach.now_ns)
    for _ in range(20):
        reach.node.servo.on_joint_jog(reach.now_ns, names, np.full(7, 0.5))
        reach.tick(0.01)
    gate.set()
    camera.wait()
    assert [stamp_ns(image.header) for image in sent] == shown
    resting = bytes(sent[0].data)
    reach.tick(0.04)
    camera.wait()
    assert bytes(sent[1].data) != resting, 'the arm has moved in the meantime'
    reach.node._reset()


def test_the_arm_goes_on_until_it_rests_uncommanded(reach: Stage) -> None:
    names = list(reach.node.robot.joint_names)
    reach.node.servo.on_joint_jog(reach.now_ns, names, np.full(7, 0.2))
    reach.tick(0.05)
    assert not reach.node._is_left_alone
    spun = []

    class Executor:
        def spin_once(self, timeout_s: float) -> None:
            spun.append(timeout_s)
            reach.tick(0.01)

    reach.node.finish(Executor())
    assert np.abs(reach.node.simulation.joint_velocities).max() < 0.01
    assert 5 <= len(spun) < 40


@pytest.fixture(params=['push', 'place'])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningGraph]:
    """A graph with the objects of a family other than reach."""
    for running in start_graph(tmp_path, family=request.param):
        running.family = get_family(request.param)
        yield running


def test_a_demonstration_of_another_family_succeeds_and_is_recorded(other: RunningGraph) -> None:
    client, family = other.client, other.family
    task = family.sample_task('test', 0, 2)
    answer, scenes = '', 0
    while answer != DONE[family.name] and scenes < 6:  # a busy machine may disturb a push
        other.loop.demonstrate(Episode(2, task.colour, family.name))
        answer, scenes = client.trigger('/sim/judge'), scenes + 1
    assert answer == DONE[family.name]
    client.wait(lambda: client.is_success, PATIENCE_S, 'the verdict')
    recorded = sorted(other.episodes.iterdir())[-1]
    demo = load_demo(recorded, load_robot('sim_panda'))
    assert abs(len(demo) - family.demo_steps) <= 4
    assert np.ptp(demo.joint_positions, axis=0).max() > 0.1
    answer = client.trigger('/sim/reset')
    assert answer == f'New scene {scenes + 1} of test task 2: {task}.'
    client.wait(lambda: not client.is_success, PATIENCE_S, 'the verdict to be withdrawn')
