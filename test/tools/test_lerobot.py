"""`mil export-lerobot` and `mil import-lerobot` on the command line."""

from __future__ import annotations

import json
from pathlib import Path
import sys
from typing import Any

from lerobot_stand_in import LeRobotDataset
import numpy as np
import pytest
from recordings import Film
import yaml

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.dataset import Dataset
from mil_ros.data.episode import load_demo
from mil_ros.tools.cli import main


@pytest.fixture(scope='module')
def robot_file(robot: RobotDescription, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated arm with the camera of `film`."""
    from mil_ros.core.resources import share_dir

    document = yaml.safe_load((share_dir() / 'config/robots/sim_panda.yaml').read_text())
    document['camera'] |= {'width': 160, 'height': 120}
    path = tmp_path_factory.mktemp('robots') / 'arm.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope='module')
def episodes(film: Film, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('episodes')
    for number in range(4):
        film.write(folder / f'{number}', task=f'cup {number % 2}')
    film.write(folder / 'dropped', outcome='failure')
    return folder


def exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def export(episodes: Path, robot_file: Path, out: Path, *options: str) -> int:
    words = ['export-lerobot', str(episodes), '--out', str(out), '--robot', str(robot_file)]
    return exit_code([*words, *options])


@pytest.mark.usefixtures('library')
def test_episodes_go_out_and_come_back(
    episodes: Path, robot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / 'new' / 'cups', tmp_path / 'cups.json'
    assert export(episodes, robot_file, out, '--lossless', '--json', str(file)) == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert json.loads(file.read_text()) == summary
    size = summary.pop('bytes')
    assert size == sum(path.stat().st_size for path in out.rglob('*') if path.is_file())
    dropped = str(episodes / 'dropped')
    assert summary == {
        'out': str(out),
        'repo_id': 'local/cups',
        'episodes': 4,
        'frames': 60,
        'tasks': {'cup 0': 2, 'cup 1': 2},
        'lowest_psnr_db': None,
        'skipped': {dropped: 'it is marked as a failure'},
    }
    assert f'mil export-lerobot: Left out {dropped}: it is marked as a failure' in shown.err
    assert 'exporting' in shown.err
    assert 'reading back' in shown.err
    assert list(out.parent.iterdir()) == [out]

    data = tmp_path / 'data'
    words = ['import-lerobot', str(out), '--out', str(data), '--robot', str(robot_file)]
    assert exit_code([*words, '--demos', '2', '--steps', '15']) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        'out': str(data),
        'tasks': ['cup 0', 'cup 1'],
        'demos': 2,
        'camera': 'observation.images.camera',
        'crop': '0,0,160,120',
        'action': 'velocity',
        'unused': [],
        'skipped': {},
    }
    demo = load_demo(episodes / '3', load_robot(robot_file))
    task = Dataset(data).load(1)
    np.testing.assert_array_equal(task.images[1], demo.images)
    np.testing.assert_array_equal(task.joint_velocities[1], demo.joint_velocities)


@pytest.mark.usefixtures('stand_in')
def test_options_reach_the_export(
    episodes: Path, robot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'cups'
    out.mkdir()
    options = ['--policy-size', '--include-rejected', '--repo-id', 'lab/cups']
    assert export(episodes, robot_file, out, *options) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary['repo_id'], summary['episodes'], summary['skipped']) == ('lab/cups', 5, {})
    assert 20.0 < summary['lowest_psnr_db'] < 60.0  # a video loses something
    features = json.loads((out / 'meta/info.json').read_text())['features']
    assert features['observation.images.camera']['dtype'] == 'video'
    assert features['observation.images.camera']['shape'] == [60, 80, 3]


@pytest.mark.usefixtures('stand_in')
def test_what_the_import_leaves_out_is_told(
    episodes: Path, robot_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'cups'
    assert export(episodes, robot_file, out, '--include-rejected') == 0
    words = ['import-lerobot', str(out), '--out', str(tmp_path / 'data'), '--demos', '2']
    assert exit_code([*words, '--robot', str(robot_file)]) == 0
    shown = capsys.readouterr()
    message = "Left out task 'reach #ff8000': has 1 demonstrations of 2"
    assert f'mil import-lerobot: {message}' in shown.err


def test_dataset_that_reads_back_wrongly_is_not_kept(
    stand_in: type[LeRobotDataset],
    episodes: Path,
    robot_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = stand_in.__getitem__

    def swap_joints(self: LeRobotDataset, index: int) -> dict[str, Any]:
        frame = read(self, index)
        return frame | {'action': frame['action'].flip(0)}

    monkeypatch.setattr(stand_in, '__getitem__', swap_joints)
    assert export(episodes, robot_file, tmp_path / 'new' / 'cups') == 2
    shown = capsys.readouterr()
    assert 'mil export-lerobot: LeRobot reads action of frame 0 as ' in shown.err
    assert shown.out == ''
    assert list((tmp_path / 'new').iterdir()) == []


def test_library_is_missed_before_anything_is_read(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot.datasets.lerobot_dataset', None)
    (tmp_path / 'cups/meta').mkdir(parents=True)
    (tmp_path / 'cups/meta/info.json').write_text('{"codebase_version": "v3.0"}')
    for words in (
        ['export-lerobot', str(tmp_path / 'none'), '--out', str(tmp_path / 'new/out')],
        ['import-lerobot', str(tmp_path / 'cups'), '--out', str(tmp_path / 'new/out')],
    ):
        assert exit_code(words) == 2
        shown = capsys.readouterr()
        message = f'mil {words[0]}: The LeRobot library cannot be imported ('
        assert shown.err.splitlines()[-1].startswith(message)
        assert "Install it with `pip install 'mil_ros[lerobot]'`" in shown.err
        assert not (tmp_path / 'new').exists()


MISTAKES = {
    'export to where something is': (
        ['export-lerobot', 'TMP/full', '--out', 'TMP/full'],
        'TMP/full exists already; expected a new or empty folder as --out.',
    ),
    'export nothing': (
        ['export-lerobot', 'TMP/none', '--out', 'TMP/out'],
        'No episode below TMP/none; expected rosbag2 folders',
    ),
    'import nothing': (
        ['import-lerobot', 'TMP/none', '--out', 'TMP/out'],
        'No LeRobot dataset in TMP/none: expected meta/info.json; give the folder that',
    ),
    'import single demonstrations': (
        ['import-lerobot', 'TMP/none', '--out', 'TMP/out', '--demos', '1'],
        'Got --steps 40 --demos 1; expected at least 2 of each.',
    ),
    'import actions of a third kind': (
        ['import-lerobot', 'TMP/none', '--out', 'TMP/out', '--action-is', 'torque'],
        "argument --action-is: invalid choice: 'torque' (choose from",
    ),
}


@pytest.mark.usefixtures('stand_in')
@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_a_sentence(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'file').touch()
    words, message = MISTAKES[mistake]
    assert exit_code([word.replace('TMP', str(tmp_path)) for word in words]) == 2
    assert message.replace('TMP', str(tmp_path)) in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
