"""Intervals agree with tables."""

from __future__ import annotations

import pytest

from mil_ros.tools.statistics import wilson_interval


@pytest.mark.parametrize(
    ('successes', 'trials', 'low', 'high'),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0000),
    ],
)
def test_interval_agrees_with_the_literature(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_interval_lies_around_the_share_and_within_zero_and_one() -> None:
    for trials in (1, 2, 7, 200):
        for successes in range(trials + 1):
            low, high = wilson_interval(successes, trials)
            assert 0.0 <= low <= successes / trials <= high + 1e-12 <= 1.0 + 1e-12
            assert high > low


def test_more_trials_narrow_the_interval() -> None:
    widths = [high - low for low, high in (wilson_interval(n // 2, n) for n in (10, 100, 1000))]
    assert widths == sorted(widths, reverse=True)


@pytest.mark.parametrize(('successes', 'trials'), [(0, 0), (5, 4), (-1, 4)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=rf'Got {successes} successes of {trials} trials\.'):
        wilson_interval(successes, trials)
