"""A running graph with the simulated arm, in a ROS domain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from running import RunningGraph, start_graph

from mil_ros.tools.graph import isolate

isolate()


@pytest.fixture(scope='module')
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGraph]:
    """One graph for all tests of a module; each test leaves it as it found it."""
    yield from start_graph(tmp_path_factory.mktemp('graph'))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningGraph]:
    """A graph for one test that breaks it."""
    yield from start_graph(tmp_path)
