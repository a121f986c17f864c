"""The planner with MoveIt: around what is known to stand in the way, past the guard.

MoveIt's trajectory execution writes to the arm's controllers, so the guard cannot stop it; this
watches what the guard would, and ends the execution. While MoveIt plans, nothing is watched.
"""

from __future__ import annotations

import concurrent.futures
from functools import partial
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool

from mil_ros.core.errors import MotionError
from mil_ros.core.handover import Handover
from mil_ros.core.homing import check_may_begin, find_loss, is_resting
from mil_ros.core.robot import RobotDescription
from mil_ros.core.safety import GuardState
from mil_ros.ros.arm_watch import ArmWatch
from mil_ros.ros.moveit_arm import check_available, MoveItArm
from mil_ros.ros.node import in_thread
from mil_ros.ros.waiting import repeat, wait_until

_WATCH_HZ = 50.0
_ANSWER_S = 5.0  # how long Servo may take to answer
_REST_S = 2.0  # how long the arm may take to come to rest


class MoveItBackend:
    """Lends the arm to MoveIt; also the steps of that handover."""

    def __init__(self, node: Node, robot: RobotDescription, file: str) -> None:
        """Prepare; MoveIt itself is loaded when it is first needed.

        Args:
            node: Of which publishers and timers are.
            robot: To be moved.
            file: Name or path of its robot file.

        Raises:
            ConfigError: If MoveIt is not there.
        """
        check_available(robot)
        self._node, self._robot, self._file = node, robot, file
        self._watch = ArmWatch(node, robot)
        self._pause = node.create_client(SetBool, robot.topics.pause_servo)
        self._pool = concurrent.futures.ThreadPoolExecutor(
            2, 'moveit'
        )  # one executes, the other stops it
        self._arm: MoveItArm | None = None
        self._handover: Handover | None = None
        self._stopping: concurrent.futures.Future[None] | None = None

    async def go_home(self) -> str:
        """Move the arm to the start pose and say how it went.

        Raises:
            MilError: If it may not begin, or ends before the arm is there.
        """
        self._handover = Handover(self)
        try:
            await self._handover.run()
            return self._report()
        finally:
            self._handover = None
            self._watch.close()

    def stop(self, reason: str) -> None:
        """End the motion; `go_home` raises once the arm rests."""
        if self._handover is not None:
            self._handover.stop(reason)

    async def check(self) -> str:
        """Say whether the arm is in collision where it is.

        Raises:
            MilError: If it is, or nobody can tell.
        """
        arm = self._load()
        try:
            await self._watch.open()
            now = self._watch.now()
        finally:
            self._watch.close()
        loss = find_loss(self._robot, now)
        if now.positions is None or (loss and now.guard != GuardState.FAULT.value):
            raise MotionError(f'Nobody can tell whether the arm is in collision: {loss}.')
        if arm.is_colliding(now.positions):
            raise MotionError(
                'The arm is in collision, expected it free of itself and of all that move_group '
                'knows; drive it out by hand.'
            )
        return 'The arm is not in collision with itself or anything that move_group knows.'

    # Steps of the handover

    async def settle(self) -> None:
        """Return once the guard wants nothing and the arm rests."""
        self._load()
        await self._watch.open()
        check_may_begin(self._robot, self._watch.now())
        if not self._watch.is_enabled:
            raise MotionError(
                'Motion refused: the deadman switch is not held, expected it held until the arm '
                'is home; hold it and call again.'
            )

    async def pause_servo(self) -> None:
        """Have Servo let go of the controllers."""
        await self._set_paused(True)

    async def plan(self) -> Any:
        """Return a trajectory from here to the start pose."""
        return await in_thread(self._node, self._pool, self._load().plan, self._robot.home)

    async def execute(self, plan: Any) -> None:
        """Follow the trajectory, and end it if what is watched says so."""
        is_fresh = await wait_until(self._node, lambda: not self._find_reason(), _ANSWER_S)
        if not is_fresh:
            raise MotionError(f'Motion refused: {self._find_reason()}.')
        arm = self._load()
        executing = in_thread(self._node, self._pool, arm.execute, plan)
        await repeat(self._node, _WATCH_HZ, partial(self._watch_over, arm, executing))
        await executing

    async def come_to_rest(self) -> None:
        """Return once the arm rests, or nobody can tell."""
        await wait_until(self._node, lambda: is_resting(self._robot, self._watch.now()), _REST_S)

    async def resume_servo(self) -> None:
        """Have Servo take the controllers again, and let the guard notice."""
        await self._set_paused(False)
        waiting = GuardState.WAITING.value
        await wait_until(self._node, lambda: self._watch.now().guard != waiting, _ANSWER_S)

    def _load(self) -> MoveItArm:
        if self._arm is None:
            self._arm = MoveItArm(self._robot, self._file)
        return self._arm

    def _watch_over(self, arm: MoveItArm, executing: Future) -> bool:
        """End the execution if it must end, and return whether it has.

        MoveIt forgets a stop that comes before the execution has begun, so it is told again.
        """
        reason = self._find_reason()
        if reason:
            self.stop(reason)
        is_told = self._stopping is not None and not self._stopping.done()
        if self._handover is not None and self._handover.is_stopped and not is_told:
            self._stopping = self._pool.submit(arm.stop)
        return executing.done()

    def _find_reason(self) -> str:
        """Return why MoveIt must not move the arm now, or an empty string."""
        if not self._watch.is_enabled:
            return 'the deadman switch was released, expected it held; hold it and call again'
        return find_loss(self._robot, self._watch.now())

    async def _set_paused(self, paused: bool) -> None:
        name = self._pause.srv_name
        word = 'pause' if paused else 'resume'
        failure = (
            f'Servo does not {word}: {name} did not agree within {_ANSWER_S:g} s, expected it to; '
            f'see its log, then call {name} with data: false.'
        )
        if not await wait_until(self._node, self._pause.service_is_ready, _ANSWER_S):
            raise MotionError(failure)
        answer = self._pause.call_async(SetBool.Request(data=paused))
        if not await wait_until(self._node, answer.done, _ANSWER_S):
            raise MotionError(failure)
        if not answer.result().success:
            raise MotionError(failure)

    def _report(self) -> str:
        positions = self._watch.now().positions
        assert positions is not None
        away = np.abs(positions - self._robot.home)
        worst, allowed = int(away.argmax()), self._robot.policy.start_tolerance_rad
        if away[worst] > allowed:
            raise MotionError(
                f'MoveIt says that it is done, but {self._robot.joint_names[worst]} is '
                f'{away[worst]:.2f} rad from the start pose, expected at most {allowed} rad; see '
                'the tolerances of the trajectory controller.'
            )
        return (
            f'The arm is at the start pose (within {away[worst]:.3f} rad), around all that '
            'move_group knows.'
        )
