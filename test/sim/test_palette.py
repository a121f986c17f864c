"""Colours and patterns: told apart within a task, disjoint between the splits."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.sim import palette
from mil_ros.sim.palette import Look

RED = np.array([1.0, 0.0, 0.0])


def colours_of(split: str) -> set[tuple[float, ...]]:
    return {tuple(colour) for colour in palette.palettes()[split].tolist()}


def test_palettes_share_no_colour() -> None:
    assert len(colours_of('train')) > 100
    assert len(colours_of('test')) > 30
    assert colours_of('train') & colours_of('test') == set()


def test_palettes_repeat_no_colour() -> None:
    for split in palette.SPLITS:
        assert len(colours_of(split)) == len(palette.palettes()[split])


@pytest.mark.parametrize('count', [3, 40, 101])
def test_division_leaves_nothing_out_and_shares_nothing(count: int) -> None:
    train, test = (set(palette.divide(count, split)) for split in palette.SPLITS)
    assert train | test == set(range(count))
    assert not train & test
    assert 0 < len(test) < len(train)


def test_unknown_split_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Split is 'dev'; expected one of \('train', 'test'\)\."
    ):
        palette.divide(10, 'dev')


@pytest.mark.parametrize('split', palette.SPLITS)
def test_sampled_colours_differ_from_each_other_and_from_what_is_there(split: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        colours = palette.sample_colours(split, 3, rng, unlike=(RED,), min_lightness=30.0)
        assert {tuple(c) for c in colours.tolist()} <= colours_of(split)
        lab = palette.rgb_to_lab(np.concatenate([colours, RED[None]]))
        assert lab[:3, 0].min() >= 30.0
        for i, j in ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)):
            assert np.linalg.norm(lab[i] - lab[j]) >= palette.MIN_COLOUR_DISTANCE


@pytest.mark.parametrize(
    ('rgb', 'lab'),
    [
        ([1.0, 1.0, 1.0], [100.0, 0.0, 0.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([1.0, 0.0, 0.0], [53.24, 80.09, 67.20]),
        ([0.0, 1.0, 0.0], [87.73, -86.18, 83.18]),
        ([0.0, 0.0, 1.0], [32.30, 79.19, -107.86]),
    ],
)
def test_colour_conversion_agrees_with_tables(rgb: list[float], lab: list[float]) -> None:
    np.testing.assert_allclose(palette.rgb_to_lab(np.array(rgb)), lab, atol=0.05)


def test_a_look_is_named_by_its_colour() -> None:
    assert Look(np.array([1.0, 0.5, 0.0]), 0, 0).hex == '#ff8000'


def test_patterns_of_the_splits_are_other_patterns() -> None:
    colour = np.array([0.2, 0.6, 0.9])
    train, test = (
        {palette.paint(Look(colour, n, 0)).tobytes() for n in palette.texture_numbers(split)}
        for split in palette.SPLITS
    )
    assert len(train) == len(palette.texture_numbers('train'))
    assert len(test) == len(palette.texture_numbers('test'))
    assert not train & test


@pytest.mark.parametrize('colour', [[0.2, 0.6, 0.9], [1.0, 0.0, 0.0], [0.25, 0.5, 0.0]])
def test_patterns_leave_the_colour_recognisable(colour: list[float]) -> None:
    """Most of an object has nearly its colour, and on average it is far from any other."""
    for number in (*palette.texture_numbers('train'), *palette.texture_numbers('test')):
        tile = palette.paint(Look(np.array(colour), number, 0)) / 255
        gaps = np.linalg.norm(
            palette.rgb_to_lab(tile) - palette.rgb_to_lab(np.array(colour)), axis=-1
        )
        assert np.median(gaps) < 8.0, number
        assert gaps.mean() < palette.MIN_COLOUR_DISTANCE / 2, number
        assert gaps.max() > 2.0, f'pattern {number} is not to be seen'


def test_table_tops_of_the_splits_are_other_table_tops() -> None:
    train, test = (
        {palette.paint_table(n).tobytes() for n in palette.table_numbers(split)}
        for split in palette.SPLITS
    )
    assert len(train) == len(palette.table_numbers('train'))
    assert not train & test


def test_table_tops_are_dull() -> None:
    """None comes near the colourfulness of the palest object."""
    for split in palette.SPLITS:
        for number in palette.table_numbers(split):
            lab = palette.rgb_to_lab(palette.paint_table(number) / 255)
            assert np.hypot(lab[..., 1], lab[..., 2]).max() < 35.0, number
            assert 1.0 < np.ptp(lab[..., 0]) < 30.0, number
