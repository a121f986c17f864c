"""A stand-in for moveit_py of Jazzy that forgives no misuse.

Signatures are those of the bindings. Other arguments are refused, and so is what deadlocks,
crashes or plans from garbage in the real library.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import ConfigError

GROUP = 'panda_arm'


class FakeMoveIt:
    """What the test says of the world, and what was done to it.

    Attributes:
        positions: Joint positions that MoveIt's own monitor has seen, by name.
        collides: Whether a state, given by name, is in collision.
        planned_speed: Of the fastest joint of every plan, in rad/s.
        has_scene: Whether move_group answers.
        plan_fails: Whether no way is found.
        status: How an execution ends that nobody stops.
        before_start: Called before an execution can be stopped.
        moves: Called in an execution with the goal; the execution ends when it returns.
    """

    def __init__(self, positions: dict[str, float]) -> None:
        self.positions = positions
        self.collides: Callable[[dict[str, float]], bool] = lambda _: False
        self.planned_speed = 0.1
        self.has_scene = True
        self.plan_fails = False
        self.status = 'SUCCEEDED'
        self.before_start: Callable[[], Any] = lambda: None
        self.moves: Callable[[dict[str, float]], None] = lambda _: None
        self.calls: list[str] = []
        self.config: dict[str, Any] = {}
        self.remappings: dict[str, str] | None = None
        self.provides_service = True
        self.on_load: Callable[[], Any] = lambda: None
        self.parameters: Any = None
        self.stopped = threading.Event()
        self.locked = False

    def check_unlocked(self) -> None:
        if self.locked:
            raise RuntimeError('Resource deadlock avoided')


class RobotState:
    def __init__(self, positions: dict[str, float]) -> None:
        self._positions, self.dirty = dict(positions), False

    def __deepcopy__(self, memo: dict[int, Any]) -> RobotState:
        return RobotState(self._positions)

    @property
    def joint_positions(self) -> dict[str, float]:
        return dict(self._positions)

    @joint_positions.setter
    def joint_positions(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            assert name in self._positions, f'{name} is no variable'
            assert type(value) is float, f'{value!r} is no double'
        self._positions.update(values)
        self.dirty = True

    def update(self, force: bool = False, type: str = 'all') -> None:
        self.dirty = False


class Scene:
    def __init__(self, world: FakeMoveIt) -> None:
        self._world = world

    @property
    def current_state(self) -> RobotState:
        assert self._world.locked
        return RobotState(self._world.positions)

    def is_state_colliding(
        self, robot_state: RobotState, joint_model_group_name: str, verbose: bool = False
    ) -> bool:
        assert self._world.locked
        assert joint_model_group_name == GROUP
        assert not robot_state.dirty, 'update() was not called'
        return self._world.collides(robot_state.joint_positions)


class PlanningSceneMonitor:
    def __init__(self, world: FakeMoveIt) -> None:
        self._world = world

    def request_planning_scene_state(self, service_name: str) -> bool:
        self._world.check_unlocked()
        assert service_name == '/get_planning_scene'
        return self._world.has_scene

    @contextmanager
    def read_only(self) -> Any:
        self._world.check_unlocked()
        self._world.locked = True
        try:
            yield Scene(self._world)
        finally:
            self._world.locked = False


class Plan:
    """A MotionPlanResponse."""

    def __init__(self, goal: dict[str, float] | None, speed: float) -> None:
        names = list(goal or {})
        points = [SimpleNamespace(velocities=[v] * len(names)) for v in (0.0, speed, 0.0)]
        message = SimpleNamespace(
            joint_trajectory=SimpleNamespace(joint_names=names, points=points)
        )
        self.trajectory = SimpleNamespace(goal=goal, get_robot_trajectory_msg=lambda: message)
        self.error_code = SimpleNamespace(val=1 if goal else -2)

    def __bool__(self) -> bool:
        return self.error_code.val == 1


class PlanningComponent:
    def __init__(self, world: FakeMoveIt) -> None:
        self._world = world
        self._goal: dict[str, float] | None = None

    def set_start_state_to_current_state(self) -> None:
        self._world.calls.append('start from here')

    def set_goal_state(
        self,
        configuration_name: str | None = None,
        robot_state: RobotState | None = None,
        pose_stamped_msg: Any = None,
        pose_link: str | None = None,
        motion_plan_constraints: Any = None,
    ) -> bool:
        assert robot_state is not None
        assert not robot_state.dirty, 'update() was not called'
        self._goal = robot_state.joint_positions
        return True

    def plan(
        self,
        single_plan_parameters: Any = None,
        multi_plan_parameters: Any = None,
        planning_scene: Any = None,
        solution_selection_function: Any = None,
        stopping_criterion_callback: Any = None,
    ) -> Plan:
        self._world.check_unlocked()
        assert self._goal is not None
        self._world.calls.append('plan')
        self._world.parameters = single_plan_parameters
        goal = None if self._world.plan_fails else self._goal
        return Plan(goal, self._world.planned_speed)


class ExecutionStatus:
    def __init__(self, status: str) -> None:
        self.status = status

    def __bool__(self) -> bool:
        return self.status == 'SUCCEEDED'


class MoveItPy:
    world: FakeMoveIt

    def __init__(
        self,
        node_name: str = 'moveit_py',
        name_space: str = '',
        launch_params_filepaths: list[str] | None = None,
        config_dict: dict[str, Any] | None = None,
        provide_planning_service: bool = True,
        remappings: dict[str, str] | None = None,
    ) -> None:
        assert config_dict is not None
        assert 'use_sim_time' not in config_dict, 'declared twice'
        assert config_dict['planning_pipelines']['pipeline_names'], 'no pipeline'
        yaml.safe_dump(config_dict)  # goes through a file
        self.world.config, self.world.remappings = config_dict, remappings
        self.world.provides_service = provide_planning_service
        self.world.on_load()
        self.world.calls.append('load')

    def get_planning_component(self, planning_component_name: str) -> PlanningComponent:
        if planning_component_name != GROUP:
            raise RuntimeError(f"Could not find joint model group '{planning_component_name}'.")
        return PlanningComponent(self.world)

    def get_planning_scene_monitor(self) -> PlanningSceneMonitor:
        return PlanningSceneMonitor(self.world)

    def get_trajectory_execution_manager(self) -> Any:
        return SimpleNamespace(stop_execution=self._stop_execution)

    def execute(self, robot_trajectory: Any, controllers: list[str]) -> ExecutionStatus:
        self.world.check_unlocked()
        self.world.calls.append('execute')
        self.world.before_start()
        self.world.stopped.clear()  # a stop that came before is forgotten
        self.world.moves(robot_trajectory.goal)
        is_stopped = self.world.stopped.is_set()
        return ExecutionStatus('PREEMPTED' if is_stopped else self.world.status)

    def _stop_execution(self, auto_clear: bool = True) -> None:
        self.world.calls.append('stop')
        self.world.stopped.set()


class PlanRequestParameters:
    def __init__(self, moveit_cpp: MoveItPy, ns: str, /) -> None:
        assert isinstance(moveit_cpp, MoveItPy)
        assert ns == '', f'no parameters under {ns}'
        self.max_velocity_scaling_factor = self.max_acceleration_scaling_factor = 1.0


def make_setup(robot: str, specs: Sequence[object]) -> Any:
    """Stand in for what becomes of the vendor's package; that has tests of its own."""
    if 'robots_without_package' in robot:
        raise ConfigError('MoveIt needs the ROS package ur_moveit_config, which is not installed.')
    move_group = {
        'robot_description': '<robot/>',
        'robot_description_semantic': '<robot/>',
        'publish_robot_description_semantic': True,
        'use_sim_time': False,
        'joint_limits': {},
        'planning_pipelines': ['ompl'],
        'ompl': {'planning_plugins': ['x']},
    }
    return SimpleNamespace(parameters={'move_group': move_group})


def install(monkeypatch: pytest.MonkeyPatch, positions: dict[str, float]) -> FakeMoveIt:
    """Have `import moveit` find the stand-in, and return its world."""
    world = FakeMoveIt(positions)
    planning = {
        'MoveItPy': type('MoveItPy', (MoveItPy,), {'world': world}),
        'PlanRequestParameters': PlanRequestParameters,
    }
    monkeypatch.setattr('mil_ros.ros.moveit_arm.make_moveit_setup', make_setup)
    contents = {'moveit': {}, 'moveit.planning': planning, 'moveit_configs_utils': {}}
    for name, members in contents.items():
        module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        module.__dict__.update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return world
