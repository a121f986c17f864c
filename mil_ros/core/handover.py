"""Lending the arm to MoveIt: Servo is paused first, and unpaused whatever happens.

Servo and MoveIt's trajectory execution write to the same controllers, so never both at once. Pure
logic behind a protocol; any event loop can run it.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from mil_ros.core.errors import MilError, MotionError


class Phase(str, Enum):
    """How far a handover has come."""

    SETTLING = 'settling'
    PAUSING = 'pausing'
    PLANNING = 'planning'
    EXECUTING = 'executing'
    RESUMING = 'resuming'
    OVER = 'over'


class Steps(Protocol):
    """What a handover is made of; each step returns when it is done or raises `MilError`."""

    async def settle(self) -> None:
        """Return once the guard wants nothing and the arm rests."""

    async def pause_servo(self) -> None:
        """Have Servo let go of the controllers."""

    async def plan(self) -> Any:
        """Return a trajectory from here to the start pose."""

    async def execute(self, plan: Any) -> None:
        """Return once the arm has followed the trajectory."""

    async def come_to_rest(self) -> None:
        """Return once the arm rests, or nobody can tell; never raises."""

    async def resume_servo(self) -> None:
        """Have Servo take the controllers again."""


class Handover:
    """One motion by MoveIt; made for one."""

    def __init__(self, steps: Steps) -> None:
        """Prepare; nothing happens before `run`."""
        self._steps = steps
        self._stop_reason = ''
        self.phase = Phase.SETTLING

    def stop(self, reason: str) -> None:
        """Have no further step of the motion begin; the first reason is kept."""
        self._stop_reason = self._stop_reason or reason

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return bool(self._stop_reason)

    async def run(self) -> None:
        """Move, with Servo paused meanwhile.

        Raises:
            MilError: Why the arm is not home, and, should Servo not resume, that as well.
        """
        failure: BaseException | None = None
        try:
            await self._steps.settle()
            self._check_go_on()
            await self._lend()
        except MilError as err:
            failure = self._explain(err)
        except BaseException as err:
            failure = err
        if self.phase is not Phase.SETTLING:
            failure = await self._resume(failure)
        self.phase = Phase.OVER
        if failure is not None:
            raise failure

    async def _lend(self) -> None:
        self.phase = Phase.PAUSING
        await self._steps.pause_servo()
        self._check_go_on()
        self.phase = Phase.PLANNING
        plan = await self._steps.plan()
        self._check_go_on()
        self.phase = Phase.EXECUTING
        await self._steps.execute(plan)
        self._check_go_on()

    async def _resume(self, failure: BaseException | None) -> BaseException | None:
        """Unpause Servo, even if nobody knows whether it was paused; return what went wrong."""
        self.phase = Phase.RESUMING
        await self._steps.come_to_rest()
        try:
            await self._steps.resume_servo()
        except MilError as err:
            if failure is None:
                return err
            return MotionError(f'{failure} And Servo is still paused: {err}')
        return failure

    def _explain(self, err: MilError) -> MilError:
        """Return why the motion ended: a step that was stopped knows only that it was."""
        return MotionError(f'Motion ended: {self._stop_reason}.') if self.is_stopped else err

    def _check_go_on(self) -> None:
        if self.is_stopped:
            raise MotionError(f'Motion ended: {self._stop_reason}.')
