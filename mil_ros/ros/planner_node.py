"""The planner: moves the arm to the start pose, with MoveIt or without.

A process of its own: moveit_py holds up its process while it plans, and may crash at its end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
import os
import sys
import time
from typing import Protocol

from rclpy.executors import Executor
from rclpy.node import Node

from mil_ros.core.errors import ConfigError, OrderError
from mil_ros.core.robot import load_robot
from mil_ros.ros import moveit_arm
from mil_ros.ros.joint_space import JointSpaceBackend
from mil_ros.ros.moveit_backend import MoveItBackend
from mil_ros.ros.node import add_trigger, add_waiting_trigger, run_node
from mil_ros.ros.parameters import declare_parameters, parameter, RobotParameter

_BACKENDS = ('auto', 'moveit', 'joint_space')
_STOP_S = 4.0  # how long the arm may take to rest, and Servo to resume, before the process ends


class Backend(Protocol):
    """One way to move the arm; errors are `MilError`."""

    async def go_home(self) -> str:
        """Move the arm to the start pose and say how it went."""

    def stop(self, reason: str) -> None:
        """End the motion."""

    async def check(self) -> str:
        """Say that the arm is not in collision; raises if it is or nobody can tell."""


@dataclass(frozen=True, slots=True)
class PlannerParameters(RobotParameter):
    """What is fixed while the node runs."""

    backend: str = parameter('moveit, joint_space, or auto for MoveIt where it is', 'auto')

    def __post_init__(self) -> None:
        if self.backend not in _BACKENDS:
            raise ConfigError(
                f'Parameter backend is {self.backend!r}; expected one of {", ".join(_BACKENDS)}.'
            )


class PlannerNode(Node):
    """Serves the motions of one arm, one at a time."""

    def __init__(self) -> None:
        """Choose how to move the arm."""
        super().__init__('planner')
        parameters = declare_parameters(self, PlannerParameters)
        self._backend = self._make_backend(parameters.backend, parameters.robot)
        self._is_busy = False
        add_waiting_trigger(self, '~/go_home', lambda: self._alone(self._backend.go_home))
        add_waiting_trigger(self, '~/check', lambda: self._alone(self._backend.check))
        add_trigger(self, '~/stop', self._stop)

    def _make_backend(self, name: str, file: str) -> Backend:
        robot = load_robot(file)
        if name == 'auto':
            is_there = moveit_arm.is_installed()
            name = 'moveit' if robot.moveit.group and is_there else 'joint_space'
            if robot.moveit.group and not is_there:
                self.get_logger().warning('MoveIt is not installed: obstacles remain unknown.')
        if name == 'moveit':
            return MoveItBackend(self, robot, file)
        return JointSpaceBackend(self, robot)

    async def _alone(self, work: Callable[[], Awaitable[str]]) -> str:
        if self._is_busy:
            raise OrderError(
                'Refused: the planner is at work, expected it idle; wait until it answers or call '
                '/planner/stop.'
            )
        self._is_busy = True
        try:
            return await work()
        finally:
            self._is_busy = False

    def _stop(self) -> str:
        if not self._is_busy:
            raise OrderError('Nothing to stop; call /planner/go_home first.')
        self._backend.stop('/planner/stop was called')
        return 'Stopping.'

    def finish(self, executor: Executor) -> None:
        """Bring the arm to rest before the process ends."""
        self._backend.stop('the planner is shutting down')
        end_s = time.monotonic() + _STOP_S
        while self._is_busy and time.monotonic() < end_s:
            executor.spin_once(0.05)


def main() -> int:
    """Run the node."""
    code = run_node(PlannerNode)
    if moveit_arm.is_loaded():  # the arm rests; MoveIt's teardown could only crash
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


if __name__ == '__main__':
    sys.exit(main())
