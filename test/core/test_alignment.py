"""The sample as of a moment: the newest at or before it, never older than allowed."""

from __future__ import annotations

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from mil_ros.core.alignment import (
    AsOf,
    check_age,
    check_gaps,
    common_moments,
    indices_as_of,
    Stream,
)
from mil_ros.core.errors import StaleDataError

MS = 1_000_000
START = 1_700_000_000 * 1_000_000_000  # stamps of today do not fit a float64 to the ns


def stream(*stamps_ms: float, max_age_s: float = 0.1, name: str = '/image') -> Stream:
    stamps = [START + round(ms * MS) for ms in stamps_ms]
    return Stream(name, np.array(stamps, dtype=np.int64), max_age_s)


def moments(*at_ms: float) -> np.ndarray:
    return np.array([START + round(ms * MS) for ms in at_ms], dtype=np.int64)


def test_sample_as_of_a_moment_is_the_newest_at_or_before_it() -> None:
    index = indices_as_of(stream(0, 30, 60), moments(0, 29, 30, 31, 60, 99))
    assert index.tolist() == [0, 0, 1, 1, 2, 2]


def test_one_nanosecond_decides() -> None:
    index = indices_as_of(stream(0, 30), moments(30) + np.array([-1, 0]))
    assert index.tolist() == [0, 1]


def test_last_of_equal_stamps_counts() -> None:
    assert indices_as_of(stream(0, 10, 10, 10), moments(10)).tolist() == [3]


@settings(derandomize=True, deadline=None)
@given(
    strategies.lists(strategies.integers(0, 500), min_size=1, max_size=40).map(sorted),
    strategies.lists(strategies.integers(0, 600), min_size=1, max_size=20).map(sorted),
)
def test_as_of_agrees_with_its_definition(stamps: list[int], at: list[int]) -> None:
    at = [max(ms, stamps[0]) for ms in at]
    index = indices_as_of(stream(*stamps, max_age_s=1.0), moments(*at))
    assert [stamps[i] for i in index] == [max(s for s in stamps if s <= ms) for ms in at]


def test_sample_may_be_just_as_old_as_allowed() -> None:
    assert indices_as_of(stream(0), moments(100)).tolist() == [0]


def test_older_sample_is_a_gap_with_place_and_age() -> None:
    message = (
        r'/image has a gap: 0\.25 s into the episode its newest sample is 0\.200 s old, expected '
        r'at most 0\.1 s; record it again\.'
    )
    with pytest.raises(StaleDataError, match=message):
        indices_as_of(stream(0, 50, 300), moments(0, 50, 150, 250, 300))


def test_stream_that_starts_late_is_refused() -> None:
    message = r'/image starts 0\.030 s after the moment it is needed for; expected a sample before'
    with pytest.raises(StaleDataError, match=message):
        indices_as_of(stream(30, 60), moments(0, 60))


def test_stream_without_samples_is_refused() -> None:
    with pytest.raises(StaleDataError, match=r'/image has no samples; expected at least one\.'):
        indices_as_of(stream(), moments(0))


def test_no_moments_need_no_samples() -> None:
    assert len(indices_as_of(stream(0), moments())) == 0


def test_common_moments_run_while_every_stream_is_alive() -> None:
    found = common_moments([stream(0, 50, 400), stream(120, 450), stream(-50, 330)], 10.0)
    assert (found - START).tolist() == [120 * MS, 220 * MS, 320 * MS]


def test_common_moments_include_the_last_common_stamp() -> None:
    found = common_moments([stream(0, 200), stream(0, 200)], 10.0)
    assert (found - START).tolist() == [0, 100 * MS, 200 * MS]


def test_common_moments_of_an_empty_stream_are_refused() -> None:
    with pytest.raises(StaleDataError, match=r'/joints has no samples; expected at least one\.'):
        common_moments([stream(0, 100), stream(name='/joints')], 10.0)


def test_streams_that_never_overlap_are_refused() -> None:
    message = r'The streams /image, /joints never run at the same time; expected them to overlap'
    with pytest.raises(StaleDataError, match=message):
        common_moments([stream(0, 100), stream(101, 200, name='/joints')], 10.0)


@pytest.mark.parametrize('age_ms', [0, 1, 100])
def test_young_sample_passes(age_ms: int) -> None:
    check_age('/image', START, START + age_ms * MS, 0.1)


@pytest.mark.parametrize(('age_ms', 'text'), [(101, r'0\.101'), (-1, r'-0\.001')])
def test_sample_that_is_old_or_from_the_future_is_refused(age_ms: int, text: str) -> None:
    message = rf'newest sample of /image is {text} s old, expected 0 to 0\.1 s; .* both clocks'
    with pytest.raises(StaleDataError, match=message):
        check_age('/image', START, START + age_ms * MS, 0.1)


def test_what_stood_for_a_moment_is_told_to_the_nanosecond() -> None:
    used = AsOf(START + 5, {'/image': START - 120 * MS, '/joints': START})
    assert used.ages_s == {'/image': pytest.approx(0.120000005), '/joints': 5e-9}
    assert str(used) == (
        'At 1700000000.000000005: /image of 1699999999.880000000, /joints of 1700000000.000000000.'
    )


def test_gap_between_two_samples_is_named_wherever_it_is() -> None:
    check_gaps(stream(0, 100, 150))
    check_gaps(stream(0))
    message = (
        r'/image has a gap: nothing comes for 0\.101 s, 0\.05 s after its first sample, expected '
        r'at most 0\.1 s; record it again\.'
    )
    with pytest.raises(StaleDataError, match=message):
        check_gaps(stream(0, 50, 151, 160))
