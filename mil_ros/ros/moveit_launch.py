"""MoveIt of an arm as launch actions: move_group and servo_node, as its vendor sets them up."""

from __future__ import annotations

import shlex
import sys

from launch.actions import LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext  # type: ignore[attr-defined]  # mypy sees our folder
from mil_ros.bringup import ForeignSpec, MOVEIT_ARGUMENT
from mil_ros.ros.distro import check_distro
from mil_ros.ros.moveit_config import choose_moveit, make_moveit_setup


def require_servo() -> OpaqueFunction:
    """Return the action that ends the launch in a ROS distribution with another Servo."""
    return OpaqueFunction(function=lambda _: check_distro())


def start_moveit() -> OpaqueFunction:
    """Return the action that starts what is asked for of MoveIt, for the chosen robot."""
    return OpaqueFunction(function=_make_nodes)


def _make_nodes(context: LaunchContext) -> list[LogInfo | Node]:
    specs = choose_moveit(LaunchConfiguration(MOVEIT_ARGUMENT).perform(context))
    if not specs:
        return []
    setup = make_moveit_setup(LaunchConfiguration('robot').perform(context), specs)
    advice = LogInfo(msg=f'Servo moves the arm through {setup.controller}: it must be active.')
    nodes = [
        Node(
            package=spec.package,
            executable=spec.executable,
            name=spec.executable,
            parameters=[setup.parameters[spec.executable]],
            prefix=_prefix(spec),
            output='screen',
        )
        for spec in specs
    ]
    return [advice, *nodes]


def _prefix(spec: ForeignSpec) -> str | None:
    if not spec.linger_s:
        return None
    return shlex.join([sys.executable, '-m', 'mil_ros.ros.linger', str(spec.linger_s)])
