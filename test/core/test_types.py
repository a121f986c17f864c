"""A demonstration is whole or is not made."""

from __future__ import annotations

from dataclasses import replace

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.errors import DemoError
from mil_ros.core.types import check_shots, Demo

ARRAYS = ('images', 'joint_positions', 'joint_velocities')


def test_streams_of_different_lengths_are_refused(rng: np.random.Generator) -> None:
    demo = make_demo(rng, steps=6)
    message = r'Demo has 6 frames, 5 joint states and 6 actions; align the streams to one length'
    with pytest.raises(DemoError, match=message):
        Demo(demo.images, demo.joint_positions[:-1], demo.joint_velocities)


@pytest.mark.parametrize('name', ['joint_positions', 'joint_velocities'])
@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_non_finite_numbers_are_refused(rng: np.random.Generator, name: str, value: float) -> None:
    demo = make_demo(rng)
    arrays = {key: getattr(demo, key).copy() for key in ARRAYS}
    arrays[name][2, 3] = value
    with pytest.raises(DemoError, match=rf'Demo has non-finite {name}; expected finite numbers'):
        Demo(**arrays)


def test_length_is_that_of_its_streams(rng: np.random.Generator) -> None:
    assert len(make_demo(rng, steps=6)) == 6


@pytest.mark.parametrize(
    ('length', 'steps', 'expected'),
    [
        (9, 5, [0, 2, 4, 6, 8]),
        (10, 4, [0, 3, 6, 9]),
        (5, 5, [0, 1, 2, 3, 4]),
        (2, 5, [0, 0, 0, 1, 1]),
        (6, 1, [0]),
    ],
)
def test_subsample_spreads_moments_from_first_to_last(
    rng: np.random.Generator, length: int, steps: int, expected: list[int]
) -> None:
    demo = make_demo(rng, steps=length)
    picked = demo.subsample(steps)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(picked, name), getattr(demo, name)[expected])


def test_source_of_the_actions_outlives_subsampling(rng: np.random.Generator) -> None:
    demo = make_demo(rng)
    assert demo.subsample(3).action_source == 'commanded'
    assert replace(demo, action_source='measured').subsample(3).action_source == 'measured'
    assert Demo.from_video(demo.images).action_source == ''


def test_video_is_a_demonstration_without_states_and_actions(rng: np.random.Generator) -> None:
    images = make_demo(rng, steps=6).images
    demo = Demo.from_video(images)
    assert demo.is_video_only
    assert len(demo) == 6
    assert demo.images is images
    assert demo.joint_positions.shape == demo.joint_velocities.shape == (6, 0)
    assert not make_demo(rng).is_video_only


def test_subsample_of_a_video_is_a_video(rng: np.random.Generator) -> None:
    images = make_demo(rng, steps=9).images
    picked = Demo.from_video(images).subsample(3)
    assert picked.is_video_only
    np.testing.assert_array_equal(picked.images, images[[0, 4, 8]])


@pytest.mark.parametrize(
    ('shown', 'shots', 'fix'), [(0, 1, 'once'), (2, 1, 'once'), (1, 5, '5 times')]
)
def test_another_number_of_demonstrations_is_refused(
    rng: np.random.Generator, shown: int, shots: int, fix: str
) -> None:
    demos = tuple(make_demo(rng) for _ in range(shown))
    message = (
        rf'^Got {shown} demonstrations, the policy adapts to {shots}; show the task {fix} or use '
        r'another policy\.$'
    )
    with pytest.raises(DemoError, match=message):
        check_shots(demos, shots)


@pytest.mark.parametrize('shots', [1, 3])
def test_number_of_demonstrations_that_is_asked_for_is_taken(
    rng: np.random.Generator, shots: int
) -> None:
    check_shots(tuple(make_demo(rng) for _ in range(shots)), shots)
