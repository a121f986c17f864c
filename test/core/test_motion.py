"""A million random sequences of commands: no limit is ever passed, and every joint can stop."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings, strategies
import numpy as np
import pytest

from mil_ros.core.motion import (
    approach,
    Bounds,
    Motion,
    share_within,
    stopping_distance,
    velocity_range,
)
from mil_ros.core.robot import load_robot

ROBOT = load_robot('sim_panda')
PLAIN = Bounds.of(ROBOT)
SMOOTH = replace(PLAIN, jerk=10.0 * PLAIN.acceleration)
PERIOD_S = 1.0 / ROBOT.guard.rate_hz
J = len(ROBOT.joints)
TOUCH = 1e-9

# 100 examples of 10,000 sequences each
EXAMPLES, SEQUENCES, TICKS = 100, 10_000, 8
many = settings(deadline=None, derandomize=True, max_examples=EXAMPLES)


def draw_commands(rng: np.random.Generator, boldness: float) -> np.ndarray:
    """Return commands of every kind, (SEQUENCES, J): wild, exactly at a limit, zero, tiny."""
    wild = rng.normal(scale=boldness * PLAIN.velocity, size=(SEQUENCES, J))
    kinds = rng.integers(0, 6, size=(SEQUENCES, J))
    wild = np.where(kinds == 0, 0.0, wild)
    wild = np.where(kinds == 1, np.copysign(PLAIN.velocity, wild), wild)
    return np.where(kinds == 2, 1e-12 * wild, wild)


def step(
    motion: Motion, positions: np.ndarray, commands: np.ndarray, bounds: Bounds, dt_s: float
) -> Motion:
    low, high = velocity_range(positions, bounds)
    target = commands * share_within(commands, low, high)
    return approach(motion, target, low, high, bounds, dt_s)


@many
@given(
    seed=strategies.integers(0, 2**32 - 1),
    boldness=strategies.sampled_from([0.1, 1.0, 3.0, 1e3]),
    is_smooth=strategies.booleans(),
    late=strategies.floats(0.1, 2.0),
)
def test_no_sequence_of_commands_passes_a_limit(
    seed: int, boldness: float, is_smooth: bool, late: float
) -> None:
    rng, bounds = np.random.default_rng(seed), SMOOTH if is_smooth else PLAIN
    shape = (SEQUENCES, J)
    positions = rng.uniform(bounds.lower, bounds.upper, size=shape)
    motion = Motion.rest(shape)
    for tick in range(TICKS):
        dt_s = PERIOD_S * (late if tick % 3 == 0 else 1.0)
        if tick % 4 == 0:
            commands = draw_commands(rng, boldness)
        before, motion = motion, step(motion, positions, commands, bounds, dt_s)
        positions = positions + motion.velocities * dt_s
        assert np.isfinite(motion.velocities).all()
        assert (np.abs(motion.velocities) <= bounds.velocity + TOUCH).all()
        change = np.abs(motion.velocities - before.velocities)
        assert (change <= bounds.acceleration * dt_s + TOUCH).all()
        assert (positions >= bounds.lower - TOUCH).all()
        assert (positions <= bounds.upper + TOUCH).all()
    some = slice(0, 200)
    assert_stops(
        Motion(motion.velocities[some], motion.accelerations[some]), positions[some], bounds
    )


def assert_stops(motion: Motion, positions: np.ndarray, bounds: Bounds) -> None:
    """From wherever it is, every joint rests within the predicted distance, before its limit."""
    start, reach = positions, stopping_distance(motion.velocities, bounds)
    if not np.isinf(bounds.jerk).all():  # an acceleration has to be taken back first
        reach = reach + bounds.acceleration**3 / bounds.jerk**2
    for _ in range(400):
        if motion.is_rest:
            break
        motion = step(motion, positions, np.zeros_like(positions), bounds, PERIOD_S)
        positions = positions + motion.velocities * PERIOD_S
        motion = Motion(
            np.where(np.abs(motion.velocities) < 1e-9, 0.0, motion.velocities),
            motion.accelerations,
        )
    assert motion.is_rest
    assert (np.abs(positions - start) <= reach + TOUCH).all()
    assert (positions >= bounds.lower - TOUCH).all()
    assert (positions <= bounds.upper + TOUCH).all()


@settings(deadline=None, derandomize=True, max_examples=50)
@given(seed=strategies.integers(0, 2**32 - 1), jerk=strategies.floats(5.0, 200.0))
def test_jerk_is_limited_wherever_no_position_limit_is_near(seed: int, jerk: float) -> None:
    rng = np.random.default_rng(seed)
    bounds = replace(PLAIN, jerk=jerk * PLAIN.acceleration)
    home = np.broadcast_to(ROBOT.home, (1000, J))
    motion = Motion.rest(home.shape)
    far = replace(bounds, lower=bounds.lower - 100.0, upper=bounds.upper + 100.0)
    for tick in range(40):
        if tick % 8 == 0:
            commands = rng.normal(scale=bounds.velocity, size=home.shape)
        before, motion = motion, step(motion, home, commands, far, PERIOD_S)
        change = np.abs(motion.accelerations - before.accelerations)
        is_free = np.abs(motion.velocities) < bounds.velocity - TOUCH
        assert (change <= bounds.jerk * PERIOD_S * (1.0 + 1e-6) + TOUCH)[is_free].all()
        assert is_free.mean() > 0.8
        assert (np.abs(motion.accelerations) <= bounds.acceleration * (1.0 + 1e-6)).all()


@pytest.mark.parametrize('bounds', [PLAIN, SMOOTH], ids=['plain', 'smooth'])
def test_what_is_wanted_is_reached_along_its_own_direction(bounds: Bounds) -> None:
    wanted = np.linspace(-0.9, 0.9, J) * bounds.velocity
    motion = Motion.rest((J,))
    for _ in range(200):
        motion = step(motion, ROBOT.home, wanted, bounds, PERIOD_S)
        now = motion.velocities
        parallel = now * np.linalg.norm(wanted) - wanted * np.linalg.norm(now)
        assert np.abs(parallel).max() < 1e-9
        assert (np.abs(now) <= np.abs(wanted) + TOUCH).all(), 'it overshoots'
    np.testing.assert_allclose(motion.velocities, wanted, atol=1e-6)


@pytest.mark.parametrize('bounds', [PLAIN, SMOOTH], ids=['plain', 'smooth'])
@pytest.mark.parametrize('joint', range(J))
def test_the_range_of_velocities_is_that_of_the_stopping_distance(
    bounds: Bounds, joint: int
) -> None:
    _, high = velocity_range(bounds.upper - 0.02, bounds)
    alone = np.where(np.arange(J) == joint, high, 0.0)
    assert stopping_distance(alone, bounds)[joint] == pytest.approx(0.02)
    low, high = velocity_range(bounds.upper + 0.01, bounds)
    assert not high.any()
    assert (low < 0.0).all()
