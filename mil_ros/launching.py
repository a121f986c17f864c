"""The bring-up table as a launch description."""

from __future__ import annotations

from collections.abc import Mapping
import os

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import LifecycleNode, LifecycleTransition, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription  # type: ignore[attr-defined]  # mypy sees our folder
from mil_ros.bringup import (
    arguments,
    ENVIRONMENT,
    MIDDLEWARE,
    MIDDLEWARE_VARIABLES,
    nodes,
    NodeSpec,
)


def describe(simulated: bool, defaults: Mapping[str, str] | None = None) -> LaunchDescription:
    """Return everything that ``ros2 launch`` needs to bring the graph up.

    Args:
        simulated: Whether to start the simulated arm too.
        defaults: Arguments whose default differs from the table's.
    """
    own = defaults or {}
    declared = arguments(simulated)
    kinds = {argument.name: argument.kind for argument in declared}
    specs = nodes(simulated)
    profile = PathJoinSubstitution([FindPackageShare('mil_ros'), MIDDLEWARE])
    chosen = [name for name in MIDDLEWARE_VARIABLES if name not in os.environ]
    environment = {**ENVIRONMENT, **dict.fromkeys(chosen, profile)}
    description = LaunchDescription(
        [
            *(SetEnvironmentVariable(name, value) for name, value in environment.items()),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=own.get(argument.name, argument.default),
                    description=argument.description,
                )
                for argument in declared
            ),
            *(_make_node(spec, kinds) for spec in specs),
        ]
    )
    managed = [spec.name for spec in specs if spec.is_lifecycle]
    description.add_action(
        LifecycleTransition(
            lifecycle_node_names=managed,
            transition_ids=[Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE],
        )
    )
    return description


def _make_node(spec: NodeSpec, kinds: Mapping[str, type]) -> Node:
    parameters = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kinds[argument])
        for parameter, argument in spec.arguments.items()
    }
    make = LifecycleNode if spec.is_lifecycle else Node
    is_wanted = None
    if spec.only_with:
        argument = LaunchConfiguration(spec.only_with)
        is_wanted = IfCondition(PythonExpression(["'", argument, "' != ''"]))
    return make(
        package='mil_ros',
        executable=spec.name,
        name=spec.name,
        namespace='',
        parameters=[parameters],
        output='screen',
        condition=is_wanted,
    )
