"""Several datasets are trained on as one, if they go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.errors import DatasetError
from mil_ros.data.dataset import Dataset, DatasetInfo, save_info, save_task
from mil_ros.data.mixture import Mixture, open_datasets

SIMULATED = DatasetInfo(
    task='reach',
    split='train',
    seed=3,
    tasks=3,
    demos=4,
    robot='sim_panda',
    robot_sha256='0' * 64,
    joint_names=tuple(f'joint{i}' for i in range(7)),
    rate_hz=10.0,
    image_height=12,
    image_width=16,
)
RECORDED = replace(SIMULATED, task='lab', tasks=2, demos=2, robot='panda', seed=0)


def write(directory: Path, info: DatasetInfo, steps: int) -> Path:
    rng = np.random.default_rng(len(info.task))
    save_info(directory, info)
    for index in range(info.tasks):
        demos = [
            make_demo(rng, steps, info.image_height, info.image_width, len(info.joint_names))
            for _ in range(info.demos)
        ]
        save_task(directory, index, demos)
    return directory


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [write(tmp_path / 'sim', SIMULATED, 9), write(tmp_path / 'lab', RECORDED, 6)]


def test_one_dataset_is_itself(paths: list[Path]) -> None:
    alone = open_datasets(paths[:1])
    assert not isinstance(alone, Mixture)
    assert alone.info == SIMULATED


def test_tasks_of_all_parts_come_one_after_the_other(paths: list[Path]) -> None:
    mixture, parts = open_datasets(paths), [Dataset(path) for path in paths]
    assert len(mixture) == 5
    origins = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    for index, (part, inner) in enumerate(origins):
        expected = parts[part].load(inner)
        np.testing.assert_array_equal(mixture.load(index).images, expected.images)
        shape = expected.joint_positions.shape[:2]
        assert mixture.shape(index) == shape == ((4, 9), (2, 6))[part]


def test_mixture_promises_no_more_than_every_part_has(paths: list[Path]) -> None:
    mixture = open_datasets(paths)
    assert mixture.info == replace(SIMULATED, task='reach+lab', tasks=5, demos=2)
    assert mixture.steps == 6


def test_same_family_twice_is_named_once(paths: list[Path], tmp_path: Path) -> None:
    more = write(tmp_path / 'more', replace(SIMULATED, seed=4), 9)
    assert open_datasets([paths[0], more]).info.task == 'reach'


def test_task_beyond_the_last_is_none(paths: list[Path]) -> None:
    with pytest.raises(IndexError):
        open_datasets(paths).load(5)


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        (
            {'joint_names': tuple(f'ur_joint{i}' for i in range(6))},
            r"joint_names \('ur_joint0', .*\) instead of \('joint0', .*\)",
        ),
        ({'rate_hz': 5.0}, r'rate_hz 5\.0 instead of 10\.0'),
        (
            {'image_height': 24, 'image_width': 32},
            'image_height 24 instead of 12, image_width 32 instead of 16',
        ),
    ],
    ids=['joints', 'rate', 'images'],
)
def test_parts_that_do_not_go_together_are_refused(
    paths: list[Path], tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    other = write(tmp_path / 'other', replace(RECORDED, **changes), 6)
    message = (
        rf'^{other} does not go with {paths[0]}: it has {named}; expected the same joints, rate '
        r'and image size, train on them apart or collect one anew\.$'
    )
    with pytest.raises(DatasetError, match=message):
        open_datasets([*paths, other])


def test_missing_part_is_named(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'No dataset in .*none: expected dataset\.json'):
        open_datasets([*paths, tmp_path / 'none'])
