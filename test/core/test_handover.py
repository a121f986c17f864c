"""Servo is paused before MoveIt moves the arm, and resumed whatever happens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mil_ros.core.errors import MotionError
from mil_ros.core.handover import Handover, Phase

ALL = ['settle', 'pause_servo', 'plan', 'execute', 'come_to_rest', 'resume_servo']


class Recorded:
    """Steps that are noted; some fail, and at one the stop is called."""

    def __init__(self, *failing: str, stop_at: str = '', error: Exception | None = None) -> None:
        self.calls: list[str] = []
        self._failing, self._stop_at, self._error = failing, stop_at, error
        self.handover = Handover(self)

    async def _note(self, name: str) -> None:
        self.calls.append(name)
        if name == self._stop_at:
            self.handover.stop('/planner/stop was called')
            self.handover.stop('a later reason')
        if name in self._failing:
            raise self._error or MotionError(f'No {name}.')

    async def settle(self) -> None:
        await self._note('settle')

    async def pause_servo(self) -> None:
        await self._note('pause_servo')

    async def plan(self) -> Any:
        await self._note('plan')
        return 'trajectory'

    async def execute(self, plan: Any) -> None:
        assert plan == 'trajectory'
        await self._note('execute')

    async def come_to_rest(self) -> None:
        await self._note('come_to_rest')

    async def resume_servo(self) -> None:
        await self._note('resume_servo')

    def run(self) -> None:
        asyncio.run(self.handover.run())


def test_each_step_comes_once_and_in_order() -> None:
    steps = Recorded()
    steps.run()
    assert steps.calls == ALL
    assert steps.handover.phase is Phase.OVER


def test_nothing_is_paused_unless_the_arm_rests() -> None:
    steps = Recorded('settle')
    with pytest.raises(MotionError, match=r'^No settle\.$'):
        steps.run()
    assert steps.calls == ['settle']


@pytest.mark.parametrize('failing', ['pause_servo', 'plan', 'execute'])
def test_servo_is_resumed_after_any_failure(failing: str) -> None:
    steps = Recorded(failing)
    with pytest.raises(MotionError, match=rf'^No {failing}\.$'):
        steps.run()
    assert steps.calls == [*ALL[: ALL.index(failing) + 1], 'come_to_rest', 'resume_servo']
    assert steps.handover.phase is Phase.OVER


def test_servo_is_resumed_even_after_a_bug() -> None:
    steps = Recorded('execute', error=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        steps.run()
    assert steps.calls == ALL


@pytest.mark.parametrize('stop_at', ALL[:3])
def test_a_stop_keeps_the_next_step_from_beginning(stop_at: str) -> None:
    steps = Recorded(stop_at=stop_at)
    with pytest.raises(MotionError, match=r'^Motion ended: /planner/stop was called\.$'):
        steps.run()
    begun = ALL[: ALL.index(stop_at) + 1]
    assert steps.calls == begun + (['come_to_rest', 'resume_servo'] if len(begun) > 1 else [])


def test_a_stop_while_the_arm_moves_is_no_success_even_if_moveit_says_so() -> None:
    steps = Recorded(stop_at='execute')
    with pytest.raises(MotionError, match=r'^Motion ended: /planner/stop was called\.$'):
        steps.run()
    assert steps.calls == ALL


def test_the_reason_of_a_stop_counts_for_more_than_what_came_of_it() -> None:
    steps = Recorded('execute', stop_at='execute')
    with pytest.raises(MotionError, match=r'^Motion ended: /planner/stop was called\.$'):
        steps.run()
    assert steps.calls == ALL


def test_a_servo_that_does_not_resume_is_told_of() -> None:
    with pytest.raises(MotionError, match=r'^No resume_servo\.$'):
        Recorded('resume_servo').run()
    with pytest.raises(MotionError, match=r'No plan\. And Servo is still paused: No resume_serv'):
        Recorded('plan', 'resume_servo').run()
