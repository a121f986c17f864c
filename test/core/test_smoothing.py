"""Filtered velocities come without delay, keep slow motion and lose noise, up to the ends."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from mil_ros.core.alignment import Stream
from mil_ros.core.errors import DemoError, StaleDataError
from mil_ros.core.smoothing import derive_velocities, low_pass, smooth_velocities

MS = 1_000_000
START = 1_700_000_000 * 1_000_000_000
CUTOFF_HZ = 5.0
SEEDS = strategies.integers(0, 2**32 - 1)


def stream(at_s: np.ndarray, max_age_s: float = 0.1) -> Stream:
    return Stream('/joint_states', START + np.round(at_s * 1e9).astype(np.int64), max_age_s)


def even(rate_hz: float, duration_s: float = 4.0) -> np.ndarray:
    return np.arange(round(duration_s * rate_hz)) / rate_hz


def uneven(
    rng: np.random.Generator, rate_hz: float = 100.0, duration_s: float = 4.0
) -> np.ndarray:
    """Return times with steps of between a tenth of the period and twice of it."""
    steps = rng.uniform(0.1, 1.9, round(duration_s * rate_hz)) / rate_hz
    return np.cumsum(steps) - steps[0]


def wave(hz: float) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return two joints' positions and velocities of amplitude 1 rad/s over time."""

    def at(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        phases = 2.0 * np.pi * hz * seconds[:, None] + np.array([0.3, 1.7])
        return -np.cos(phases) / (2.0 * np.pi * hz), np.sin(phases)

    return at


def gain(hz: float, rate_hz: float = 100.0) -> float:
    """Return by how much the middle of a long wave is passed."""
    seconds = even(rate_hz, 8.0)
    _, velocities = wave(hz)(seconds)
    inner = slice(len(seconds) // 4, -len(seconds) // 4)
    got = low_pass(velocities, rate_hz, CUTOFF_HZ)[inner]
    expected = velocities[inner]
    return float((got * expected).sum() / (expected**2).sum())


# --- The filter ------------------------------------------------------------------------------


@pytest.mark.parametrize('rate_hz', [15.0, 30.0, 100.0, 500.0, 1000.0])
def test_cutoff_is_where_three_decibels_are_lost_at_any_rate(rate_hz: float) -> None:
    assert gain(CUTOFF_HZ, rate_hz) == pytest.approx(np.sqrt(0.5), abs=0.003)


@pytest.mark.parametrize(
    ('hz', 'least', 'most'),
    [
        (0.25, 0.999, 1.001),
        (1.0, 0.997, 1.001),
        (2.5, 0.96, 1.0),
        (15.0, 0.0, 0.03),
        (40.0, 0, 1e-3),
    ],
)
def test_slow_motion_is_passed_and_fast_motion_is_not(
    hz: float, least: float, most: float
) -> None:
    assert least <= gain(hz) <= most


@pytest.mark.parametrize('count', [2, 3, 10, 39, 41, 400])
def test_steady_motion_is_kept_exactly_up_to_both_ends(count: int) -> None:
    steady = np.full((count, 2), [0.3, -1.2])
    np.testing.assert_allclose(low_pass(steady, 100.0, CUTOFF_HZ), steady, rtol=1e-9)


@settings(derandomize=True, deadline=None, max_examples=25)
@given(SEEDS)
def test_there_is_no_delay(seed: int) -> None:
    """The best match of what goes in and what comes out is without a shift."""
    noise = np.random.default_rng(seed).normal(size=(400, 1))
    got = low_pass(noise, 100.0, CUTOFF_HZ)[:, 0]
    match = [np.dot(got[20:-20], noise[20 + lag : 380 + lag, 0]) for lag in range(-20, 21)]
    assert np.argmax(match) == 20


@settings(derandomize=True, deadline=None, max_examples=25)
@given(SEEDS)
def test_there_is_no_preferred_direction_of_time(seed: int) -> None:
    """Regressions pinned: a filter that runs one way settles at one end and not at the other."""
    values = np.cumsum(np.random.default_rng(seed).normal(size=(300, 2)), axis=0)
    backwards = low_pass(values[::-1], 100.0, CUTOFF_HZ)[::-1]
    inner = slice(60, -60)
    np.testing.assert_allclose(
        backwards[inner], low_pass(values, 100.0, CUTOFF_HZ)[inner], atol=2e-3
    )


def test_noise_is_held_back_everywhere_and_at_the_ends_too(rng: np.random.Generator) -> None:
    noise = rng.normal(size=(200, 3000))
    left = low_pass(noise, 100.0, CUTOFF_HZ).std(axis=1)
    assert left[40:-40].max() < 0.36
    assert left.max() < 0.5, 'where the end itself is the axis of an odd mirror, this is 1'


def test_motion_that_is_cut_off_is_off_by_little_at_the_end() -> None:
    """A joint that still speeds up by 1 rad/s^2 when the recording ends."""
    ramp = even(100.0)[:, None]
    error = np.abs(low_pass(ramp, 100.0, CUTOFF_HZ) - ramp)
    assert error[30:-30].max() < 1e-3
    assert 0.01 < error.max() < 0.02


# --- Joint states ----------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=25)
@given(SEEDS, strategies.floats(0.2, 1.5))
def test_uneven_stamps_give_the_true_velocities(seed: int, hz: float) -> None:
    seconds = uneven(np.random.default_rng(seed))
    positions, velocities = wave(hz)(seconds)
    inner = (seconds > 0.3) & (seconds < seconds[-1] - 0.3)
    for got in (
        smooth_velocities(stream(seconds), velocities, CUTOFF_HZ),
        derive_velocities(stream(seconds), positions, CUTOFF_HZ),
    ):
        assert got.shape == velocities.shape
        np.testing.assert_allclose(got[inner], velocities[inner], atol=0.02)


def test_derived_velocities_come_without_delay() -> None:
    seconds = even(100.0)
    positions, velocities = wave(1.0)(seconds)
    got = derive_velocities(stream(seconds), positions, CUTOFF_HZ)[:, 0]
    dense = np.linspace(-0.02, 0.02, 401)
    errors = [
        np.square(got[50:-50] - np.interp(seconds[50:-50] - lag, seconds, velocities[:, 0])).sum()
        for lag in dense
    ]
    assert abs(dense[int(np.argmin(errors))]) < 2e-4, 'half a sample would be 5e-3'


@settings(derandomize=True, deadline=None, max_examples=25)
@given(SEEDS)
def test_derived_velocities_add_up_to_the_way_that_was_gone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seconds = uneven(rng)
    bend = np.clip(seconds[:, None] - 1.0, 0.0, 2.0) / 2.0
    positions = 0.7 * bend**2 * (3.0 - 2.0 * bend) + 1e-4 * rng.normal(size=bend.shape)
    got = derive_velocities(stream(seconds), positions, CUTOFF_HZ)
    way = np.sum((got[1:, 0] + got[:-1, 0]) / 2.0 * np.diff(seconds))
    assert way == pytest.approx(0.7, abs=3e-3)


def test_trembling_encoders_are_far_from_counting_as_motion(rng: np.random.Generator) -> None:
    seconds = uneven(rng, 500.0)
    positions = 1e-4 * rng.normal(size=(len(seconds), 7))
    raw = np.abs(np.diff(positions, axis=0) / np.diff(seconds)[:, None])
    assert raw.max() > 0.2
    assert np.abs(derive_velocities(stream(seconds), positions, CUTOFF_HZ)).max() < 0.01


@pytest.mark.parametrize('estimate', [smooth_velocities, derive_velocities])
def test_messages_of_equal_stamps_do_no_harm(
    estimate: Callable[[Stream, np.ndarray, float], np.ndarray],
) -> None:
    seconds = even(100.0)
    values = np.sin(seconds)[:, None]
    expected = estimate(stream(seconds), values, CUTOFF_HZ)
    twice = np.repeat(np.arange(len(seconds)), 2)
    got = estimate(stream(seconds[twice]), values[twice], CUTOFF_HZ)
    np.testing.assert_allclose(got, expected[twice], atol=1e-9)


@pytest.mark.parametrize('estimate', [smooth_velocities, derive_velocities])
def test_a_gap_is_refused_and_never_bridged(
    estimate: Callable[[Stream, np.ndarray, float], np.ndarray],
) -> None:
    seconds = even(100.0)
    seconds = seconds[(seconds <= 1.0) | (seconds > 1.105)]
    message = (
        r'/joint_states has a gap: nothing comes for 0\.110 s, 1\.00 s after its first sample, '
        r'expected at most 0\.1 s'
    )
    with pytest.raises(StaleDataError, match=message):
        estimate(stream(seconds), np.sin(seconds)[:, None], CUTOFF_HZ)
    estimate(stream(seconds, 0.12), np.sin(seconds)[:, None], CUTOFF_HZ)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_their_moment(value: float) -> None:
    seconds = even(100.0)
    values = np.ones((400, 2))
    values[123, 1] = value
    message = (
        r'/joint_states has {} that are not finite 1\.23 s after its first sample; expected '
        r'finite ones, check the driver and record it again\.'
    )
    with pytest.raises(DemoError, match=message.format('velocities')):
        smooth_velocities(stream(seconds), values, CUTOFF_HZ)
    with pytest.raises(DemoError, match=message.format('positions')):
        derive_velocities(stream(seconds), values, CUTOFF_HZ)


@pytest.mark.parametrize(('count', 'rate'), [(1, '0.0'), (40, '10.0')])
def test_joint_states_too_seldom_for_the_cutoff_are_refused(count: int, rate: str) -> None:
    seconds = even(10.0)[:count]
    message = (
        rf'/joint_states comes {rate} times a second, expected more than 10 for '
        r'action\.cutoff_hz 5; lower the cutoff in the robot file or raise the rate of the driver'
    )
    with pytest.raises(DemoError, match=message):
        smooth_velocities(stream(seconds, 1.0), np.ones((count, 2)), CUTOFF_HZ)
