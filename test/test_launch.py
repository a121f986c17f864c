"""The launch files say what the bring-up table says; needs the launch system of ROS."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from mil_ros.bringup import Argument, arguments, nodes, NodeSpec, replay_arguments, replayed
from mil_ros.core.errors import ConfigError
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


@pytest.mark.parametrize(('name', 'checks'), [('bringup', 2), ('sim', 1), ('replay', 0)])
def test_what_may_refuse_comes_after_the_arguments_and_before_any_node(
    name: str, checks: int
) -> None:
    from launch.actions import DeclareLaunchArgument, OpaqueFunction
    from launch_ros.actions import Node

    kinds = (DeclareLaunchArgument, OpaqueFunction, Node)
    found = [entity for entity in describe(name).entities if isinstance(entity, kinds)]
    order = [next(i for i, kind in enumerate(kinds) if isinstance(e, kind)) for e in found]
    assert order == sorted(order)
    assert order.count(1) == checks


def make_context(**values: str) -> Any:
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(values)
    return context


def test_moveit_is_not_started_unless_asked_for() -> None:
    from mil_ros.ros.moveit_launch import start_moveit

    assert not start_moveit().visit(make_context(robot='toaster', moveit='false'))


def test_an_arm_without_moveit_ends_the_launch_with_a_sentence() -> None:
    from mil_ros.ros.moveit_launch import start_moveit

    with pytest.raises(ConfigError, match=r'sim_panda\.yaml has no section moveit'):
        start_moveit().visit(make_context(robot='sim_panda', moveit='true'))


def test_another_servo_ends_the_launch_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from mil_ros.ros.moveit_launch import require_servo

    monkeypatch.setenv('ROS_DISTRO', 'humble')
    with pytest.raises(ConfigError, match="ROS_DISTRO is 'humble'"):
        require_servo().visit(make_context())


def test_servo_and_move_group_get_their_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    from launch.actions import LogInfo
    from launch_ros.actions import Node

    from mil_ros.ros import moveit_launch
    from mil_ros.ros.moveit_config import MoveItSetup

    given = {'move_group': {'a': 1}, 'servo_node': {'moveit_servo': {'publish_period': 0.01}}}
    setup = MoveItSetup(parameters=given, controller='arm_controller')
    monkeypatch.setattr(moveit_launch, 'make_moveit_setup', lambda robot, specs: setup)
    log, *started = moveit_launch.start_moveit().visit(make_context(robot='ur5e', moveit='true'))
    assert isinstance(log, LogInfo)
    assert all(isinstance(node, Node) for node in started)
    assert [(node.node_package, node.node_executable) for node in started] == [
        ('moveit_ros_move_group', 'move_group'),
        ('moveit_servo', 'servo_node'),
    ]
    servo = started[1].process_description
    assert 'mil_ros.ros.linger 2.0' in servo.prefix[0].text
