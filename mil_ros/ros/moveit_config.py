"""The parameters of MoveIt's nodes for an arm, from its files and its vendor's package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory, PackageNotFoundError

from mil_ros.bringup import ForeignSpec, MOVEIT, MOVEIT_ARGUMENT
from mil_ros.core.errors import ConfigError
from mil_ros.core.moveit_files import controller_of, load_recipe, load_servo, Recipe
from mil_ros.core.robot import find_robot, load_robot, RobotDescription

_ELSEWHERE = 'package://'


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveItSetup:
    """What MoveIt's nodes are started with.

    Attributes:
        parameters: By executable.
        controller: That must be active for Servo to move the arm.
    """

    parameters: dict[str, dict[str, Any]]
    controller: str


def choose_moveit(value: str) -> tuple[ForeignSpec, ...]:
    """Return which of MoveIt's nodes an argument's value asks for.

    Raises:
        ConfigError: If it is none of those known.
    """
    try:
        return MOVEIT[value.lower()]
    except KeyError:
        raise ConfigError(
            f'{MOVEIT_ARGUMENT}:={value} is unknown; expected one of {", ".join(MOVEIT)}.'
        ) from None


def make_moveit_setup(robot: str, specs: Sequence[ForeignSpec]) -> MoveItSetup:
    """Return what MoveIt is started with for a robot file.

    Args:
        robot: Shipped name or path.
        specs: The nodes that are started.

    Raises:
        ConfigError: If the arm has no MoveIt, a package is not installed or a file is wrong.
    """
    file = find_robot(robot)
    described = load_robot(robot)
    if not described.moveit.group:
        raise ConfigError(
            f'Robot file {file.name} has no section moveit, expected one to start MoveIt; choose '
            f'another robot or {MOVEIT_ARGUMENT}:=false.'
        )
    beside = file.parent.parent
    servo = load_servo(beside / 'servo' / file.name, described)
    recipe = load_recipe(beside / 'moveit' / file.name)
    for package in (*(spec.package for spec in specs), described.moveit.config_package):
        _share(package)
    return MoveItSetup(
        parameters=_parameters(described, servo, recipe), controller=controller_of(servo)
    )


def _parameters(
    robot: RobotDescription, servo: Mapping[str, Any], recipe: Recipe
) -> dict[str, dict[str, Any]]:
    """Return the parameters of each node of MoveIt."""
    configs = _build(robot, recipe)
    move_group = _merged(configs.to_dict(), recipe.parameters)
    return {
        'move_group': {**move_group, 'publish_robot_description_semantic': True},
        'servo_node': {
            **configs.robot_description,  # empty where the driver's topic has it
            **configs.robot_description_semantic,
            **configs.robot_description_kinematics,
            **configs.joint_limits,
            'moveit_servo': dict(servo),
            # Read by the smoothing plugin, which is given the node instead of its settings.
            'update_period': servo.get('publish_period', 0.01),
            'planning_group_name': robot.moveit.group,
        },
    }


def _build(robot: RobotDescription, recipe: Recipe) -> Any:
    """Return MoveItConfigs of the vendor's package."""
    try:
        from moveit_configs_utils import MoveItConfigsBuilder
    except ImportError as err:
        raise ConfigError(
            f'MoveIt needs moveit_configs_utils, which cannot be imported ({err}); expected '
            'MoveIt of jazzy or newer: install ros-jazzy-moveit.'
        ) from err
    package, name = robot.moveit.config_package, robot.moveit.config_name
    steps = {step: _resolved(arguments) for step, arguments in recipe.builder.items()}
    try:
        builder = MoveItConfigsBuilder(name, package_name=package)
        for step, arguments in steps.items():
            builder = getattr(builder, step)(**arguments)
        return builder.to_moveit_configs()
    except Exception as err:  # the vendor's files and xacro may fail in any way
        raise ConfigError(
            f'MoveIt configuration of {robot.name} cannot be built from {package}: '
            f'{type(err).__name__} {err}; expected the files that moveit/{robot.name}.yaml names.'
        ) from err


def _resolved(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the file of another package as an absolute path."""
    resolved = dict(arguments)
    path = str(resolved.get('file_path', ''))
    if path.startswith(_ELSEWHERE):
        package, _, rest = path.removeprefix(_ELSEWHERE).partition('/')
        resolved['file_path'] = str(_share(package) / rest)
    return resolved


def _share(package: str) -> Path:
    try:
        return Path(get_package_share_directory(package))
    except PackageNotFoundError:
        raise ConfigError(
            f'MoveIt needs the ROS package {package}, which is not installed or sourced; install '
            f'it, or start MoveIt by its own launch file and say {MOVEIT_ARGUMENT}:=false.'
        ) from None


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return two nested mappings as one; the second has its way."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        is_deeper = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _merged(below or {}, value) if is_deeper else value
    return merged
