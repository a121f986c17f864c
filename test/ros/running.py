"""A running graph with the simulated arm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import time

from sensor_msgs.msg import JointState

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.ros.node import JOINT_STATES
from mil_ros.tools.bench.stops.rig import PATIENCE_S as STOP_PATIENCE_S
from mil_ros.tools.bench.stops.rig import Repetition
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph
from mil_ros.tools.loop import Loop

PATIENCE_S = 60.0  # nobody waits that long but for what never comes


class RunningGraph:
    """The processes, a client, and the loop that a user would take by hand."""

    def __init__(self, robot: RobotDescription, graph: Graph, out: Path) -> None:
        self.robot, self.graph, self.out = robot, graph, out
        self.loop = Loop(robot, graph, out, None)
        self.client: GraphClient = self.loop.client

    @property
    def episodes(self) -> Path:
        return self.out / 'episodes'

    def measure_speed(self, count: int = 10) -> float:
        """Return the speed of the fastest joint in the next joint states, in rad/s."""
        speeds: list[float] = []

        def listen(message: JointState) -> None:
            if self.robot.joint_names[0] in message.name:  # others may share the topic
                speeds.append(max(map(abs, message.velocity)))

        subscription = self.client.node.create_subscription(
            JointState, self.robot.topics.joint_states, listen, JOINT_STATES
        )
        self.spin_until(lambda: len(speeds) >= count, 'joint states')
        self.client.node.destroy_subscription(subscription)
        return max(speeds)

    def wait_until_moving(self) -> None:
        self.spin_until(lambda: self.measure_speed(3) > 0.05, 'the arm to move')

    def wait_until_resting(self) -> None:
        self.spin_until(lambda: self.measure_speed(20) < 0.01, 'the arm to rest')

    def spin_until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait, whatever has become of the nodes."""
        end_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end_s, f'waited for {what}'
            self.client.spin_for(0.02)


def start_graph(out: Path, **values: str) -> Iterator[RunningGraph]:
    robot = load_robot('sim_panda')
    folders = {'episodes': str(out / 'episodes'), 'policies': str(out / 'policies')}
    with Graph({'dry_run': 'false', **folders, **values}, out / 'logs') as graph:
        running = RunningGraph(robot, graph, out)
        try:
            running.loop.bring_up()
            yield running
        finally:
            running.loop.close()


def check_stop(repetition: Repetition) -> None:
    """The arm has come to rest after a fault, and nothing was wrong on the way."""
    assert not repetition.complaints, repetition
    assert repetition.reaction_s < STOP_PATIENCE_S
    assert repetition.rest_s < STOP_PATIENCE_S
