"""moveit_py is called as Jazzy's bindings want it; a strict stand-in takes its place."""

from __future__ import annotations

import ctypes
from dataclasses import replace
import os
import signal
import sys

from fake_moveit import FakeMoveIt, GROUP, install
import numpy as np
import pytest

from mil_ros.core.errors import ConfigError, MotionError
from mil_ros.core.robot import MoveIt, RobotDescription
from mil_ros.ros.moveit_arm import check_available, MoveItArm

PACKAGE = 'moveit_resources_panda_moveit_config'


@pytest.fixture
def arm_file(robot: RobotDescription) -> RobotDescription:
    """An arm that MoveIt knows."""
    settings = MoveIt(group=GROUP, config_package=PACKAGE, config_name='panda')
    return replace(robot, moveit=settings)


@pytest.fixture
def world(arm_file: RobotDescription, monkeypatch: pytest.MonkeyPatch) -> FakeMoveIt:
    gripper = {'panda_finger_joint1': 0.01}
    away = dict(zip(arm_file.joint_names, (arm_file.home + 0.3).tolist(), strict=True))
    return install(monkeypatch, {**gripper, **away})


def test_moveit_is_given_what_move_group_is_given_but_for_its_own(
    arm_file: RobotDescription, world: FakeMoveIt
) -> None:
    MoveItArm(arm_file, 'panda')
    assert set(world.config) >= {'joint_limits', 'ompl', 'planning_scene_monitor_options'}
    assert 'robot_description_semantic' in world.config
    assert not set(world.config) & {'publish_robot_description_semantic', 'use_sim_time'}
    assert world.remappings == {
        'joint_states': '/joint_states',
        'planning_scene': '/monitored_planning_scene',
        'monitored_planning_scene': '/planner_moveit/monitored_planning_scene',
    }
    assert not world.provides_service, 'move_group has that name already'


def test_a_plan_goes_from_here_to_the_goal_at_the_robot_files_speed(
    arm_file: RobotDescription, world: FakeMoveIt
) -> None:
    trajectory = MoveItArm(arm_file, 'panda').plan(arm_file.home)
    assert world.calls == ['load', 'start from here', 'plan']
    reached = [trajectory.goal[name] for name in arm_file.joint_names]
    np.testing.assert_allclose(reached, arm_file.home)
    assert trajectory.goal['panda_finger_joint1'] == 0.01, 'the rest stays as it is'
    assert world.parameters.max_velocity_scaling_factor == pytest.approx(0.25)
    assert world.parameters.max_acceleration_scaling_factor == pytest.approx(0.25)


def test_no_way_home_is_told(arm_file: RobotDescription, world: FakeMoveIt) -> None:
    world.plan_fails = True
    with pytest.raises(
        MotionError,
        match=r'^MoveIt finds no way to the start pose \(error code -2\), expected one; clear the '
        r'way, or drive the arm by hand\.$',
    ):
        MoveItArm(arm_file, 'panda').plan(arm_file.home)


def test_a_plan_faster_than_the_robot_file_allows_is_refused(
    arm_file: RobotDescription, world: FakeMoveIt
) -> None:
    world.planned_speed = 1.2
    with pytest.raises(
        MotionError,
        match=r'^MoveIt plans panda_joint1 at 1\.20 rad/s, expected at most 1\.09 rad/s; correct '
        rf'joint_limits\.yaml of {PACKAGE}\.$',
    ):
        MoveItArm(arm_file, 'panda').plan(arm_file.home)


def test_an_execution_that_fails_is_told(arm_file: RobotDescription, world: FakeMoveIt) -> None:
    world.status = 'ABORTED'
    arm = MoveItArm(arm_file, 'panda')
    with pytest.raises(MotionError, match=r'ended the motion with ABORTED, expected SUCCEEDED;'):
        arm.execute(arm.plan(arm_file.home))


def test_collision_is_checked_where_the_arm_was_measured(
    arm_file: RobotDescription, world: FakeMoveIt
) -> None:
    world.collides = lambda state: state['panda_joint2'] > 1.0
    arm = MoveItArm(arm_file, 'panda')
    assert not arm.is_colliding(arm_file.home)
    bent = arm_file.home.copy()
    bent[1] = 1.2
    assert arm.is_colliding(bent)


def test_without_move_group_nobody_can_tell(arm_file: RobotDescription, world: FakeMoveIt) -> None:
    world.has_scene = False
    arm = MoveItArm(arm_file, 'panda')
    sentence = r'^Nobody can tell what is around the arm: /get_planning_scene does not answer, '
    with pytest.raises(MotionError, match=sentence + 'expected move_group to; start it'):
        arm.plan(arm_file.home)
    with pytest.raises(MotionError, match=sentence):
        arm.is_colliding(arm_file.home)
    assert 'plan' not in world.calls


def test_a_group_that_the_arm_lacks_is_told(arm_file: RobotDescription, world: FakeMoveIt) -> None:
    wrong = replace(arm_file, moveit=replace(arm_file.moveit, group='left_arm'))
    with pytest.raises(
        ConfigError,
        match=r"^MoveIt cannot be loaded for group 'left_arm' \(Could not find joint model group "
        r"'left_arm'\.\); expected the group in the SRDF, and /robot_description to ",
    ):
        MoveItArm(wrong, 'panda')


def test_what_is_wrong_with_the_vendors_package_is_told(
    arm_file: RobotDescription, world: FakeMoveIt
) -> None:
    with pytest.raises(ConfigError, match=r'^MoveIt needs the ROS package ur_moveit_config, whi'):
        MoveItArm(arm_file, 'robots_without_package')


def test_a_robot_file_without_a_group_cannot_choose_moveit(robot: RobotDescription) -> None:
    with pytest.raises(
        ConfigError,
        match=r'^sim_panda: backend is moveit, expected a robot file with moveit\.group; add it '
        r'or choose backend:=joint_space\.$',
    ):
        check_available(robot)


def test_moveit_must_be_installed_to_be_chosen(
    arm_file: RobotDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, 'moveit', raising=False)
    monkeypatch.setattr('mil_ros.ros.moveit_arm._MODULES', ('moveit_that_is_nowhere',))
    with pytest.raises(
        ConfigError, match=r'moveit_that_is_nowhere is not installed.* backend:=joint_space\.$'
    ):
        check_available(arm_file)


def test_signals_still_come_to_us_after_moveit_took_them(
    arm_file: RobotDescription, world: FakeMoveIt, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    ignore = 1
    world.on_load = lambda: ctypes.CDLL(None).signal(int(signal.SIGTERM), ctypes.c_void_p(ignore))
    try:
        MoveItArm(arm_file, 'panda')
        os.kill(os.getpid(), signal.SIGTERM)
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
