"""What MoveIt's nodes are started with, built with a stand-in for MoveItConfigsBuilder."""

from __future__ import annotations

from pathlib import Path
import shutil
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir

pytest.importorskip('ament_index_python')

from mil_ros.bringup import MOVEIT
from mil_ros.ros.moveit_config import choose_moveit, make_moveit_setup

PACKAGES = (
    'franka_bringup',
    'franka_description',
    'franka_fr3_moveit_config',
    'kinova_gen3_7dof_robotiq_2f_85_moveit_config',
    'moveit_resources_panda_moveit_config',
    'moveit_ros_move_group',
    'moveit_servo',
    'ur_moveit_config',
    'xarm_description',
    'xarm_moveit_config',
)
STEPS = (
    'robot_description',
    'robot_description_semantic',
    'robot_description_kinematics',
    'joint_limits',
    'trajectory_execution',
    'planning_pipelines',
)


class Builder:
    """Takes the steps of the real one and remembers what it was told."""

    told: dict[str, Any]

    def __init__(self, robot_name: str, package_name: str) -> None:
        Builder.told = {'name': robot_name, 'package': package_name}

    def __getattr__(self, step: str) -> Any:
        if step not in STEPS:
            raise AttributeError(step)

        def take(**arguments: Any) -> Builder:
            self.told[step] = arguments
            return self

        return take

    def to_moveit_configs(self) -> Any:
        parts: dict[str, dict[str, Any]] = {
            'robot_description': {'robot_description': '<robot/>'},
            'robot_description_semantic': {'robot_description_semantic': '<srdf/>'},
            'robot_description_kinematics': {'robot_description_kinematics': {'group': {}}},
            'joint_limits': {'robot_description_planning': {'joint_limits': {}}},
        }
        ompl = {'ompl': {'planner_configs': {'RRT': {}}, 'planning_plugins': ['none']}}
        everything = {key: value for part in parts.values() for key, value in part.items()} | ompl
        return SimpleNamespace(**parts, to_dict=lambda: everything)


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> type[Builder]:
    module = ModuleType('moveit_configs_utils')
    module.MoveItConfigsBuilder = Builder  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, 'moveit_configs_utils', module)
    return Builder


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which everybody's packages are installed, and empty."""
    index = tmp_path / 'share' / 'ament_index' / 'resource_index' / 'packages'
    index.mkdir(parents=True)
    for package in PACKAGES:
        (index / package).touch()
        (tmp_path / 'share' / package).mkdir()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    return tmp_path


def uninstall(prefix: Path, package: str) -> None:
    (prefix / 'share' / 'ament_index' / 'resource_index' / 'packages' / package).unlink()


@pytest.mark.usefixtures('prefix', 'builder')
def test_servo_is_given_all_that_it_reads() -> None:
    setup = make_moveit_setup('ur5e', MOVEIT['true'])
    servo = setup.parameters['servo_node']
    assert set(servo) == {
        'robot_description',
        'robot_description_semantic',
        'robot_description_kinematics',
        'robot_description_planning',
        'moveit_servo',
        'update_period',
        'planning_group_name',
    }
    file = share_dir() / 'config' / 'servo' / 'ur5e.yaml'
    assert servo['moveit_servo'] == yaml.safe_load(file.read_text())
    assert servo['update_period'] == servo['moveit_servo']['publish_period']
    assert servo['planning_group_name'] == servo['moveit_servo']['move_group_name']
    assert setup.controller == 'scaled_joint_trajectory_controller'


@pytest.mark.usefixtures('prefix')
def test_the_vendors_package_is_asked_by_the_recipe(builder: type[Builder]) -> None:
    make_moveit_setup('ur5e', MOVEIT['true'])
    assert builder.told == {
        'name': 'ur',
        'package': 'ur_moveit_config',
        'robot_description_semantic': {
            'file_path': 'srdf/ur.srdf.xacro',
            'mappings': {'name': 'ur5e'},
        },
        'trajectory_execution': {'file_path': 'config/moveit_controllers.yaml'},
        'planning_pipelines': {'pipelines': ['ompl']},
    }


def test_a_file_of_another_package_is_found(prefix: Path, builder: type[Builder]) -> None:
    make_moveit_setup('fr3', MOVEIT['true'])
    told = builder.told['robot_description_semantic']['file_path']
    assert told == str(prefix / 'share/franka_description/robots/fr3/fr3.srdf.xacro')


@pytest.mark.usefixtures('prefix', 'builder')
def test_the_recipe_has_its_way_and_keeps_what_it_does_not_name() -> None:
    move_group = make_moveit_setup('fr3', MOVEIT['true']).parameters['move_group']
    assert move_group['ompl']['planning_plugins'] == ['ompl_interface/OMPLPlanner']
    assert move_group['ompl']['planner_configs'] == {'RRT': {}}
    assert move_group['publish_robot_description_semantic'] is True


@pytest.mark.usefixtures('prefix', 'builder')
@pytest.mark.parametrize('name', ['fr3', 'gen3', 'panda', 'ur10e', 'ur5e', 'xarm7'])
def test_every_shipped_arm_can_be_set_up(name: str) -> None:
    assert set(make_moveit_setup(name, MOVEIT['true']).parameters) == {'move_group', 'servo_node'}


@pytest.mark.usefixtures('builder')
@pytest.mark.parametrize('package', ['moveit_servo', 'moveit_ros_move_group', 'ur_moveit_config'])
def test_a_package_that_is_not_installed_is_named(prefix: Path, package: str) -> None:
    uninstall(prefix, package)
    with pytest.raises(
        ConfigError, match=rf'needs the ROS package {package}, which is not installed or sourced;'
    ):
        make_moveit_setup('ur5e', MOVEIT['true'])


@pytest.mark.usefixtures('builder')
def test_a_package_that_the_recipe_needs_is_named(prefix: Path) -> None:
    uninstall(prefix, 'franka_description')
    with pytest.raises(ConfigError, match='needs the ROS package franka_description, which'):
        make_moveit_setup('fr3', MOVEIT['true'])


@pytest.mark.usefixtures('prefix')
def test_moveit_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'moveit_configs_utils', None)
    with pytest.raises(
        ConfigError,
        match=r'needs moveit_configs_utils, which cannot be imported \(.*\); expected MoveIt of '
        r'jazzy or newer: install ros-jazzy-moveit\.',
    ):
        make_moveit_setup('ur5e', MOVEIT['true'])


@pytest.mark.usefixtures('prefix')
def test_a_vendors_package_that_is_laid_otherwise_is_refused(
    builder: type[Builder], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Builder) -> Any:
        raise KeyError('config/kinematics.yaml')

    monkeypatch.setattr(builder, 'to_moveit_configs', fail)
    with pytest.raises(
        ConfigError,
        match=r'configuration of ur5e cannot be built from ur_moveit_config: KeyError '
        r'.*kinematics\.yaml.*; expected the files that moveit/ur5e\.yaml names\.',
    ):
        make_moveit_setup('ur5e', MOVEIT['true'])


def test_an_arm_without_moveit_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r'Robot file sim_panda\.yaml has no section moveit, expected one to '
        r'start MoveIt; choose another robot or moveit:=false\.',
    ):
        make_moveit_setup('sim_panda', MOVEIT['true'])


@pytest.mark.usefixtures('prefix', 'builder')
def test_the_files_of_ones_own_arm_lie_beside_its_robot_file(tmp_path: Path) -> None:
    for folder in ('robots', 'servo'):
        (tmp_path / 'arms' / folder).mkdir(parents=True)
        source = share_dir() / 'config' / folder / 'ur5e.yaml'
        shutil.copy(source, tmp_path / 'arms' / folder / 'mine.yaml')
    robot = str(tmp_path / 'arms' / 'robots' / 'mine.yaml')
    assert (
        make_moveit_setup(robot, MOVEIT['true']).controller == 'scaled_joint_trajectory_controller'
    )
    (tmp_path / 'arms' / 'servo' / 'mine.yaml').unlink()
    with pytest.raises(ConfigError, match=r'No Servo file .*/arms/servo/mine\.yaml; expected'):
        make_moveit_setup(robot, MOVEIT['true'])


@pytest.mark.usefixtures('builder')
def test_servo_alone_does_not_need_move_group(prefix: Path) -> None:
    uninstall(prefix, 'moveit_ros_move_group')
    assert make_moveit_setup('ur5e', choose_moveit('servo')).parameters['servo_node']
    with pytest.raises(ConfigError, match='needs the ROS package moveit_ros_move_group'):
        make_moveit_setup('ur5e', choose_moveit('true'))


@pytest.mark.parametrize(
    ('value', 'started'),
    [
        ('false', []),
        ('False', []),
        ('servo', ['servo_node']),
        ('true', ['move_group', 'servo_node']),
        ('True', ['move_group', 'servo_node']),
    ],
)
def test_the_argument_says_what_is_started(value: str, started: list[str]) -> None:
    assert [spec.executable for spec in choose_moveit(value)] == started


def test_an_unknown_value_of_the_argument_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r'moveit:=yes is unknown; expected one of false, servo, true\.'
    ):
        choose_moveit('yes')
