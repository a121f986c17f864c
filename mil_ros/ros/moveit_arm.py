"""moveit_py behind a few blocking calls.

Its traps: `plan` holds the interpreter's lock, so nothing else of the process runs meanwhile;
planning with the scene locked deadlocks; a fresh state holds garbage; ``use_sim_time`` must not be
among its parameters; its destructor may crash, so the object is kept until the process ends.
"""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
import signal
from typing import Any

import numpy as np
import yaml

from mil_ros.core.errors import ConfigError, MilError, MotionError
from mil_ros.core.homing import FRACTION
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Vector
from mil_ros.ros.moveit_config import make_moveit_setup

NODE_NAME = 'planner_moveit'
SCENE_SERVICE = '/get_planning_scene'
_MODULES = ('moveit', 'moveit_configs_utils')
_MOVE_GROUPS_OWN = ('publish_robot_description_semantic', 'use_sim_time')
_SPEED_SLACK = 1.01
_kept: list[Any] = []


def is_installed() -> bool:
    """Whether moveit_py can be imported."""
    return all(find_spec(name) is not None for name in _MODULES)


def is_loaded() -> bool:
    """Whether this process holds objects of MoveIt, so that it should end without teardown."""
    return bool(_kept)


def check_available(robot: RobotDescription) -> None:
    """Refuse to work without MoveIt.

    Raises:
        ConfigError: If the robot file names no planning group or moveit_py is not installed.
    """
    if not robot.moveit.group:
        raise ConfigError(
            f'{robot.name}: backend is moveit, expected a robot file with moveit.group; add it or '
            'choose backend:=joint_space.'
        )
    if not is_installed():
        raise ConfigError(
            f'backend is moveit, but {" or ".join(_MODULES)} is not installed, expected both; '
            'install ros-jazzy-moveit-py or choose backend:=joint_space.'
        )


class MoveItArm:
    """Plans, executes and checks with MoveIt's model of the arm and its surroundings."""

    def __init__(self, robot: RobotDescription, file: str) -> None:
        """Load MoveIt; takes seconds. Call it from the main thread.

        Args:
            robot: Whose limits count.
            file: Name or path of its robot file, beside which the recipe for MoveIt is.

        Raises:
            ConfigError: If the configuration or the published robot model does not suit.
        """
        from moveit.planning import MoveItPy, PlanRequestParameters

        self._robot, self._group = robot, robot.moveit.group
        try:
            self._moveit = MoveItPy(
                node_name=NODE_NAME,
                config_dict=_load_config(file),
                provide_planning_service=False,  # move_group's is the one that counts
                remappings={
                    'joint_states': robot.topics.joint_states,
                    'planning_scene': '/monitored_planning_scene',  # what move_group knows
                    'monitored_planning_scene': f'/{NODE_NAME}/monitored_planning_scene',
                },
            )
            _kept.append(self._moveit)
            self._arm = self._moveit.get_planning_component(self._group)
            self._parameters = PlanRequestParameters(self._moveit, '')
        except MilError:
            raise
        except Exception as err:  # whatever the bindings make of C++ exceptions
            raise ConfigError(
                f'MoveIt cannot be loaded for group {self._group!r} ({err}); expected the group '
                "in the SRDF, and /robot_description to be published where the vendor's package "
                'has no URDF; start the driver first.'
            ) from err
        finally:
            _take_signals_back()
        limits = robot.limits
        self._parameters.max_velocity_scaling_factor = FRACTION * limits.velocity_fraction
        self._parameters.max_acceleration_scaling_factor = FRACTION * limits.acceleration_fraction

    def is_colliding(self, positions: Vector) -> bool:
        """Return whether the arm touches itself or something known, at positions (J,) in rad."""
        state = self._make_state(positions)
        with self._moveit.get_planning_scene_monitor().read_only() as scene:
            return bool(
                scene.is_state_colliding(robot_state=state, joint_model_group_name=self._group)
            )

    def plan(self, goal: Vector) -> Any:
        """Return a trajectory from where the arm is to a goal, (J,) in rad.

        Raises:
            MotionError: If there is none, or one faster than the robot file allows.
        """
        self._arm.set_start_state_to_current_state()
        self._arm.set_goal_state(robot_state=self._make_state(goal))
        result = self._arm.plan(single_plan_parameters=self._parameters)
        if not result:
            raise MotionError(
                f'MoveIt finds no way to the start pose (error code {result.error_code.val}), '
                'expected one; clear the way, or drive the arm by hand.'
            )
        self._check_speed(result.trajectory)
        return result.trajectory

    def execute(self, trajectory: Any) -> None:
        """Follow a trajectory and return once its controller has ended.

        Raises:
            MotionError: If it did not end well.
        """
        status = self._moveit.execute(trajectory, controllers=[])
        if not status:
            raise MotionError(
                f'MoveIt ended the motion with {status.status}, expected SUCCEEDED; see its log '
                'and whether the trajectory controller is active.'
            )

    def stop(self) -> None:
        """End what is being executed, if anything is."""
        self._moveit.get_trajectory_execution_manager().stop_execution()

    def _make_state(self, positions: Vector) -> Any:
        """Return the current state of everything with the arm at positions, (J,) in rad.

        Raises:
            MotionError: If move_group does not tell what is around the arm.
        """
        monitor = self._moveit.get_planning_scene_monitor()
        if not monitor.request_planning_scene_state(SCENE_SERVICE):
            raise MotionError(
                f'Nobody can tell what is around the arm: {SCENE_SERVICE} does not answer, '
                'expected move_group to; start it.'
            )
        with monitor.read_only() as scene:
            state = deepcopy(scene.current_state)
        names = self._robot.joint_names
        state.joint_positions = dict(zip(names, map(float, positions), strict=True))
        state.update()
        return state

    def _check_speed(self, trajectory: Any) -> None:
        """Refuse what is faster than the robot file allows; MoveIt has limits of its own."""
        planned = trajectory.get_robot_trajectory_msg().joint_trajectory
        allowed = dict(zip(self._robot.joint_names, self._robot.velocity_limits, strict=True))
        highest = np.max([np.abs(point.velocities) for point in planned.points], axis=0)
        for name, speed in zip(planned.joint_names, highest, strict=True):
            if name in allowed and speed > _SPEED_SLACK * allowed[name]:
                raise MotionError(
                    f'MoveIt plans {name} at {speed:.2f} rad/s, expected at most '
                    f'{allowed[name]:.2f} rad/s; correct joint_limits.yaml of '
                    f'{self._robot.moveit.config_package}.'
                )


def _load_config(file: str) -> dict[str, Any]:
    """Return MoveIt's parameters for a robot file: those of move_group, but for its own."""
    config = dict(make_moveit_setup(file, ()).parameters['move_group'])
    config |= yaml.safe_load((share_dir() / 'config' / 'moveit_cpp.yaml').read_text())
    return {key: value for key, value in config.items() if key not in _MOVE_GROUPS_OWN}


def _take_signals_back() -> None:
    """Undo that rclcpp, which MoveIt starts, ends its context at SIGINT: the arm must stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.getsignal(number))
