"""The simulated arm does what its family says, with the clock in hand and live."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from running import PATIENCE_S, RunningGraph, start_graph

from mil_ros.core.errors import OrderError
from mil_ros.core.robot import load_robot
from mil_ros.data.episode import load_demo
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

    def __init__(self, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_ns = 1_000_000_000_000
        monkeypatch.setattr(sim_node, 'now_ns', lambda node: self.now_ns)
        rclpy.init(args=['--ros-args', '-p', f'family:={family}', '-p', 'seed:=3'])
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
    call = node._demonstrate()
    call.send(None)  # until it waits
    length_s = node.family.demo_steps / node.robot.policy.rate_hz
    stage.tick(length_s - 0.1)
    assert not node._teleop_done.done()
    assert stage.verdicts == [], 'the gripper must not open before the end'
    with pytest.raises(OrderError, match='Reset refused: a demonstration is running; wait'):
        node._reset()
    stage.tick(0.12)
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    assert ended.value.value == DONE[node.family.name]
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
