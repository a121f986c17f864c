"""The bring-up table as launch descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
import sys

from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution, PythonExpression
from launch_ros.actions import LifecycleNode, LifecycleTransition, Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

from launch import Action, LaunchDescription  # type: ignore[attr-defined]  # mypy sees our folder
from mil_ros.bringup import (
    Argument,
    arguments,
    ENVIRONMENT,
    MIDDLEWARE_VARIABLES,
    NETWORK,
    nodes,
    NodeSpec,
    replay_arguments,
    REPLAY_PARAMETERS,
    replayed,
)


def describe(
    simulated: bool,
    defaults: Mapping[str, str] | None = None,
    first: Sequence[Action] = (),
) -> LaunchDescription:
    """Return everything that ``ros2 launch`` needs to bring the graph up.

    Args:
        simulated: Whether to start the simulated arm too.
        defaults: Arguments whose default differs from the table's.
        first: What is done before any node starts, and knows the arguments.
    """
    return _describe(nodes(simulated), arguments(simulated), defaults or {}, {}, first)


def describe_replay() -> LaunchDescription:
    """Return a replay, which ends with its verdict: the nodes, and ``mil replay`` to play to them.

    It needs a ROS domain in which no arm is.
    """
    declared = replay_arguments()
    description = _describe(replayed(), declared, {}, REPLAY_PARAMETERS)
    words = ['mil_ros.tools.cli', 'replay', LaunchConfiguration('episode'), '--attach']
    for argument in ('bundle', 'robot'):
        words += [f'--{argument}', LaunchConfiguration(argument)]
    description.add_action(
        ExecuteProcess(
            cmd=[sys.executable, '-m', *words],
            output='screen',
            on_exit=Shutdown(reason='the replay is over'),
        )
    )
    return description


def _describe(
    specs: Sequence[NodeSpec],
    declared: Sequence[Argument],
    defaults: Mapping[str, str],
    parameters: Mapping[str, object],
    first: Sequence[Action] = (),
) -> LaunchDescription:
    """Return nodes, their arguments and environment; `parameters` are given to every node."""
    kinds = {argument.name: argument.kind for argument in declared}
    environment = {**ENVIRONMENT, **_middleware(NETWORK)}
    description = LaunchDescription(
        [
            *(SetEnvironmentVariable(name, value) for name, value in environment.items()),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=defaults.get(argument.name, argument.default),
                    description=argument.description,
                )
                for argument in declared
            ),
            *first,
            *(_make_node(spec, kinds, parameters) for spec in specs),
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


def _middleware(file: str) -> dict[str, PathJoinSubstitution]:
    """Return the variables that choose settings of the middleware, less those chosen before."""
    profile = PathJoinSubstitution([FindPackageShare('mil_ros'), file])
    return {name: profile for name in MIDDLEWARE_VARIABLES if name not in os.environ}


def _make_node(
    spec: NodeSpec, kinds: Mapping[str, type], parameters: Mapping[str, object]
) -> Node:
    own = {
        parameter: ParameterValue(LaunchConfiguration(argument), value_type=kinds[argument])
        for parameter, argument in spec.arguments.items()
        if argument in kinds
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
        parameters=[{**own, **parameters}],
        ros_arguments=['--enclave', spec.enclave],
        additional_env=_middleware(spec.middleware),
        output='screen',
        condition=is_wanted,
    )
