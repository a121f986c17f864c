"""The policy acts at its own rate, on images when they come."""

from __future__ import annotations

from hypothesis import given, settings, strategies
import numpy as np

from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.pace import Pace

CAMERA_HZ, RATE_HZ = 30.0, 10.0
START_NS = 1_700_000_000 * NS_PER_S


def acted(stamps_ns: np.ndarray) -> np.ndarray:
    pace = Pace(RATE_HZ, CAMERA_HZ, due_ns=START_NS)
    return np.array([ns for ns in stamps_ns.tolist() if pace.take(ns)])


@settings(deadline=None, derandomize=True)
@given(
    phase=strategies.floats(0.0, 1.0),
    off=strategies.floats(-0.02, 0.02),
    seed=strategies.integers(0, 1000),
)
def test_the_mean_rate_is_kept_whatever_the_camera_does(
    phase: float, off: float, seed: int
) -> None:
    period_s = (1.0 + off) / CAMERA_HZ
    jitter_s = np.random.default_rng(seed).uniform(-0.004, 0.004, size=900)
    seconds = (np.arange(900) + phase) * period_s + jitter_s
    ticks = acted(START_NS + np.sort(seconds * NS_PER_S).astype(np.int64))
    assert abs(len(ticks) - seconds[-1] * RATE_HZ) <= 2
    turns = START_NS + np.arange(len(ticks)) * round(NS_PER_S / RATE_HZ)
    assert (np.abs(ticks - turns) <= (1.0 / CAMERA_HZ + 0.01) * NS_PER_S).all()


def test_missed_turns_are_not_made_up_for() -> None:
    before = START_NS + np.arange(30) * NS_PER_S // 30
    after = before + 5 * NS_PER_S
    ticks = acted(np.concatenate([before, after]))
    assert np.diff(ticks).min() >= 0.06 * NS_PER_S
    assert len(ticks) <= 21


def test_a_slow_camera_is_used_for_all_it_gives() -> None:
    stamps_ns = START_NS + np.arange(20) * NS_PER_S // 5
    np.testing.assert_array_equal(acted(stamps_ns), stamps_ns)
