"""A running graph with the simulated arm, in a ROS domain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph, isolate
from mil_ros.tools.loop import Loop

isolate()


class RunningGraph:
    """The processes, a client, and the loop that a user would take by hand."""

    def __init__(self, robot: RobotDescription, graph: Graph, out: Path) -> None:
        self.robot, self.graph, self.out = robot, graph, out
        self.loop = Loop(robot, graph, out, None)
        self.client: GraphClient = self.loop.client

    @property
    def episodes(self) -> Path:
        return self.out / 'episodes'


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


@pytest.fixture(scope='module')
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGraph]:
    """One graph for all tests of a module; each test leaves it as it found it."""
    yield from start_graph(tmp_path_factory.mktemp('graph'))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningGraph]:
    """A graph for one test that breaks it."""
    yield from start_graph(tmp_path)
