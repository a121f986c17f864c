"""A LeRobot dataset becomes one to train on, or is refused with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from lerobot_others import CAMERA, Others
from lerobot_stand_in import LeRobotDataset
import numpy as np
import pytest
from recordings import Film

from mil_ros.core.errors import DatasetError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.data.dataset import Dataset
from mil_ros.data.episode import load_demo
from mil_ros.data.lerobot_export import export_episodes, ExportOptions
from mil_ros.data.lerobot_import import (
    ActionKind,
    import_dataset,
    ImportOptions,
    pick_frames,
)

OPTIONS = ImportOptions(name='lab', demos=2, steps=10)
POSITION = replace(OPTIONS, action_kind=ActionKind.POSITION)
VELOCITY = replace(OPTIONS, action_kind=ActionKind.VELOCITY)


@pytest.fixture
def others(robot: RobotDescription) -> Others:
    return Others(robot)


@pytest.fixture
def read(others: Others, tmp_path: Path) -> Callable[..., Any]:
    """Write the dataset as the test has set it, and import it."""

    def read(options: ImportOptions = OPTIONS) -> Any:
        root = others.write(tmp_path / 'lerobot')
        return import_dataset(root, others.robot, tmp_path / 'data', options)

    return read


# --- Round trip ------------------------------------------------------------------------------


@pytest.mark.usefixtures('library')
def test_what_was_exported_comes_back(film: Film, tmp_path: Path) -> None:
    folder = tmp_path / 'episodes'
    paths = [film.write(folder / f'{i}', task=f'cup {i % 2}') for i in range(4)]
    lossless = ExportOptions(repo_id='lab/cups', is_lossless=True)
    export_episodes(folder, film.robot, tmp_path / 'lerobot', lossless)
    told: list[int] = []
    report, columns = import_dataset(
        tmp_path / 'lerobot',
        film.robot,
        tmp_path / 'data',
        replace(OPTIONS, steps=15),
        on_episode=lambda: told.append(1),
        on_start=told.append,
    )
    assert told == [4, 1, 1, 1, 1]
    assert (report.tasks, report.demos, report.skipped) == (('cup 0', 'cup 1'), 2, {})
    assert columns.action_kind is ActionKind.VELOCITY
    dataset = Dataset(tmp_path / 'data')
    assert dataset.info.joint_names == film.robot.joint_names
    assert (dataset.info.rate_hz, len(dataset), dataset.steps) == (10.0, 2, 15)
    for number, path in enumerate(paths):
        demo, task = load_demo(path, film.robot), dataset.load(number % 2)
        assert len(demo) == 15
        np.testing.assert_array_equal(task.images[number // 2], demo.images)
        np.testing.assert_array_equal(task.joint_positions[number // 2], demo.joint_positions)
        np.testing.assert_array_equal(task.joint_velocities[number // 2], demo.joint_velocities)


# --- Datasets of others ----------------------------------------------------------------------


@pytest.mark.usefixtures('library')
def test_frames_are_those_of_the_moments_of_the_policy(
    others: Others, read: Callable[..., Any], tmp_path: Path
) -> None:
    report, columns = read(replace(OPTIONS, steps=20))
    assert report.tasks == ('red cup', 'blue cup')
    assert columns.unused == ('observation.state: gripper.pos',)
    dataset = Dataset(tmp_path / 'data')
    joints = others.robot.joint_names
    for step in range(20):  # 10 of the 30 frames a second
        second = 3 * step / 30
        task = dataset.load(1)
        expected = [others.position(joint, second) for joint in joints]
        np.testing.assert_allclose(task.joint_positions[0, step], expected, rtol=1e-6)
        expected = [others.value(f'{joint}.vel', second) for joint in joints]
        np.testing.assert_allclose(task.joint_velocities[0, step], expected, rtol=1e-5)
        picture = resize_area(others.picture(2, 3 * step), 60, 80)
        np.testing.assert_array_equal(task.images[0, step], picture)


@given(st.integers(1, 240), st.integers(1, 50), st.integers(1, 400))
@example(5, 29, 30)  # 5 / (5 / 29) is a little less than 29
@example(1, 49, 50)  # and here a little more
def test_every_nth_frame_is_picked_if_the_policy_looks_so_often(
    fps: int, every: int, count: int
) -> None:
    assert pick_frames(count, fps, fps / every).tolist() == list(range(0, count, every))


@given(st.integers(1, 240), st.floats(1.0, 240.0), st.integers(1, 400))
def test_newest_frame_is_picked(fps: int, rate_hz: float, count: int) -> None:
    rate_hz = min(rate_hz, fps)
    picked = pick_frames(count, fps, rate_hz)
    ages = np.arange(len(picked)) / rate_hz * fps - picked  # in frames
    assert ages.min() > -1e-5
    assert ages.max() < 1.0
    assert picked[0] == 0
    assert picked[-1] < count
    assert len(picked) / rate_hz * fps > count - 1 - 1e-5  # not one moment fewer than there are


@pytest.mark.parametrize(
    ('fps', 'rate_hz', 'picked'),
    [
        (30, 10.0, [0, 3, 6]),
        (60, 30.0, [0, 2, 4, 6]),
        (25, 10.0, [0, 2, 5]),
        (10, 10.0, list(range(8))),
    ],
)
def test_picked_frames(fps: int, rate_hz: float, picked: list[int]) -> None:
    assert pick_frames(8, fps, rate_hz).tolist() == picked


@pytest.mark.usefixtures('stand_in')
def test_positions_are_differentiated_over_the_time_until_the_next_moment(
    others: Others, read: Callable[..., Any], tmp_path: Path
) -> None:
    others.fps, others.frames = 25, 41  # frames 0, 2, 5, 7, ...: unevenly far apart
    others.action = [f'{joint}.pos' for joint in others.robot.joint_names]
    _, columns = read(replace(POSITION, steps=16))
    assert columns.action_kind is ActionKind.POSITION
    task = Dataset(tmp_path / 'data').load(0)
    seconds = np.floor(np.arange(17) * 2.5) / 25.0
    told = np.array([[others.position(j, s) for j in others.robot.joint_names] for s in seconds])
    expected = np.diff(told, axis=0) / np.diff(seconds)[:, None]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(task.joint_velocities[0], expected, atol=1e-5)
    np.testing.assert_allclose(task.joint_positions[0], told[:-1], rtol=1e-6)
    np.testing.assert_array_equal(task.images[0, 15], resize_area(others.picture(0, 37), 60, 80))


@pytest.mark.usefixtures('stand_in')
def test_demonstration_begins_with_the_first_motion(
    others: Others, read: Callable[..., Any], tmp_path: Path
) -> None:
    others.rest = 31
    read(replace(OPTIONS, steps=9))
    task = Dataset(tmp_path / 'data').load(0)
    np.testing.assert_array_equal(task.images[0, 0], resize_area(others.picture(0, 33), 60, 80))
    assert np.abs(task.joint_velocities[0, 0]).max() > 0.1


@pytest.mark.usefixtures('stand_in')
@pytest.mark.parametrize('wrap', [lambda names: names, lambda names: {'motors': names}])
def test_bare_names_need_to_be_told_what_they_mean(
    others: Others, read: Callable[..., Any], wrap: Callable[[Any], Any]
) -> None:
    others.action = wrap(list(others.robot.joint_names))
    others.state = wrap(list(others.robot.joint_names))
    _, columns = read(POSITION)
    assert columns.action_kind is ActionKind.POSITION
    assert columns.state == columns.action == list(range(7))


@pytest.mark.usefixtures('stand_in')
def test_middle_of_a_wider_picture_is_used(
    others: Others, read: Callable[..., Any], tmp_path: Path
) -> None:
    others.size = (120, 200)
    _, columns = read()
    assert str(columns.crop) == '20,0,160,120'
    expected = resize_area(others.picture(0, 0)[:, 20:180], 60, 80)
    np.testing.assert_array_equal(Dataset(tmp_path / 'data').load(0).images[0, 0], expected)


@pytest.mark.usefixtures('stand_in')
def test_camera_is_chosen(others: Others, read: Callable[..., Any]) -> None:
    others.cameras = [CAMERA, 'observation.images.wrist']
    _, columns = read(replace(OPTIONS, camera='observation.images.wrist'))
    assert columns.camera == 'observation.images.wrist'
    assert columns.unused[0] == CAMERA


# --- What is left out ------------------------------------------------------------------------


@pytest.mark.usefixtures('stand_in')
def test_what_is_left_out_is_told(
    others: Others, read: Callable[..., Any], tmp_path: Path
) -> None:
    others.tasks = ['red cup', 'red cup', 'red cup', 'blue cup', '']
    report, _ = read()
    assert report.tasks == ('red cup',)
    assert report.skipped == {
        'episode 2': "task 'red cup' has its 2 demonstrations already",
        'episode 4': "it has the tasks ['']; expected one label for the whole episode",
        "task 'blue cup'": 'has 1 demonstrations of 2',
    }
    assert len(Dataset(tmp_path / 'data')) == 1


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'rest': 60}, r'Episode 0: It holds no motion: no joint of action exceeds 0\.02'),
        ({'rest': 50}, r'Episode 0: It holds 0\.3 s of motion, expected at least 0\.5 s'),
        ({'to_unit': 57.3}, r'it has a position of .* for panda_joint\d, which that joint cannot'),
        ({'size': (40, 60)}, r'Image is 53x40, the policy needs at least 80x60'),
    ],
)
@pytest.mark.usefixtures('stand_in')
def test_unusable_episodes_are_explained(
    others: Others, read: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    vars(others).update(changes)
    with pytest.raises(DatasetError, match=r'No task has 2 usable demonstrations.*' + message):
        read()


@pytest.mark.usefixtures('stand_in')
def test_degrees_per_second_are_refused(others: Others, read: Callable[..., Any]) -> None:
    value = others.value
    others.value = lambda name, second: value(name, second) * (57.3 if '.vel' in name else 1.0)
    message = r'it has a velocity of 1\d\.\d+ for panda_joint1, which that joint cannot do in r'
    with pytest.raises(DatasetError, match=message):
        read()


def test_frames_at_other_times_are_refused(
    others: Others,
    stand_in: type[LeRobotDataset],
    read: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get = stand_in.__getitem__
    late = {'timestamp': np.array(0.004)}
    monkeypatch.setattr(stand_in, '__getitem__', lambda self, i: get(self, i) | late)
    message = r'its frame 0 is of episode 0 and stamped 0\.0040 s, expected 0\.0000 s; the dataset'
    with pytest.raises(DatasetError, match=message):
        read()


# --- Bad input -------------------------------------------------------------------------------

ARM = [f'ur5e_joint{i}.pos' for i in range(6)]


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        (
            {'fps': 5},
            OPTIONS,
            r"has 5 frames a second, the policy of 'sim_panda' acts 10 times",
        ),
        ({'state': ['gripper.pos']}, OPTIONS, r"'observation\.state' of the dataset has \['g"),
        (
            {'action': ['gripper.vel']},
            OPTIONS,
            r"'action' of the dataset has \['gripper\.vel'\]",
        ),
        (
            {'cameras': []},
            OPTIONS,
            r'The dataset has no camera; expected a feature of image',
        ),
        (
            {'cameras': [CAMERA, CAMERA + '2']},
            OPTIONS,
            r'Got camera None, the dataset has \[.*--c',
        ),
        ({}, replace(OPTIONS, camera='wrist'), r"Got camera 'wrist', the dataset has \['observat"),
        (
            {},
            POSITION,
            r"Got --action-is position, but the actions are called \['panda_joint1\.",
        ),
    ],
)
@pytest.mark.usefixtures('stand_in')
def test_dataset_that_does_not_fit_is_refused(
    others: Others,
    read: Callable[..., Any],
    tmp_path: Path,
    changes: dict[str, Any],
    options: ImportOptions,
    message: str,
) -> None:
    vars(others).update(changes)
    with pytest.raises(DatasetError, match=message):
        read(options)
    assert not (tmp_path / 'data').exists()


@pytest.mark.parametrize('ending', ['', '.pos'])
@pytest.mark.usefixtures('stand_in')
def test_actions_of_unknown_kind_are_refused(
    others: Others, read: Callable[..., Any], ending: str
) -> None:
    others.action = [joint + ending for joint in others.robot.joint_names]
    message = r'which does not say that they are velocities; say what they are with --action-is ve'
    with pytest.raises(DatasetError, match=message):
        read()


@pytest.mark.parametrize('names', [None, 'motors', {'a': [], 'b': []}, [1, 2]])
def test_actions_without_names_are_refused(
    others: Others,
    stand_in: type[LeRobotDataset],
    tmp_path: Path,
    names: Any,
) -> None:
    root = others.write(tmp_path / 'lerobot')
    info = root / 'meta/info.json'
    document = json.loads(info.read_text())
    document['features']['action']['names'] = names
    info.write_text(json.dumps(document))
    message = r"The feature 'action' of the dataset has the names .*; expected one for each joint"
    with pytest.raises(DatasetError, match=message):
        import_dataset(root, others.robot, tmp_path / 'data', OPTIONS)
