"""A file that Servo or MoveIt would choke on is refused with a sentence before they see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.core.moveit_files import controller_of, load_recipe, load_servo
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription

ARRAY = 'std_msgs/Float64MultiArray'


@pytest.fixture(scope='module')
def arm() -> RobotDescription:
    return load_robot('ur5e')


def read(tmp_path: Path, arm: RobotDescription, **changes: Any) -> dict[str, Any]:
    """Load the shipped Servo file with changes; None takes a key away."""
    document = yaml.safe_load((share_dir() / 'config' / 'servo' / 'ur5e.yaml').read_text())
    document |= changes
    path = tmp_path / 'arm.yaml'
    path.write_text(yaml.safe_dump({k: v for k, v in document.items() if v is not None}))
    return load_servo(path, arm)


def test_a_file_that_is_right_comes_back_as_it_is(tmp_path: Path, arm: RobotDescription) -> None:
    servo = read(tmp_path, arm, scale={'joint': 0.5})
    assert servo['scale'] == {'joint': 0.5}
    assert servo['move_group_name'] == 'ur_manipulator'
    assert controller_of(servo) == 'scaled_joint_trajectory_controller'


def test_servos_own_defaults_count_where_a_file_is_silent(
    tmp_path: Path, arm: RobotDescription
) -> None:
    servo = read(tmp_path, arm, joint_topic=None, max_expected_latency=None)
    assert 'joint_topic' not in servo
    with pytest.raises(ConfigError, match=r'is_primary_planning_scene_monitor is True; expected'):
        read(tmp_path, arm, is_primary_planning_scene_monitor=None)


def test_velocities_alone_may_go_out_as_an_array(tmp_path: Path, arm: RobotDescription) -> None:
    changes = {'publish_joint_positions': False, 'publish_joint_velocities': True}
    topic = '/ur/forward_velocity_controller/commands'
    servo = read(tmp_path, arm, command_out_type=ARRAY, command_out_topic=topic, **changes)
    assert controller_of(servo) == 'ur/forward_velocity_controller'


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    'key of Humble': (
        {'low_latency_mode': False, 'planning_frame': 'base_link'},
        r"arm\.yaml has unknown keys \['low_latency_mode', 'planning_frame'\]; expected "
        r'parameters of MoveIt Servo in Jazzy \(Humble had others\)',
    ),
    'key below another': (
        {'scale': {'joints': 0.5}},
        r"unknown keys \['scale\.joints'\]",
    ),
    'file with its prefix': (
        {'moveit_servo': {'publish_period': 0.01}},
        r"unknown keys \['moveit_servo\.publish_period'\]; .*, not below moveit_servo\.",
    ),
    'whole number for a float': (
        {'collision_check_rate': 30},
        r'arm\.yaml: collision_check_rate is 30; expected a float, with its decimal point',
    ),
    'text for a truth': (
        {'use_smoothing': 'yes'},
        r"use_smoothing is 'yes'; expected a bool, with",
    ),
    'truth for a whole number': ({'thread_priority': True}, r'is True; expected a int'),
    'whole number in a list': (
        {'joint_limit_margins': [0.1, 0]},
        r'joint_limit_margins is \[0\.1, 0\]; expected a list of floats',
    ),
    'number for a list': ({'joint_limit_margins': 0.1}, r'is 0\.1; expected a list of floats'),
    'empty list': ({'joint_limit_margins': []}, r'is \[\]; expected a list of floats'),
    'group of another arm': (
        {'move_group_name': 'panda_arm'},
        r"move_group_name is 'panda_arm'; expected moveit\.group of the robot file, "
        r"'ur_manipulator'\.",
    ),
    'no group': ({'move_group_name': None}, r'move_group_name is None; expected moveit\.group'),
    'other joint states': (
        {'joint_topic': '/other'},
        r"joint_topic is '/other'; expected topics\.joint_states of the robot file, "
        r"'/joint_states'\.",
    ),
    'other commands': (
        {'joint_command_in_topic': '~/jog'},
        r"expected topics\.command of the robot file, '/servo_node/delta_joint_cmds'\.",
    ),
    'other status': ({'status_topic': '/status'}, r'expected topics\.servo_status'),
    'commands without unit': (
        {'command_in_type': None},
        r"command_in_type is 'unitless'; expected 'speed_units': the guard sends rad/s\.",
    ),
    'time-out shorter than the stream': (
        {'incoming_command_timeout': 0.02},
        r'incoming_command_timeout is 0\.02; expected at least 0\.03 s, three commands of the '
        r'guard at 100 Hz\.',
    ),
    'latency shorter than three periods': (
        {'max_expected_latency': 0.029},
        r'max_expected_latency is 0\.029; expected at least 0\.03 s, three times publish_period',
    ),
    'no period': ({'publish_period': 0.0}, r'publish_period is 0\.0; expected it above 0\.'),
    'period that is no number': ({'publish_period': float('nan')}, r'is nan; expected it above 0'),
    'positions and velocities in one array': (
        {'command_out_type': ARRAY, 'publish_joint_velocities': True},
        rf'publish_joint_velocities is True; expected false, as {ARRAY} holds either',
    ),
    'nothing to send': (
        {'publish_joint_positions': False},
        r'publish_joint_positions is False; expected true, or velocities or accelerations',
    ),
    'output of an unknown type': (
        {'command_out_type': 'std_msgs/String'},
        r"command_out_type is 'std_msgs/String'; expected 'trajectory_msgs/JointTrajectory' or",
    ),
    'thresholds the wrong way round': (
        {'scene_collision_proximity_threshold': 0.01},
        r'scene_collision_proximity_threshold is 0\.01; expected at least .*, 0\.02\.',
    ),
    'singularities the wrong way round': (
        {'lower_singularity_threshold': 40.0},
        r'hard_stop_singularity_threshold is 30\.0; expected above .*, 40\.',
    ),
    'no checks': (
        {'collision_check_rate': 0.0},
        r'collision_check_rate is 0\.0; expected it above',
    ),
    'override above one': (
        {'override_velocity_scaling_factor': 1.5},
        r'override_velocity_scaling_factor is 1\.5; expected it from 0 to 1\.',
    ),
    'negative priority': (
        {'thread_priority': -1},
        r'thread_priority is -1; expected it 0 or more',
    ),
    'margins of another arm': (
        {'joint_limit_margins': [0.1] * 7},
        r'joint_limit_margins is .*; expected one value or 6, from 0 to below',
    ),
    'margin beyond that of the guard': (
        {'joint_limit_margins': [0.12]},
        r'is \[0\.12\]; expected .* limits\.position_margin_rad of the robot file, 0\.12: the '
        r'guard must brake first\.',
    ),
    'two who keep the planning scene': (
        {'is_primary_planning_scene_monitor': True},
        r'expected false, as move_group keeps the planning scene\.',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_servo_file_is_refused_with_what_was_got_and_what_was_expected(
    tmp_path: Path, arm: RobotDescription, mistake: str
) -> None:
    changes, message = MISTAKES[mistake]
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, arm, **changes)


def test_missing_servo_file_is_refused(tmp_path: Path, arm: RobotDescription) -> None:
    with pytest.raises(
        ConfigError,
        match=r'No Servo file .*/none\.yaml; expected parameters of MoveIt Servo for ur5e: start '
        r'from one of config/servo/\.',
    ):
        load_servo(tmp_path / 'none.yaml', arm)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'arm.yaml'
    path.write_text(text)
    return path


def test_servo_file_that_is_no_mapping_is_refused(tmp_path: Path, arm: RobotDescription) -> None:
    with pytest.raises(ConfigError, match=r'arm\.yaml is 5; expected a mapping\.'):
        load_servo(write(tmp_path, '5'), arm)


def test_servo_file_that_is_not_yaml_is_refused(tmp_path: Path, arm: RobotDescription) -> None:
    with pytest.raises(ConfigError, match=r'arm\.yaml is not valid YAML'):
        load_servo(write(tmp_path, '[: '), arm)


def test_without_a_recipe_the_builder_finds_everything_itself(tmp_path: Path) -> None:
    recipe = load_recipe(tmp_path / 'none.yaml')
    assert (recipe.builder, recipe.parameters) == ({}, {})


def test_recipe_with_an_unknown_step_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 'builder: {to_dict: {}}\ncolour: red\n')
    with pytest.raises(
        ConfigError, match=r"recipe arm\.yaml has unknown keys \['colour', 'to_dict'\]; expected"
    ):
        load_recipe(path)


def test_recipe_with_a_path_for_arguments_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, 'builder: {joint_limits: config/limits.yaml}\n')
    with pytest.raises(
        ConfigError, match=r"joint_limits is 'config/limits\.yaml'; expected a mapping of arg"
    ):
        load_recipe(path)
