"""The shipped robot files agree with their makers, and with what MoveIt is told about the arm."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from mil_ros.core.moveit_files import controller_of, load_recipe, load_servo
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription

CONFIG = share_dir() / 'config'
ARMS = ('fr3', 'gen3', 'panda', 'ur10e', 'ur5e', 'xarm7')
TURN = 2.0 * np.pi

# What the makers publish, joint by joint, in rad, rad/s, rad/s^2 and rad/s^3.
# Franka: the URDF of franka_description 1.0.1; rate_limiting.h of libfranka, for the Panda before
# it became that of the FR3. Universal Robots: joint_limits.yaml of ur_description 2.4, and of
# ur_moveit_config for jazzy. Kinova: the URDF of kortex_description, and joint_limits.yaml of its
# MoveIt configuration.
UR_POSITION = [TURN, TURN, np.pi, TURN, TURN, TURN]
FACTS: dict[str, dict[str, list[float]]] = {
    'fr3': {
        'lower': [-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159],
        'upper': [2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159],
        'velocity': [2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26],
        'acceleration': [10.0] * 7,
        'jerk': [5000.0] * 7,
    },
    'panda': {
        'lower': [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973],
        'upper': [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973],
        'velocity': [2.175] * 4 + [2.61] * 3,
        'acceleration': [15.0, 7.5, 10.0, 12.5, 15.0, 20.0, 20.0],
        'jerk': [7500.0, 3750.0, 5000.0, 6250.0, 7500.0, 10000.0, 10000.0],
    },
    'ur5e': {
        'lower': [-value for value in UR_POSITION],
        'upper': UR_POSITION,
        'velocity': [np.deg2rad(180)] * 6,
        'acceleration': [5.0] * 6,
    },
    'ur10e': {
        'lower': [-value for value in UR_POSITION],
        'upper': UR_POSITION,
        'velocity': [np.deg2rad(120)] * 2 + [np.deg2rad(180)] * 4,
        'acceleration': [5.0] * 6,
    },
    'gen3': {  # joints 1, 3, 5 and 7 have no ends; the driver's angles have, at half a turn
        'lower': [-np.pi, -2.24, -np.pi, -2.57, -np.pi, -2.09, -np.pi],
        'upper': [np.pi, 2.24, np.pi, 2.57, np.pi, 2.09, np.pi],
        'velocity': [1.3963] * 4 + [1.2218] * 3,
        'acceleration': [8.6] * 7,
    },
}
# Accelerations of the vendors' MoveIt configurations in rad/s^2: Servo's smoothing keeps to them.
FRANKA_MOVEIT = [3.75, 1.875, 2.5, 3.125, 3.75, 5.0, 5.0]
SMOOTHING = {
    'fr3': FRANKA_MOVEIT,
    'gen3': [8.6] * 7,
    'panda': FRANKA_MOVEIT,
    'ur10e': [5.0] * 6,
    'ur5e': [5.0] * 6,
    'xarm7': [10.0] * 7,
}


@pytest.fixture(params=ARMS)
def arm(request: pytest.FixtureRequest) -> RobotDescription:
    return load_robot(request.param)


def servo_of(arm: RobotDescription) -> dict[str, Any]:
    return load_servo(CONFIG / 'servo' / f'{arm.name}.yaml', arm)


def test_every_shipped_arm_has_its_files() -> None:
    def names(folder: str) -> set[str]:
        return {path.stem for path in (CONFIG / folder).glob('*.yaml')}

    assert names('robots') == {*ARMS, 'sim_panda'}
    assert names('servo') == names('moveit') == set(ARMS)


@pytest.mark.parametrize('name', FACTS)
def test_limits_are_those_of_the_maker(name: str) -> None:
    robot, facts = load_robot(name), FACTS[name]
    read = {
        'lower': [joint.lower_rad for joint in robot.joints],
        'upper': [joint.upper_rad for joint in robot.joints],
        'velocity': list(robot.rated_velocities),
        'acceleration': [joint.acceleration_rad_s2 for joint in robot.joints],
        'jerk': [joint.jerk_rad_s3 for joint in robot.joints],
    }
    for what, published in facts.items():
        np.testing.assert_allclose(read[what], published, atol=1e-3, err_msg=what)
    # A robot file must not promise a little more than the URDF, by rounding up pi.
    assert np.all(np.array(read['lower']) >= facts['lower'])
    assert np.all(np.array(read['upper']) <= facts['upper'])
    assert np.all(np.array(read['velocity']) <= facts['velocity'])


def test_xarm7_keeps_to_its_limits_with_and_without_the_drivers_narrower_ones() -> None:
    robot, half = load_robot('xarm7'), 0.99 * np.pi
    wide = [TURN, 2.0944, TURN, 3.927, TURN, np.pi, TURN]
    narrow = [half, 2.0944, half, half, half, half, half]
    assert [j.upper_rad for j in robot.joints] == pytest.approx(np.minimum(wide, narrow), abs=1e-3)
    wide = [-TURN, -2.059, -TURN, -0.19198, -TURN, -1.69297, -TURN]
    narrow = [-half, -2.059, -half, -0.11, -half, -1.75, -half]
    assert [j.lower_rad for j in robot.joints] == pytest.approx(np.maximum(wide, narrow), abs=1e-3)
    np.testing.assert_array_equal(robot.rated_velocities, 2.14)


def test_a_real_arm_starts_slow_and_under_a_deadman_switch(arm: RobotDescription) -> None:
    assert arm.guard.deadman
    assert 0.1 <= arm.limits.velocity_fraction <= 0.25
    assert 0.1 <= arm.limits.acceleration_fraction <= 0.25
    assert arm.limits.jerk_fraction <= 0.25 or not np.isfinite(arm.jerk_limits).any()
    assert arm.tool.link
    assert arm.tool.speed_m_s == 0.25


def test_every_position_is_finite_so_that_the_guard_can_brake_for_it(
    arm: RobotDescription,
) -> None:
    assert np.isfinite([arm.lower_limits, arm.upper_limits]).all()


def test_home_leaves_the_policy_room_in_both_directions(arm: RobotDescription) -> None:
    assert np.min(arm.upper_limits - arm.home) > 0.15
    assert np.min(arm.home - arm.lower_limits) > 0.15


def test_servo_file_suits_the_arm(arm: RobotDescription) -> None:
    servo = servo_of(arm)
    assert servo['command_out_type'] == 'trajectory_msgs/JointTrajectory'
    assert servo['publish_joint_positions'] is True
    assert servo['check_collisions'] is True
    assert controller_of(servo) in (CONFIG.parent / 'docs' / 'arms.md').read_text()


def test_smoothing_of_servo_leaves_the_guards_commands_alone(arm: RobotDescription) -> None:
    assert servo_of(arm)['smoothing_filter_plugin_name'].endswith('AccelerationLimitedPlugin')
    assert np.all(arm.acceleration_limits <= SMOOTHING[arm.name])


def test_recipe_is_one_that_the_builder_understands(arm: RobotDescription) -> None:
    recipe = load_recipe(CONFIG / 'moveit' / f'{arm.name}.yaml')
    assert recipe.builder['planning_pipelines'] == {'pipelines': ['ompl']}
    managed = recipe.parameters.get('moveit_simple_controller_manager')
    if managed is not None:  # what the vendor's file lacks must be of this very arm
        (controller,) = managed['controller_names']
        assert controller == controller_of(servo_of(arm))
        assert tuple(managed[controller]['joints']) == arm.joint_names


def test_files_of_an_arm_family_differ_in_nothing_but_the_arm() -> None:
    for folder in ('servo', 'moveit'):
        texts = [(CONFIG / folder / f'{name}.yaml').read_text() for name in ('ur5e', 'ur10e')]
        same = [text.replace('UR10e', 'UR5e').replace('ur10e', 'ur5e') for text in texts]
        assert all(a == b for a, b in pairwise(same))
