"""The launch files say what the bring-up table says; needs the launch system of ROS."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from mil_ros.bringup import Argument, arguments, nodes, NodeSpec, replay_arguments, replayed
from mil_ros.core.resources import share_dir

pytest.importorskip('launch_ros')

FILES = {
    'bringup': (nodes(simulated=False), arguments(simulated=False)),
    'replay': (replayed(), replay_arguments()),
    'sim': (nodes(simulated=True), arguments(simulated=True)),
}


def describe(name: str) -> Any:
    file = share_dir() / 'launch' / f'{name}.launch.py'
    return runpy.run_path(str(file))['generate_launch_description']()


def test_every_launch_file_is_checked_here() -> None:
    found = {path.name for path in (share_dir() / 'launch').glob('*.launch.py')}
    assert found == {f'{name}.launch.py' for name in FILES}


@pytest.mark.parametrize('name', FILES)
def test_a_launch_file_starts_the_nodes_of_the_table(name: str) -> None:
    from launch_ros.actions import Node

    specs: tuple[NodeSpec, ...] = FILES[name][0]
    found = [entity for entity in describe(name).entities if isinstance(entity, Node)]
    assert [node.node_executable for node in found] == [spec.name for spec in specs]


@pytest.mark.parametrize('name', FILES)
def test_a_launch_file_asks_for_the_arguments_of_the_table(name: str) -> None:
    declared: tuple[Argument, ...] = FILES[name][1]
    found = {action.name: action.default_value for action in describe(name).get_launch_arguments()}
    assert list(found) == [argument.name for argument in declared]
    required = {name for name, default in found.items() if default is None}
    assert required == {argument.name for argument in declared if argument.default is None}
