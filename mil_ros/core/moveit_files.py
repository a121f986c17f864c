"""What MoveIt is told about an arm: Servo's parameters and the recipe of its configuration.

They lie beside the folder of the robot file: ``robots/ur5e.yaml``, ``servo/ur5e.yaml`` and
``moveit/ur5e.yaml``. Servo ends without a word of help when a parameter is wrong, so all of them
are checked here, as MoveIt 2.12 (Jazzy) takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription

SERVO_NODE: Final = '/servo_node'
TRAJECTORY: Final = 'trajectory_msgs/JointTrajectory'
ARRAY: Final = 'std_msgs/Float64MultiArray'
_MIN_PERIODS: Final = 3.0  # that a trajectory of Servo spans, and that a command is waited for

# Every parameter of moveit_servo::ServoNode, dots for nesting.
SERVO_KINDS: Final[dict[str, type]] = {
    'thread_priority': int,
    'publish_period': float,
    'max_expected_latency': float,
    'move_group_name': str,
    'active_subgroup': str,
    'pose_command_in_topic': str,
    'cartesian_command_in_topic': str,
    'joint_command_in_topic': str,
    'command_in_type': str,
    'scale.linear': float,
    'scale.rotational': float,
    'scale.joint': float,
    'incoming_command_timeout': float,
    'apply_twist_commands_about_ee_frame': bool,
    'pose_tracking.linear_tolerance': float,
    'pose_tracking.angular_tolerance': float,
    'status_topic': str,
    'command_out_topic': str,
    'command_out_type': str,
    'publish_joint_positions': bool,
    'publish_joint_velocities': bool,
    'publish_joint_accelerations': bool,
    'monitored_planning_scene_topic': str,
    'joint_topic': str,
    'check_octomap_collisions': bool,
    'is_primary_planning_scene_monitor': bool,
    'use_smoothing': bool,
    'smoothing_filter_plugin_name': str,
    'check_collisions': bool,
    'self_collision_proximity_threshold': float,
    'scene_collision_proximity_threshold': float,
    'collision_check_rate': float,
    'lower_singularity_threshold': float,
    'hard_stop_singularity_threshold': float,
    'leaving_singularity_threshold_multiplier': float,
    'singularity_step_scale': float,
    'halt_all_joints_in_joint_mode': bool,
    'halt_all_joints_in_cartesian_mode': bool,
    'joint_limit_margins': list,
    'override_velocity_scaling_factor': float,
}
# What a file that is silent gets, where that matters here.
_DEFAULTS: Final[dict[str, Any]] = {
    'publish_period': 0.01,
    'max_expected_latency': 0.1,
    'joint_command_in_topic': '~/delta_joint_cmds',
    'command_in_type': 'unitless',
    'incoming_command_timeout': 0.1,
    'status_topic': '~/status',
    'command_out_topic': '/panda_arm_controller/joint_trajectory',
    'command_out_type': TRAJECTORY,
    'publish_joint_positions': True,
    'publish_joint_velocities': True,
    'publish_joint_accelerations': False,
    'joint_topic': '/joint_states',
    'is_primary_planning_scene_monitor': True,
    'self_collision_proximity_threshold': 0.01,
    'scene_collision_proximity_threshold': 0.02,
    'lower_singularity_threshold': 17.0,
    'hard_stop_singularity_threshold': 30.0,
    'joint_limit_margins': [0.1],
}
# Refused by Servo unless above zero; other limits depend on each other, see `_servo_rules`.
_POSITIVE: Final = (
    'publish_period',
    'incoming_command_timeout',
    'collision_check_rate',
    'self_collision_proximity_threshold',
    'lower_singularity_threshold',
    'leaving_singularity_threshold_multiplier',
    'singularity_step_scale',
    'pose_tracking.linear_tolerance',
    'pose_tracking.angular_tolerance',
)
# Steps of MoveItConfigsBuilder that a recipe may take.
_STEPS: Final = (
    'robot_description',
    'robot_description_semantic',
    'robot_description_kinematics',
    'joint_limits',
    'trajectory_execution',
    'planning_scene_monitor',
    'planning_pipelines',
    'sensors_3d',
    'pilz_cartesian_limits',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the vendor's package becomes MoveIt's parameters.

    Attributes:
        builder: Arguments of the steps of MoveItConfigsBuilder; a path may be of another package,
            ``package://name/path``.
        parameters: Of move_group, over what the builder makes.
    """

    builder: dict[str, dict[str, Any]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)


def load_servo(path: Path, robot: RobotDescription) -> dict[str, Any]:
    """Read Servo's parameters for an arm.

    Returns:
        The document as it is, to be passed below ``moveit_servo``.

    Raises:
        ConfigError: If it is missing, or Servo would not take it, or it does not suit the robot
            file.
    """
    document = _read(path)
    if document is None:
        raise ConfigError(
            f'No Servo file {path}; expected parameters of MoveIt Servo for {robot.name}: start '
            'from one of config/servo/.'
        )
    given = dict(_flatten(document))
    where = path.name
    _check_keys(given, where)
    values = {**_DEFAULTS, **given}
    for key, (is_right, expected) in {
        **_servo_rules(values),
        **_robot_rules(values, robot),
    }.items():
        if not is_right:
            raise ConfigError(f'{where}: {key} is {values.get(key)!r}; expected {expected}.')
    return document


def load_recipe(path: Path) -> Recipe:
    """Read how MoveIt's configuration is built; without a file, as the Setup Assistant lays it.

    Raises:
        ConfigError: If it is no mapping or has a step that the builder has not.
    """
    document = _read(path) or {}
    unknown = sorted(set(document) - {'builder', 'parameters'})
    steps = document.get('builder') or {}
    unknown += sorted(set(steps) - set(_STEPS))
    if unknown:
        raise ConfigError(
            f'MoveIt recipe {path.name} has unknown keys {unknown}; expected builder (of '
            f'{", ".join(_STEPS)}) and parameters.'
        )
    for step, arguments in steps.items():
        if not isinstance(arguments, dict):
            raise ConfigError(
                f'MoveIt recipe {path.name}: {step} is {arguments!r}; expected a mapping of '
                'arguments, such as {file_path: config/joint_limits.yaml}.'
            )
    return Recipe(builder=steps, parameters=document.get('parameters') or {})


def controller_of(servo: Mapping[str, Any]) -> str:
    """Return the name of the controller that Servo's output goes to; it must be active."""
    topic = str(servo.get('command_out_topic', _DEFAULTS['command_out_topic']))
    return topic.strip('/').rpartition('/')[0]


def _read(path: Path) -> dict[str, Any] | None:
    """Return a YAML file's mapping, or None if there is no such file."""
    if not path.is_file():
        return None
    try:
        document = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as err:
        raise ConfigError(f'{path} is not valid YAML: {err}') from err
    if not isinstance(document, dict):
        raise ConfigError(f'{path.name} is {document!r}; expected a mapping.')
    return document


def _flatten(document: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        name = f'{prefix}{key}'
        flat |= _flatten(value, f'{name}.') if isinstance(value, dict) else {name: value}
    return flat


def _check_keys(given: Mapping[str, Any], where: str) -> None:
    unknown = sorted(set(given) - set(SERVO_KINDS))
    if unknown:
        raise ConfigError(
            f'{where} has unknown keys {unknown}; expected parameters of MoveIt Servo in Jazzy '
            '(Humble had others), not below moveit_servo.'
        )
    for key, value in given.items():
        kind = SERVO_KINDS[key]
        parts = value if kind is list and isinstance(value, list) and value else [value]
        wanted = float if kind is list else kind
        if not all(type(part) is wanted for part in parts) or (kind is list and parts == [value]):
            name = 'list of floats' if kind is list else kind.__name__
            raise ConfigError(
                f'{where}: {key} is {value!r}; expected a {name}, with its decimal point if a '
                'float, or Servo will not start.'
            )


def _servo_rules(values: Mapping[str, Any]) -> dict[str, tuple[bool, str]]:
    """Return for each parameter whether Servo would take it, and what it should be."""
    kind, own = values['command_out_type'], values['self_collision_proximity_threshold']
    outputs = [values[f'publish_joint_{what}'] for what in ('positions', 'velocities')]
    least_latency_s = _MIN_PERIODS * values['publish_period']
    lower = values['lower_singularity_threshold']
    override = values.get('override_velocity_scaling_factor', 0.0)
    return {
        **{key: (values[key] > 0.0, 'it above 0') for key in _POSITIVE if key in values},
        'thread_priority': (values.get('thread_priority', 0) >= 0, 'it 0 or more'),
        'override_velocity_scaling_factor': (0.0 <= override <= 1.0, 'it from 0 to 1'),
        'max_expected_latency': (
            values['max_expected_latency'] >= least_latency_s * (1.0 - 1e-9),
            f'at least {least_latency_s:g} s, three times publish_period',
        ),
        'command_out_type': (kind in (TRAJECTORY, ARRAY), f'{TRAJECTORY!r} or {ARRAY!r}'),
        'publish_joint_positions': (
            any(outputs) or values['publish_joint_accelerations'],
            'true, or velocities or accelerations to be published',
        ),
        'publish_joint_velocities': (
            kind != ARRAY or not all(outputs),
            f'false, as {ARRAY} holds either positions or velocities',
        ),
        'scene_collision_proximity_threshold': (
            values['scene_collision_proximity_threshold'] >= own,
            f'at least self_collision_proximity_threshold, {own:g}',
        ),
        'hard_stop_singularity_threshold': (
            values['hard_stop_singularity_threshold'] > lower,
            f'above lower_singularity_threshold, {lower:g}',
        ),
    }


def _robot_rules(
    values: Mapping[str, Any], robot: RobotDescription
) -> dict[str, tuple[bool, str]]:
    """Return for each parameter whether it suits the robot file, and what it should be."""
    topics, guard, margin = robot.topics, robot.guard, robot.limits.position_margin_rad
    margins, count = values['joint_limit_margins'], len(robot.joints)
    least_timeout_s = _MIN_PERIODS / guard.rate_hz
    return {
        'move_group_name': (
            values.get('move_group_name') == robot.moveit.group != '',
            f'moveit.group of the robot file, {robot.moveit.group!r}',
        ),
        'joint_topic': _same(values['joint_topic'], topics.joint_states, 'joint_states'),
        'joint_command_in_topic': _same(
            values['joint_command_in_topic'], topics.command, 'command'
        ),
        'status_topic': _same(values['status_topic'], topics.servo_status, 'servo_status'),
        'command_in_type': (
            values['command_in_type'] == 'speed_units',
            "'speed_units': the guard sends rad/s",
        ),
        'incoming_command_timeout': (
            values['incoming_command_timeout'] >= least_timeout_s,
            f'at least {least_timeout_s:g} s, three commands of the guard at {guard.rate_hz:g} Hz',
        ),
        'joint_limit_margins': (
            len(margins) in (1, count) and min(margins) >= 0.0 and max(margins) < margin,
            f'one value or {count}, from 0 to below limits.position_margin_rad of the robot file, '
            f'{margin:g}: the guard must brake first',
        ),
        'is_primary_planning_scene_monitor': (
            not values['is_primary_planning_scene_monitor'],
            'false, as move_group keeps the planning scene',
        ),
    }


def _same(topic: str, wanted: str, name: str) -> tuple[bool, str]:
    """Return the rule that a topic of Servo is that of the robot file."""
    absolute = topic.replace('~', SERVO_NODE, 1)
    return absolute == wanted, f'topics.{name} of the robot file, {wanted!r}'
