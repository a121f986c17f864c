"""Figures of streams that were made up, so that each is known."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mil_ros.tools.passage import (
    answers_ns,
    Commands,
    lateness_p99_ms,
    load_passage,
    Passage,
    stream_rate_hz,
    Ticks,
    Times,
)

MS = 1_000_000
START_NS = 1_700_000_000_000_000_000


def grid(count: int, period_ms: float = 10.0) -> Times:
    return START_NS + np.round(np.arange(count) * period_ms * MS).astype(np.int64)


def with_extras(times: Times, after_ms: float, every: int) -> Times:
    return np.sort(np.concatenate([times, times[::every] + round(after_ms * MS)]))


@pytest.mark.parametrize('after_ms', [0.5, 4.0, 5.0, 6.0, 9.5])
def test_messages_between_the_turns_do_not_raise_the_rate(after_ms: float) -> None:
    times = with_extras(grid(1001), after_ms, every=2)
    assert stream_rate_hz(times, 100.0) == pytest.approx(100.0, rel=2e-3)


@pytest.mark.parametrize(('period_ms', 'expected'), [(10.0, 100.0), (10.4, 96.2), (9.6, 104.2)])
def test_a_stream_that_is_too_fast_or_slow_is_seen(period_ms: float, expected: float) -> None:
    assert stream_rate_hz(grid(1001, period_ms), 100.0) == pytest.approx(expected, abs=0.1)


def test_lost_turns_lower_the_rate() -> None:
    assert stream_rate_hz(np.delete(grid(1001), slice(100, 150)), 100.0) == pytest.approx(95.0)


def test_an_even_stream_has_no_lateness() -> None:
    assert lateness_p99_ms(grid(1001), 100.0) == pytest.approx(0.0)
    assert lateness_p99_ms(with_extras(grid(1001), 4.0, every=3), 100.0) == pytest.approx(0.0)


def test_late_turns_are_seen_from_one_in_a_hundred_on() -> None:
    few, many = grid(1001), grid(1001)
    few[50:1000:125] += 4 * MS
    many[50:1000:50] += 4 * MS
    assert lateness_p99_ms(few, 100.0) == pytest.approx(0.0)
    assert lateness_p99_ms(many, 100.0) == pytest.approx(4.0)


def test_extra_messages_do_not_make_late_turns_rarer() -> None:
    times = grid(1001)
    times[50:1000:80] += 4 * MS  # 12 of 1000 periods, but few of many more gaps
    crowded = np.sort(np.concatenate([times, times[:1] + np.arange(500, dtype=np.int64)]))
    assert lateness_p99_ms(crowded, 100.0) == pytest.approx(4.0)


def commands(stamps_ms: list[float], velocities: list[float], delay_ms: float = 1.0) -> Commands:
    stamps = START_NS + np.round(np.array(stamps_ms) * MS).astype(np.int64)
    late = stamps + round(delay_ms * MS)
    return Commands(stamps, late, stamps, np.array(velocities)[:, None])


def ticks(commands_ms: list[float]) -> Ticks:
    stamps = START_NS + np.round(np.array(commands_ms) * MS).astype(np.int64)
    return Ticks(stamps, stamps - MS, stamps - 8 * MS, np.full(len(stamps), 1.5))


def make_passage(jogs: Commands, wanted: Commands, used: Ticks) -> Passage:
    return Passage(jogs, wanted, used, np.array([4.0, 5.0]))


def test_the_answer_is_the_first_that_comes_closer() -> None:
    jogs = commands([0, 10, 20.4, 21, 30], [0.0, 0.0, 0.0, 0.05, 0.1])
    passage = make_passage(jogs, commands([20], [0.1]), ticks([20]))
    numbers, arrivals = answers_ns(passage)
    assert numbers.tolist() == [0]
    assert arrivals.tolist() == [START_NS + 22 * MS]


def test_what_changes_nothing_or_is_overtaken_has_no_answer() -> None:
    jogs = commands([0, 10, 20, 30, 40, 50], [0.1, 0.1, 0.1, 0.1, 0.1, 0.3])
    passage = make_passage(jogs, commands([15, 35, 45], [0.1, 0.2, 0.3]), ticks([15, 35, 45]))
    numbers, arrivals = answers_ns(passage)
    assert numbers.tolist() == [2]
    assert arrivals.tolist() == [START_NS + 51 * MS]


def test_a_tick_whose_answer_was_refused_has_no_command() -> None:
    none = ticks([20])
    none.command_ns[:] = 0
    jogs = commands([0, 30], [0.0, 0.1])
    assert not len(answers_ns(make_passage(jogs, commands([20], [0.1]), none))[0])


def test_a_passage_is_read_as_it_was_written(tmp_path: Path) -> None:
    passage = make_passage(commands([0, 10], [0.0, 0.1]), commands([5], [0.1]), ticks([5]))
    passage.save(tmp_path / 'passage.npz')
    read = load_passage(tmp_path / 'passage.npz')
    np.testing.assert_array_equal(read.drawn_ms, passage.drawn_ms)
    for part in ('jogs', 'wanted', 'ticks'):
        before, after = getattr(passage, part), getattr(read, part)
        for field in fields(before):
            np.testing.assert_array_equal(getattr(after, field.name), getattr(before, field.name))
