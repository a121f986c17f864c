"""Waiting in coroutines, by a steady clock."""

from __future__ import annotations

from collections.abc import Callable
import time

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.task import Future

_LOOK_HZ = 50.0


async def repeat(node: Node, rate_hz: float, step: Callable[[], bool]) -> None:
    """Call `step` at a rate until it returns True; what it raises is raised here."""
    done = Future(executor=node.executor)

    def tick() -> None:
        if done.done():
            return
        try:
            if step():
                done.set_result(None)
        except BaseException as err:  # handed to whoever awaits
            done.set_exception(err)

    timer = node.create_timer(1.0 / rate_hz, tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
    try:
        await done
    finally:
        node.destroy_timer(timer)


async def wait_until(node: Node, condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition and return whether it came true in time."""
    end_s = time.monotonic() + timeout_s
    await repeat(node, _LOOK_HZ, lambda: condition() or time.monotonic() > end_s)
    return condition()
