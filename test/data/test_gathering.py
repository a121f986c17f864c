"""A lab's own episodes become a dataset that says where its actions come from."""

from __future__ import annotations

from pathlib import Path

from motion import make_motion
import numpy as np
import pytest

from mil_ros.core.errors import DatasetError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.dataset import Dataset, load_info
from mil_ros.data.gathering import gather, GatherReport
from mil_ros.data.mixture import open_datasets


def record(
    folder: Path,
    robot: RobotDescription,
    rng: np.random.Generator,
    *tasks: tuple[str, bool],
    **provenance: str,
) -> None:
    """Record an episode for each label, with or without commands."""
    for i, (task, with_commands) in enumerate(tasks):
        path = folder / f'{task}_{i}'
        make_motion(robot, rng).write(path, with_commands=with_commands, task=task, **provenance)


def run(folder: Path, robot: RobotDescription, out: Path) -> GatherReport:
    return gather(folder, robot, out, name='lab', demos=2, steps=12)


def test_episodes_with_and_without_commands_go_into_one_dataset(
    tiny_robot: RobotDescription, rng: np.random.Generator, tmp_path: Path
) -> None:
    """The second task is too small to be kept, so its commands do not count."""
    tasks = [('cup', True), ('cup', False), ('box', True), ('pen', False), ('pen', False)]
    record(tmp_path / 'episodes', tiny_robot, rng, *tasks)
    report = run(tmp_path / 'episodes', tiny_robot, tmp_path / 'out')
    assert report.tasks == ('cup', 'pen')
    assert report.action_sources == {'commanded': 1, 'measured': 3}
    assert report.skipped == {"task 'box'": 'has 1 demonstrations of 2'}
    dataset = Dataset(tmp_path / 'out')
    assert dataset.info.action_sources == ('commanded', 'measured')
    data = dataset.load(0)
    assert np.abs(data.joint_velocities).max(axis=(1, 2)) == pytest.approx([0.56, 0.56], abs=0.02)


def test_a_dataset_of_hand_guided_episodes_says_so_and_a_mixture_names_both(
    tiny_robot: RobotDescription, rng: np.random.Generator, tmp_path: Path
) -> None:
    for name, with_commands in (('guided', False), ('jogged', True)):
        record(tmp_path / name, tiny_robot, rng, ('cup', with_commands), ('cup', with_commands))
        run(tmp_path / name, tiny_robot, tmp_path / f'{name}_data')
    folders = [tmp_path / 'guided_data', tmp_path / 'jogged_data']
    assert [load_info(f).action_sources for f in folders] == [('measured',), ('commanded',)]
    assert open_datasets(folders).info.action_sources == ('commanded', 'measured')


def test_episodes_that_cannot_be_used_are_named_with_the_reason(
    tiny_robot: RobotDescription, rng: np.random.Generator, tmp_path: Path
) -> None:
    folder = tmp_path / 'episodes'
    record(folder, tiny_robot, rng, ('cup', False), ('cup', False), ('cup', False))
    make_motion(tiny_robot, rng).write(folder / 'nameless')
    record(folder, tiny_robot, rng, ('fallen', True), outcome='failure')
    report = run(folder, tiny_robot, tmp_path / 'out')
    assert {Path(path).name: why for path, why in report.skipped.items()} == {
        'cup_2': "task 'cup' has its 2 demonstrations already",
        'fallen_0': 'it is marked as a failure',
        'nameless': 'it has no label; set the parameter `task` of the recorder before recording',
    }


def test_too_few_usable_episodes_are_refused(
    tiny_robot: RobotDescription, rng: np.random.Generator, tmp_path: Path
) -> None:
    record(tmp_path / 'episodes', tiny_robot, rng, ('cup', False), ('pen', True))
    message = (
        r'No task has 2 usable demonstrations, the best has 1; record more per label or lower --'
    )
    with pytest.raises(DatasetError, match=message):
        run(tmp_path / 'episodes', tiny_robot, tmp_path / 'out')
    with pytest.raises(DatasetError, match=r'No episode below .*none; expected rosbag2 folders'):
        run(tmp_path / 'none', tiny_robot, tmp_path / 'out')
