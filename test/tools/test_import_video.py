"""`mil import-video` on the command line."""

from __future__ import annotations

import json
import os
from pathlib import Path

from clips import set_durations, write_pictures, write_video
import pytest

from mil_ros.core.robot import load_robot
from mil_ros.data.episode import read_provenance
from mil_ros.data.video import load_video
from mil_ros.data.video_import import Crop, ImportReport
from mil_ros.tools.cli import main
from mil_ros.tools.import_video import find_warnings


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / 'cup.mp4', 30, rate_hz=20.0, width=320, height=200)


def exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


def test_video_becomes_an_episode(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = tmp_path / 'new' / 'cup', tmp_path / 'cup.json'
    words = ['import-video', str(clip), '--out', str(out), '--task', 'the cup']
    assert exit_code([*words, '--json', str(file)]) == 0
    shown = capsys.readouterr()
    summary = json.loads(shown.out)
    assert json.loads(file.read_text()) == summary
    assert summary == {
        'episode': str(out),
        'frames': 30,
        'duration_s': 1.45,
        'steps': 15,
        'repeated_steps': 0,
        'longest_still_s': 0.05,
        'crop': '26,0,267,200',
        'warnings': [],
    }
    assert 'importing' in shown.err
    provenance = read_provenance(out)
    assert provenance['modality'] == 'video'
    assert (provenance['task'], provenance['robot']) == ('the cup', 'sim_panda')
    assert (provenance['source'], provenance['source_times']) == ('cup.mp4', 'as in the file')
    assert len(provenance['source_sha256']) == 64
    assert load_video(out, load_robot('sim_panda')).shape == (15, 60, 80, 3)


def test_first_stamp_is_when_the_file_was_written(clip: Path, tmp_path: Path) -> None:
    from rosbags.rosbag2 import Reader

    written_s = 1_600_000_000
    for name, mtime_s, start_s in (('a', written_s, written_s), ('b', 0, 1)):  # never stamp 0
        os.utime(clip, (mtime_s, mtime_s))
        assert exit_code(['import-video', str(clip), '--out', str(tmp_path / name)]) == 0
        with Reader(tmp_path / name) as reader:
            assert reader.start_time == start_s * 10**9


def test_options_reach_the_import(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / 'cup'
    options = ['--crop', '10,20,160,120', '--rate-hz', '10', '--robot', 'panda']
    assert exit_code(['import-video', str(clip), '--out', str(out), *options]) == 0
    assert load_video(out, load_robot('panda')).shape == (30, 60, 80, 3)
    assert read_provenance(out)['source_times'] == '10 Hz, as given'


def test_folder_of_pictures_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pictures(tmp_path / 'frames', 5, width=160, height=120)
    words = ['import-video', str(folder), '--out', str(tmp_path / 'cup'), '--rate-hz', '10']
    assert exit_code(words) == 0
    assert json.loads(capsys.readouterr().out)['steps'] == 5


def test_what_the_clip_lacks_is_told(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    set_durations(clip, [100] * 10 + [700] + [100] * 19)
    assert exit_code(['import-video', str(clip), '--out', str(tmp_path / 'cup')]) == 0
    shown = capsys.readouterr()
    message = 'The video has no new frame for up to 0.70 s, expected at most 0.5 s; what happened'
    assert f'mil import-video: {message}' in shown.err
    (warning,) = json.loads(shown.out)['warnings']
    assert warning.startswith(message)


@pytest.mark.parametrize(
    ('changes', 'warning'),
    [
        ({}, None),
        ({'announced': 101}, None),
        ({'announced': 150}, 'The video ends after 100 frames, expected 150 as it announces; it '),
        ({'repeated': 3}, '3 of 100 steps repeat the frame before; the policy looks 10 times a s'),
        ({'longest_still_s': 0.6, 'repeated': 5}, 'The video has no new frame for up to 0.60 s'),
    ],
)
def test_warnings(changes: dict[str, float], warning: str | None) -> None:
    fine = {'frames': 100, 'announced': 100, 'steps': 100, 'repeated': 0, 'longest_still_s': 0.1}
    report = ImportReport(duration_s=10.0, crop=Crop(0, 0, 1, 1), **{**fine, **changes})
    warnings = find_warnings(report, 10.0)
    assert len(warnings) == (warning is not None)
    if warning is not None:
        assert warnings[0].startswith(warning)


MISTAKES = {
    'no file': (['TMP/none.mp4'], 'No video at TMP/none.mp4; expected a file ending in .avi'),
    'a document': (['TMP/notes.txt'], "notes.txt ends in '.txt'; expected one of .avi"),
    'damaged': (['TMP/damaged.mp4'], 'damaged.mp4 cannot be decoded: it is damaged, or OpenCV'),
    'no pictures': (['TMP/empty'], 'Folder TMP/empty holds no pictures; expected files ending'),
    'no robot': (['TMP/cup.mp4', '--robot', 'toaster'], "No robot file 'toaster'; expected"),
    'crop outside': (
        ['TMP/cup.mp4', '--crop', '200,0,160,120'],
        'Crop 200,0,160,120 reaches outside the video, which is 320x200; expected',
    ),
    'folder in use': (['TMP/cup.mp4', '--out', 'TMP/empty'], 'TMP/empty exists already; expected'),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(
    mistake: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'notes.txt').touch()
    (tmp_path / 'damaged.mp4').write_bytes(clip.read_bytes()[:1000])
    (tmp_path / 'empty').mkdir()
    words, message = MISTAKES[mistake]
    words = [word.replace('TMP', str(tmp_path)) for word in words]
    if '--out' not in words:
        words += ['--out', str(tmp_path / 'out')]
    assert exit_code(['import-video', *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ''
    assert f'mil import-video: {message}'.replace('TMP', str(tmp_path)) in shown.err
    assert 'Traceback' not in shown.err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--crop', '1,2,3'], "argument --crop: got '1,2,3', expected x,y,width,height in pixels"),
        (['--crop', 'a,b,c,d'], "argument --crop: got 'a,b,c,d', expected x,y,width,height"),
        (['--rate-hz', '0'], "argument --rate-hz: got '0', expected a rate above 0, at most 1000"),
        (['--rate-hz', 'fast'], "argument --rate-hz: got 'fast', expected a rate above 0"),
        (['--rate-hz', 'nan'], "argument --rate-hz: got 'nan', expected a rate above 0"),
    ],
)
def test_option_that_means_nothing_is_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(['import-video', 'cup.mp4', '--out', 'cup', *words]) == 2
    assert message in capsys.readouterr().err
