"""The first source that speaks has its way, and only streams that begin here are taken up."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.arbitration import Arbiter

TIMEOUTS_S = {'teleop': 0.25, 'policy': 0.1}
STOP, GO, ON = np.zeros(2), np.array([0.1, 0.2]), np.array([0.3, 0.4])
BEGAN_S = 100.0
LATER_S = BEGAN_S + 60.0


@pytest.fixture
def arbiter() -> Arbiter:
    return Arbiter(TIMEOUTS_S, BEGAN_S)


def chosen(arbiter: Arbiter, now_s: float) -> str | None:
    choice = arbiter.choose(now_s)
    return None if choice is None else choice[0]


def test_a_stream_that_went_on_when_this_began_is_not_taken_up(arbiter: Arbiter) -> None:
    for now_s in np.arange(BEGAN_S + 1.0, BEGAN_S + 9.0, 0.02):
        arbiter.take('policy', GO, now_s)
        assert chosen(arbiter, now_s) is None
        assert arbiter.barred(now_s) == ('policy',)
    assert arbiter.barred(now_s + 1.0) == ()


def test_zeros_make_it_welcome(arbiter: Arbiter) -> None:
    arbiter.take('policy', GO, BEGAN_S + 1.0)
    arbiter.take('policy', STOP, BEGAN_S + 1.02)
    arbiter.take('policy', GO, BEGAN_S + 1.04)
    assert chosen(arbiter, BEGAN_S + 1.04) == 'policy'


def test_a_pause_makes_it_welcome(arbiter: Arbiter) -> None:
    arbiter.take('teleop', GO, BEGAN_S + 5.0)
    arbiter.bar()
    arbiter.take('teleop', GO, BEGAN_S + 5.1)
    assert chosen(arbiter, BEGAN_S + 5.1) is None
    arbiter.take('teleop', GO, BEGAN_S + 5.1 + 0.26)
    assert chosen(arbiter, BEGAN_S + 5.36) == 'teleop'


def test_a_stream_that_begins_long_after_the_start_may_begin_with_motion(arbiter: Arbiter) -> None:
    arbiter.take('teleop', GO, LATER_S)
    assert chosen(arbiter, LATER_S) == 'teleop'


def test_the_first_of_the_sources_wins_in_either_order(arbiter: Arbiter) -> None:
    arbiter.take('teleop', GO, LATER_S)
    arbiter.take('policy', ON, LATER_S)
    assert arbiter.choose(LATER_S) == ('teleop', pytest.approx(GO))
    assert chosen(arbiter, LATER_S + 0.26) is None
    arbiter.take('policy', ON, LATER_S + 0.26)
    assert chosen(arbiter, LATER_S + 0.26) == 'policy'


def test_only_what_is_new_is_news(arbiter: Arbiter) -> None:
    assert arbiter.take('policy', GO, LATER_S)
    assert not arbiter.take('policy', GO.copy(), LATER_S + 0.02)
    assert arbiter.take('policy', ON, LATER_S + 0.04)


def test_silence_counts_only_of_who_wanted_motion(arbiter: Arbiter) -> None:
    arbiter.take('policy', GO, LATER_S)
    assert not arbiter.has_fallen_silent('policy', LATER_S + 0.1)
    assert arbiter.has_fallen_silent('policy', LATER_S + 0.11)
    arbiter.take('policy', STOP, LATER_S + 0.2)
    assert not arbiter.has_fallen_silent('policy', LATER_S + 9.0)
    assert not arbiter.has_fallen_silent('teleop', LATER_S + 9.0)
