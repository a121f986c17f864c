"""A dataset comes back as it was saved, and damage is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
import itertools
import json
import os
from pathlib import Path
import resource

from helpers import make_demo
import numpy as np
from numpy.lib.recfunctions import repack_fields
import pytest

from mil_ros.core.errors import DatasetError
from mil_ros.core.types import Demo
from mil_ros.data import dataset as dataset_module
from mil_ros.data.dataset import Dataset, DatasetInfo, load_info, save_info, save_task, task_path

INFO = DatasetInfo(
    task='reach',
    split='train',
    seed=3,
    tasks=2,
    demos=3,
    robot='sim_panda',
    robot_sha256='0' * 64,
    joint_names=tuple(f'joint{i}' for i in range(7)),
    rate_hz=10.0,
    image_height=12,
    image_width=16,
)


@pytest.fixture
def demos(rng: np.random.Generator) -> list[list[Demo]]:
    return [[make_demo(rng) for _ in range(INFO.demos)] for _ in range(INFO.tasks)]


@pytest.fixture
def directory(tmp_path: Path, demos: list[list[Demo]]) -> Path:
    save_info(tmp_path, INFO)
    for index, task in enumerate(demos):
        save_task(tmp_path, index, task)
    return tmp_path


def test_saved_tasks_come_back_bit_for_bit(directory: Path, demos: list[list[Demo]]) -> None:
    dataset = Dataset(directory)
    assert len(dataset) == 2
    for index, task in enumerate(demos):
        data = dataset.load(index)
        for name in ('images', 'joint_positions', 'joint_velocities'):
            got = getattr(data, name)
            assert got.dtype == getattr(task[0], name).dtype
            np.testing.assert_array_equal(got, [getattr(demo, name) for demo in task])


def test_description_comes_back(directory: Path) -> None:
    assert load_info(directory) == INFO == Dataset(directory).info


def test_a_description_from_before_sources_were_noted_is_of_commands(directory: Path) -> None:
    document = json.loads((directory / 'dataset.json').read_text())
    assert document.pop('action_sources') == ['commanded']
    (directory / 'dataset.json').write_text(json.dumps(document))
    assert load_info(directory) == INFO
    save_info(directory, INFO)


def test_saving_leaves_no_temporary_files(directory: Path) -> None:
    names = sorted(path.name for path in directory.rglob('*') if path.is_file())
    assert names == ['000000.npy', '000001.npy', 'dataset.json']


def test_missing_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'No dataset in .*none: expected dataset\.json; coll'):
        Dataset(tmp_path / 'none')


@pytest.mark.parametrize('text', ['{', '[]', '{"task": "reach"}', '{"joint_names": []}', '""'])
def test_description_of_another_kind_is_refused(directory: Path, text: str) -> None:
    (directory / 'dataset.json').write_text(text)
    with pytest.raises(DatasetError, match=r'dataset\.json is not a dataset description: '):
        Dataset(directory)


def test_lacking_tasks_are_counted_and_the_first_is_named(directory: Path) -> None:
    task_path(directory, 1).unlink()
    with pytest.raises(DatasetError, match=r'lacks 1 of 2 tasks \(first: 1\); run the same'):
        Dataset(directory)


def test_single_demonstration_per_task_is_too_few(directory: Path) -> None:
    (directory / 'dataset.json').write_text(json.dumps(asdict(replace(INFO, demos=1))))
    with pytest.raises(DatasetError, match=r'has 1 demos per task; meta-training needs at least'):
        Dataset(directory)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def cut_to_nothing(path: Path) -> None:
    path.write_bytes(b'')


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1] ^= 0xFF
    path.write_bytes(content)


def replace_by_text(path: Path) -> None:
    path.write_text('not an array')


def drop_a_field(path: Path) -> None:
    records = np.load(path)
    np.save(path, repack_fields(records[['images', 'joint_positions']]))


def store_numbers(path: Path) -> None:
    np.save(path, np.zeros((3, 9)))


def store_objects(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object))


@pytest.mark.parametrize(
    'damage',
    [
        cut_short,
        cut_to_nothing,
        flip_a_byte,
        replace_by_text,
        drop_a_field,
        store_numbers,
        store_objects,
    ],
    ids=lambda function: function.__name__,
)
def test_damaged_task_is_named(directory: Path, damage: Callable[[Path], None]) -> None:
    damage(task_path(directory, 1))
    dataset = Dataset(directory)
    dataset.load(0)
    with pytest.raises(DatasetError, match=r'000001\.npy is damaged \(.*; delete it and run'):
        dataset.load(1)


def test_images_of_another_size_are_refused(directory: Path, rng: np.random.Generator) -> None:
    save_task(directory, 1, [make_demo(rng, height=10) for _ in range(3)])
    message = r'000001\.npy has \(demos, height, width\) \(3, 10, 16\), expected \(3, 12, 16\)'
    with pytest.raises(DatasetError, match=message):
        Dataset(directory).load(1)


def test_other_number_of_demonstrations_is_refused(
    directory: Path, rng: np.random.Generator
) -> None:
    save_task(directory, 1, [make_demo(rng) for _ in range(2)])
    with pytest.raises(DatasetError, match=r'\(2, 12, 16\), expected \(3, 12, 16\)'):
        Dataset(directory).load(1)


def test_other_number_of_joints_is_refused(directory: Path, rng: np.random.Generator) -> None:
    save_task(directory, 1, [make_demo(rng, joints=6) for _ in range(3)])
    message = (
        r'000001\.npy has joint positions \(3, 9, 6\) and velocities \(3, 9, 6\), expected '
        r"\(demos, steps, joints\) \(3, 9, 7\) for \['joint0', .*'joint6'\]; delete it and run"
    )
    with pytest.raises(DatasetError, match=message):
        Dataset(directory).load(1)


@pytest.mark.parametrize('name', ['joint_positions', 'joint_velocities'])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_non_finite_numbers_are_refused(directory: Path, name: str, value: float) -> None:
    path = task_path(directory, 1)
    records = np.load(path)
    records[name][1, 2, 3] = value
    np.save(path, records)
    with pytest.raises(DatasetError, match=r'000001\.npy holds non-finite numbers; delete it'):
        Dataset(directory).load(1)


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({'seed': 4}, 'seed'),
        ({'robot_sha256': '1' * 64}, 'robot_sha256'),
        ({'image_width': 80, 'split': 'test'}, 'split, image_width'),
    ],
)
def test_collecting_with_other_settings_is_refused(
    directory: Path, changes: dict[str, object], named: str
) -> None:
    message = rf'holds a dataset with other {named}; choose another --out or delete the folder'
    with pytest.raises(DatasetError, match=message):
        save_info(directory, replace(INFO, **changes))
    assert load_info(directory) == INFO


def test_full_disk_is_a_sentence_and_leaves_nothing_behind(
    directory: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.read_bytes() for path in directory.rglob('*') if path.is_file()}

    def fill(path: Path, content: bytes) -> None:
        with path.open('wb') as file:
            file.write(content[:100])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Path, 'write_bytes', fill)
    message = (
        r'^Cannot write .*000001\.npy \(No space left on device\); the tasks before it are who'
    )
    with pytest.raises(DatasetError, match=message):
        save_task(directory, 1, [make_demo(rng) for _ in range(INFO.demos)])
    message = (
        r'^Cannot write a dataset to .* \(No space left on device\); expected a folder on a d'
    )
    with pytest.raises(DatasetError, match=message):
        save_info(directory, INFO)
    after = {path: path.read_bytes() for path in directory.rglob('*') if path.is_file()}
    assert after == before


def test_more_tasks_of_the_same_settings_may_be_collected(directory: Path) -> None:
    save_info(directory, replace(INFO, tasks=5))
    assert load_info(directory).tasks == 5
    with pytest.raises(DatasetError, match=r'lacks 3 of 5 tasks \(first: 2\)'):
        Dataset(directory)


def test_tasks_of_another_length_are_refused(directory: Path, rng: np.random.Generator) -> None:
    save_task(directory, 1, [make_demo(rng, steps=5) for _ in range(INFO.demos)])
    message = r'000001\.npy has demonstrations of 5 steps, the first task has 9; expected one'
    with pytest.raises(DatasetError, match=message):
        Dataset(directory).load(1)


def test_frames_are_read_only_when_they_are_asked_for(directory: Path) -> None:
    data = Dataset(directory).load(0)
    assert isinstance(data.images.base, np.memmap)
    assert not data.images.flags.writeable
    assert not isinstance(data.joint_positions.base, np.memmap)


def test_every_demonstration_of_a_task_has_its_shape(directory: Path) -> None:
    dataset = Dataset(directory)
    assert dataset.steps == 9
    assert dataset.shape(1) == (3, 9) == dataset.load(1).joint_positions.shape[:2]


def find_limit(more: int) -> int:
    """Return the limit of open files that leaves room for some more."""
    opened = {int(name) for name in os.listdir('/proc/self/fd')}
    free = (number for number in itertools.count() if number not in opened)
    return next(itertools.islice(free, more, None))


def test_more_tasks_than_files_that_may_be_open_are_read(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regressions pinned: a thousand tasks ran into the usual limit of 1024 files."""
    monkeypatch.setattr(dataset_module, '_MAPPED_TASKS', 4)
    info = replace(INFO, tasks=40, demos=2)
    save_info(tmp_path, info)
    tasks = [[make_demo(rng, steps=2) for _ in range(2)] for _ in range(info.tasks)]
    for index, demos in enumerate(tasks):
        save_task(tmp_path, index, demos)
    dataset = Dataset(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (find_limit(16), hard))
    try:
        for index in (*range(info.tasks), 0):
            got = dataset.load(index)
            np.testing.assert_array_equal(got.images, [d.images for d in tasks[index]])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
