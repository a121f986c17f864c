"""Stamps stay even while somebody sets the wall clock."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings, strategies
import pytest

from mil_ros.core.clock import MAX_SLEW, SteadyClock

MS = 1_000_000
S = 1_000 * MS
EPOCH = 1_700_000_000 * S


class World:
    """A steady clock and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.steady_ns, self.wall_ns = 5 * S, EPOCH
        self.clock = SteadyClock(lambda: self.steady_ns, lambda: self.wall_ns)

    def wait(self, duration_ns: int) -> None:
        self.steady_ns += duration_ns
        self.wall_ns += duration_ns

    def stamps(self, count: int, period_ns: int = 33 * MS) -> list[int]:
        found = []
        for _ in range(count):
            self.wait(period_ns)
            found.append(self.clock.now_ns())
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_undisturbed_stamps_are_those_of_the_wall_clock(world: World) -> None:
    assert world.stamps(3) == [EPOCH + n * 33 * MS for n in (1, 2, 3)]
    assert world.clock.error_ns == 0


@pytest.mark.parametrize('step_s', [3600, -3600, 50 * 365 * 86400])
def test_stamps_stay_even_when_the_wall_clock_is_set(world: World, step_s: int) -> None:
    before = world.stamps(3)
    world.wall_ns += step_s * S
    stamps = before + world.stamps(30)
    spacing = [b - a for a, b in pairwise(stamps)]
    assert min(spacing) >= 33 * MS * (1 - MAX_SLEW)
    assert max(spacing) <= 33 * MS * (1 + MAX_SLEW)
    assert world.clock.error_ns == pytest.approx(step_s * S, abs=0.02 * S)


def test_small_step_is_followed_within_seconds(world: World) -> None:
    world.wall_ns += 20 * MS
    assert world.stamps(30)[-1] < world.wall_ns
    assert world.stamps(60)[-1] == world.wall_ns
    assert world.clock.error_ns == 0


def test_reset_takes_the_wall_clock_at_once(world: World) -> None:
    world.wall_ns -= 3600 * S
    world.stamps(1)
    world.clock.reset()
    assert world.stamps(1) == [world.wall_ns]
    assert world.clock.error_ns == 0


def test_both_clocks_are_read_as_of_one_moment() -> None:
    """Reading takes time: the wall clock's answer belongs to the middle of it."""
    now_ns = 0

    def steady_ns() -> int:
        nonlocal now_ns
        now_ns += 10
        return now_ns

    clock = SteadyClock(steady_ns, lambda: now_ns + 5 + EPOCH)
    assert clock.now_ns() == now_ns - 5 + EPOCH
    assert clock.error_ns == 0


@settings(derandomize=True, deadline=None)
@given(
    strategies.lists(
        strategies.tuples(strategies.integers(0, S), strategies.integers(-10 * S, 10 * S))
    )
)
def test_stamps_never_run_back_whatever_the_wall_clock_does(steps: list[tuple[int, int]]) -> None:
    world, last_ns = World(), EPOCH
    for wait_ns, step_ns in steps:
        world.wait(wait_ns)
        world.wall_ns += step_ns
        stamp_ns = world.clock.now_ns()
        assert abs(stamp_ns - last_ns - wait_ns) <= MAX_SLEW * wait_ns
        last_ns = stamp_ns
