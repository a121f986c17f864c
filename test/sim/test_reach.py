"""Tasks and layouts are what they claim to be."""

from __future__ import annotations

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.sim import reach

TASKS = [(split, index) for split in reach.SPLITS for index in range(40)]


def colours_of(split: str) -> set[tuple[float, ...]]:
    return {tuple(colour) for colour in reach.palettes()[split].tolist()}


def test_palettes_share_no_colour() -> None:
    assert len(colours_of('train')) > 100
    assert len(colours_of('test')) > 30
    assert colours_of('train') & colours_of('test') == set()


def test_palettes_repeat_no_colour() -> None:
    for split in reach.SPLITS:
        assert len(colours_of(split)) == len(reach.palettes()[split])


@pytest.mark.parametrize('split', reach.SPLITS)
def test_tasks_of_a_split_show_only_its_colours(split: str) -> None:
    for index in range(200):
        shown = {tuple(c) for c in reach.sample_task(split, 3, index).colours.tolist()}
        assert shown <= colours_of(split)
        assert len(shown) == reach.OBJECTS


def test_same_arguments_give_the_same_task() -> None:
    for split, index in TASKS:
        task, again = (reach.sample_task(split, 5, index) for _ in range(2))
        np.testing.assert_array_equal(task.colours, again.colours)
        assert (task.split, task.index) == (split, index)


def test_other_index_seed_or_split_gives_another_task() -> None:
    base = reach.sample_task('train', 0, 0).colours
    for arguments in (('train', 0, 1), ('train', 1, 0), ('test', 0, 0)):
        assert not np.array_equal(base, reach.sample_task(*arguments).colours)


def test_colours_of_a_task_can_be_told_apart() -> None:
    for split, index in TASKS:
        lab = reach.rgb_to_lab(reach.sample_task(split, 0, index).colours)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(lab[i] - lab[j]) >= reach.MIN_COLOUR_DISTANCE


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
    np.testing.assert_allclose(reach.rgb_to_lab(np.array(rgb)), lab, atol=0.05)


def test_unknown_split_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"Split is 'dev'; expected one of \('train', 'test'\)\."
    ):
        reach.sample_task('dev', 0, 0)


def test_target_is_named_by_its_colour() -> None:
    colours = np.array([[1.0, 0.5, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert reach.ReachTask('train', 0, colours).target_hex == '#ff8000'


def test_layouts_keep_their_spacing_inside_the_workspace(rng: np.random.Generator) -> None:
    low, high = np.array(reach.WORKSPACE_M).T
    layouts = [reach.sample_layout(rng) for _ in range(300)]
    for layout in layouts:
        assert layout.shape == (reach.OBJECTS, 2)
        assert ((layout >= low) & (layout <= high)).all()
        for i, j in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(layout[i] - layout[j]) >= reach.MIN_SPACING_M
    reached = np.concatenate(layouts)
    assert (reached.min(axis=0) < low + 0.02).all()
    assert (reached.max(axis=0) > high - 0.02).all()


def test_same_generator_gives_the_same_layouts() -> None:
    first, again = (reach.sample_layout(np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
