"""What LeRobot reads of an exported dataset is what the episodes hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import inspect
import json
import math
from pathlib import Path
import shutil
import sys
from typing import Any

from lerobot_stand_in import LeRobotDataset
import numpy as np
import pytest
from recordings import Film, PROVENANCE, REST_MS, START_MS

from mil_ros.core.errors import ConfigError, DatasetError
from mil_ros.core.images import resize_area
from mil_ros.core.robot import RobotDescription
from mil_ros.data.lerobot_export import (
    camera_key,
    check_export,
    compute_psnr_db,
    export_episodes,
    ExportOptions,
    ExportReport,
)
from mil_ros.data.lerobot_library import load_library, open_dataset, read_frame, to_image
from mil_ros.data.synthetic import read_number

CAMERA = 'observation.images.camera'
VIDEO = ExportOptions(repo_id='lab/cups')
LOSSLESS = replace(VIDEO, is_lossless=True)
Break = type[LeRobotDataset]


@pytest.fixture(scope='module')
def recorded(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of two tasks."""
    folder = tmp_path_factory.mktemp('recorded')
    for number, task in enumerate(('red cup', 'blue cup', 'red cup')):
        film.write(folder / f'cup_{number}', task=task, operator='Ada')
    return folder


@pytest.fixture
def episodes(recorded: Path, tmp_path: Path) -> Path:
    """A copy of them, to which a test may add."""
    return Path(shutil.copytree(recorded, tmp_path / 'episodes'))


def newest(stamps_ms: list[int], moment_ms: int) -> int:
    return max(ms for ms in stamps_ms if ms <= moment_ms)


def moments_of(film: Film) -> list[int]:
    """When the policy looks, in ms, from the first commanded motion on."""
    streams = (film.image_ms, film.joint_ms, film.action_ms)
    first_ms, last_ms = max(s[0] for s in streams), min(s[-1] for s in streams)
    begin_ms = min(ms for ms in film.action_ms if ms >= REST_MS)
    return [ms for ms in range(first_ms, last_ms + 1, 100) if ms >= begin_ms]


# --- Round trip ------------------------------------------------------------------------------


@pytest.mark.usefixtures('library')
@pytest.mark.parametrize('options', [VIDEO, LOSSLESS], ids=['video', 'lossless'])
def test_every_frame_is_what_the_episode_held_as_of_its_moment(
    film: Film, episodes: Path, tmp_path: Path, options: ExportOptions
) -> None:
    root = tmp_path / 'lerobot'
    report = export_episodes(episodes, film.robot, root, options)
    dataset = open_dataset(root)
    moments = moments_of(film)
    assert len(moments) == 15
    assert (len(dataset), report.frames) == (45, 45)
    for index in range(len(dataset)):
        frame = read_frame(dataset, index)
        number, step = divmod(index, 15)
        ms = moments[step]
        assert frame['task'] == ('red cup', 'blue cup', 'red cup')[number]
        assert (int(frame['episode_index']), int(frame['frame_index'])) == (number, step)
        assert float(frame['timestamp']) == pytest.approx((ms - moments[0]) / 1e3, abs=1e-6)

        image_ms, joint_ms, action_ms = (
            newest(stamps, ms) for stamps in (film.image_ms, film.joint_ms, film.action_ms)
        )
        picture, shown = to_image(frame[CAMERA]), film.image_ms.index(image_ms)
        assert picture.shape == (120, 160, 3)
        assert read_number(picture) == shown
        is_same = np.array_equal(picture, film.pictures[shown])
        assert is_same == options.is_lossless
        position = [film.position(joint_ms, joint) for joint in range(7)]
        np.testing.assert_allclose(frame['observation.state'], position, rtol=1e-6)
        velocity = [film.velocity(action_ms, joint) for joint in range(7)]
        np.testing.assert_allclose(frame['action'], velocity, rtol=1e-6)
        ages_s = [(ms - other) / 1e3 for other in (image_ms, joint_ms, action_ms)]
        np.testing.assert_allclose(frame['age_s'], ages_s, atol=1e-7)


@pytest.mark.usefixtures('library')
def test_dataset_describes_the_arm(film: Film, episodes: Path, tmp_path: Path) -> None:
    export_episodes(episodes, film.robot, tmp_path / 'lerobot', VIDEO)
    info = json.loads((tmp_path / 'lerobot/meta/info.json').read_text())
    assert info['codebase_version'] == 'v3.0'
    assert (info['fps'], info['robot_type']) == (10, 'sim_panda')
    features = info['features']
    assert features[CAMERA]['dtype'] == 'video'
    assert features[CAMERA]['shape'] == [120, 160, 3]
    joints = [f'panda_joint{i}' for i in range(1, 8)]
    assert features['observation.state']['names'] == [f'{joint}.pos' for joint in joints]
    assert features['action']['names'] == [f'{joint}.vel' for joint in joints]
    assert features['age_s']['names'] == ['image', 'state', 'action']


@pytest.mark.usefixtures('library')
def test_pictures_are_shrunk_if_wanted(film: Film, episodes: Path, tmp_path: Path) -> None:
    options = replace(LOSSLESS, at_policy_size=True)
    report = export_episodes(episodes, film.robot, tmp_path / 'lerobot', options)
    assert check_export(tmp_path / 'lerobot', film.robot, report, options) == math.inf
    picture = to_image(read_frame(open_dataset(tmp_path / 'lerobot'), 0)[CAMERA])
    shown = film.image_ms.index(newest(film.image_ms, moments_of(film)[0]))
    np.testing.assert_array_equal(picture, resize_area(film.pictures[shown], 60, 80))


@pytest.mark.usefixtures('library')
def test_provenance_goes_along(film: Film, episodes: Path, tmp_path: Path) -> None:
    export_episodes(episodes, film.robot, tmp_path / 'lerobot', VIDEO)
    document = json.loads((tmp_path / 'lerobot/meta/mil_ros.json').read_text())
    assert document['robot_sha256'] == film.robot.sha256
    assert document['units'] == {'observation.state': 'rad', 'action': 'rad/s', 'age_s': 's'}
    assert [entry['episode'] for entry in document['episodes']] == ['cup_0', 'cup_1', 'cup_2']
    first = document['episodes'][0]
    assert first['start_ns'] == (START_MS + moments_of(film)[0]) * 10**6
    assert (first['task'], first['operator']) == ('red cup', 'Ada')
    assert first['software'] == PROVENANCE['software']


@pytest.mark.usefixtures('library')
def test_check_says_what_a_video_lost(film: Film, episodes: Path, tmp_path: Path) -> None:
    told: list[None] = []
    for options in (VIDEO, LOSSLESS):
        root = tmp_path / str(options.is_lossless)
        report = export_episodes(episodes, film.robot, root, options)
        psnr_db = check_export(root, film.robot, report, options, lambda: told.append(None))
        assert psnr_db == math.inf if options.is_lossless else 20.0 <= psnr_db < 60.0
    assert len(told) == 6


@pytest.mark.parametrize('topic', ['/camera/image_raw', '/wrist/left/image', '/image_raw'])
def test_camera_is_named_after_its_namespace(robot: RobotDescription, topic: str) -> None:
    names = {'/camera/image_raw': 'camera', '/wrist/left/image': 'wrist_left'}
    topics = replace(robot.topics, image=topic)
    expected = f'observation.images.{names.get(topic, "camera")}'
    assert camera_key(replace(robot, topics=topics)) == expected


def test_signal_to_noise_ratio() -> None:
    image = np.full((4, 5, 3), 100, dtype=np.uint8)
    assert compute_psnr_db(image, image) == math.inf
    assert compute_psnr_db(image, image + 5) == pytest.approx(20 * math.log10(255 / 5))


# --- What is left out ------------------------------------------------------------------------


@pytest.mark.usefixtures('library')
def test_what_is_left_out_is_told(film: Film, episodes: Path, tmp_path: Path) -> None:
    film.write(episodes / 'dropped', outcome='failure')
    quality = json.dumps({'reasons': ['The arm stood still.']})
    film.write(episodes / 'unfit', verdict='reject', quality=quality)
    film.write(episodes / 'unnamed', task='')
    film.write(episodes / 'cut')
    (episodes / 'cut/metadata.yaml').unlink()
    told: list[None] = []
    root = tmp_path / 'lerobot'
    report = export_episodes(episodes, film.robot, root, VIDEO, lambda: told.append(None))
    assert report.tasks == {'red cup': 2, 'blue cup': 1}
    assert len(told) == 7
    reasons = {Path(path).name: reason for path, reason in report.skipped.items()}
    assert reasons.keys() == {'cut', 'dropped', 'unfit', 'unnamed'}
    assert 'it was cut off' in reasons['cut']
    assert reasons['dropped'] == 'it is marked as a failure'
    assert reasons['unfit'] == 'the recorder judged it unfit: The arm stood still.'
    assert reasons['unnamed'].startswith('it has no label; set the parameter `task`')
    assert open_dataset(root).meta.total_episodes == 3


@pytest.mark.usefixtures('library')
def test_failures_and_the_unfit_are_kept_if_wanted(film: Film, tmp_path: Path) -> None:
    film.write(tmp_path / 'episodes/dropped', outcome='failure')
    film.write(tmp_path / 'episodes/unfit', verdict='reject')
    options = replace(VIDEO, include_rejected=True)
    report = export_episodes(tmp_path / 'episodes', film.robot, tmp_path / 'lerobot', options)
    assert report.skipped == {}
    assert report.tasks == {PROVENANCE['task']: 2}
    document = json.loads((tmp_path / 'lerobot/meta/mil_ros.json').read_text())
    assert [e.get('outcome') for e in document['episodes']] == ['failure', None]


@pytest.mark.usefixtures('library')
def test_episode_of_another_camera_leaves_no_frame_behind(
    film: Film, episodes: Path, tmp_path: Path
) -> None:
    film_of_another = Film(replace(film.robot, camera=replace(film.robot.camera, width=640)))
    film_of_another.write(episodes / 'another')  # before cup_0
    report = export_episodes(episodes, film.robot, tmp_path / 'lerobot', LOSSLESS)
    (reason,) = report.skipped.values()
    assert reason.startswith('Episode another has images of 640x120, robot')
    check_export(tmp_path / 'lerobot', film.robot, report, LOSSLESS)


@pytest.mark.usefixtures('library')
def test_nothing_to_export_is_refused(film: Film, tmp_path: Path) -> None:
    film.write(tmp_path / 'episodes/dropped', outcome='failure')
    message = r'None of the 1 episodes below .* can be exported; .* it is marked as a failure'
    with pytest.raises(DatasetError, match=message):
        export_episodes(tmp_path / 'episodes', film.robot, tmp_path / 'lerobot', VIDEO)


@pytest.mark.usefixtures('library')
def test_rate_that_lerobot_cannot_count_is_refused(
    film: Film, episodes: Path, tmp_path: Path
) -> None:
    robot = replace(film.robot, policy=replace(film.robot.policy, rate_hz=12.5))
    message = r"Robot 'sim_panda' has policy\.rate_hz 12\.5; expected a whole number, for LeRobot"
    with pytest.raises(ConfigError, match=message):
        export_episodes(episodes, robot, tmp_path / 'lerobot', VIDEO)


# --- A library that does something else is found out -----------------------------------------


@pytest.fixture
def exported(
    stand_in: Break, film: Film, episodes: Path, tmp_path: Path
) -> tuple[Path, ExportReport]:
    root = tmp_path / 'lerobot'
    return root, export_episodes(episodes, film.robot, root, VIDEO)


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('action', lambda v: -v, 'LeRobot reads action of frame 0 as '),
        ('observation.state', lambda v: v + 1e-5, 'LeRobot reads observation.state of frame 0 as'),
        ('age_s', lambda v: v * 0.0, 'LeRobot reads age_s of frame 0 as '),
        (
            'task',
            lambda v: 'cup',
            'LeRobot reads task of frame 0 as cup, expected red cup; ',
        ),
        ('timestamp', lambda v: v + 0.1, 'LeRobot reads timestamp of frame 0 as 0.1'),
        ('episode_index', lambda v: v + 1, 'LeRobot reads episode_index of frame 0 as 1'),
        (CAMERA, lambda v: 1.0 - v, f'LeRobot reads {CAMERA} of frame 0 as at '),
    ],
)
def test_difference_is_found(
    exported: tuple[Path, ExportReport],
    stand_in: Break,
    film: Film,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    change: Callable[[Any], Any],
    message: str,
) -> None:
    root, report = exported
    check_export(root, film.robot, report, VIDEO)
    read = stand_in.__getitem__
    monkeypatch.setattr(
        stand_in,
        '__getitem__',
        lambda self, i: read(self, i) | {name: change(read(self, i)[name])},
    )
    with pytest.raises(DatasetError) as caught:
        check_export(root, film.robot, report, VIDEO)
    assert str(caught.value).startswith(message)
    assert 'no dataset was made. Try --lossless or another version' in str(caught.value)


def test_frames_in_another_order_are_found(
    exported: tuple[Path, ExportReport],
    stand_in: Break,
    film: Film,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, report = exported
    read = stand_in.__getitem__
    monkeypatch.setattr(stand_in, '__getitem__', lambda self, i: read(self, min(i + 1, 44)))
    with pytest.raises(DatasetError, match='LeRobot reads '):
        check_export(root, film.robot, report, VIDEO)


def test_lost_frames_are_found(
    exported: tuple[Path, ExportReport],
    stand_in: Break,
    film: Film,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, report = exported
    monkeypatch.setattr(stand_in, '__len__', lambda self: 44)
    message = r'LeRobot reads \(episodes, frames\) of the dataset as \(3, 44\), expected \(3, 45\)'
    with pytest.raises(DatasetError, match=message):
        check_export(root, film.robot, report, VIDEO)


def test_picture_that_is_changed_a_little_is_found_if_it_should_not_be(
    stand_in: Break, film: Film, episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = export_episodes(episodes, film.robot, tmp_path / 'lerobot', LOSSLESS)
    read = stand_in.__getitem__

    def touch(self: LeRobotDataset, index: int) -> dict[str, Any]:
        frame = read(self, index)
        frame[CAMERA][0, 3, 4] = (frame[CAMERA][0, 3, 4] + 0.5) % 1.0
        return frame

    monkeypatch.setattr(stand_in, '__getitem__', touch)
    with pytest.raises(DatasetError, match=f'LeRobot reads {CAMERA} of frame 0 as at '):
        check_export(tmp_path / 'lerobot', film.robot, report, LOSSLESS)


# --- The library -----------------------------------------------------------------------------


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot.datasets.lerobot_dataset', None)
    with pytest.raises(ConfigError) as caught:
        load_library()
    message = str(caught.value)
    assert message.startswith('The LeRobot library cannot be imported (')
    assert "Install it with `pip install 'mil_ros[lerobot]'`, in an environment" in message


def test_old_library_is_refused(stand_in: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(LeRobotDataset, 'finalize')
    with pytest.raises(ConfigError, match=r'too old for its dataset format v3; expected le'):
        load_library()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (None, r'No LeRobot dataset in .*: expected meta/info\.json; give the folder that holds'),
        ('{', r'info\.json cannot be read \(JSONDecodeError'),
        ('[]', r'info\.json cannot be read \(TypeError'),
        ('{"codebase_version": "v2.1"}', r'of format v2\.1, expected v3; convert it with the scr'),
        ('{"codebase_version": "v3.0"}', r'LeRobot cannot read .*; expected a whole dataset of f'),
    ],
)
@pytest.mark.usefixtures('library')
def test_what_is_no_dataset_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / 'meta').mkdir()
        (tmp_path / 'meta/info.json').write_text(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path)


def test_frame_that_cannot_be_read_is_named(
    exported: tuple[Path, ExportReport], stand_in: Break
) -> None:
    dataset = open_dataset(exported[0])
    with pytest.raises(DatasetError, match=r'LeRobot cannot read frame 45 \(IndexError'):
        read_frame(dataset, 45)


def test_stand_in_has_the_signatures_of_the_library() -> None:
    pytest.importorskip('lerobot')
    from lerobot.datasets.lerobot_dataset import LeRobotDataset as Original

    for name in ('__init__', 'create', 'add_frame', 'save_episode', 'finalize'):
        ours = inspect.signature(getattr(LeRobotDataset, name)).parameters
        theirs = inspect.signature(getattr(Original, name)).parameters
        for parameter in ours.values():
            their = theirs[parameter.name]
            assert (parameter.default, parameter.kind) == (their.default, their.kind)
