"""mil inspect: figures, pictures, lists and repair, and a sentence where that is not possible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serialised import IMAGE, JOINT_STATE, make_image, make_joints, MS, START_NS

from mil_ros.data.baseline import count_with_rosbags
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.tools.cli import main

GAP_MS = range(400, 700)
QUALITY = json.dumps({'verdict': 'reject', 'reasons': ['/camera [odd] stalled.']})


def record(path: Path, **provenance: str) -> Path:
    writer = EpisodeWriter(path, {'/camera': IMAGE, '/joint_states': JOINT_STATE}, provenance)
    for ms in range(0, 1500, 10):
        ns = START_NS + ms * MS
        writer.write('/joint_states', make_joints(ns, ('a', 'b'), np.sin(ms / 300)), ns)
        if ms % 50 == 0 and ms not in GAP_MS:
            writer.write('/camera', make_image(ns), ns)
        if ms % 100 == 0:
            writer.flush()
    writer.close()
    return path


@pytest.fixture
def episode(tmp_path: Path) -> Path:
    about = {'task': 'reach [red]', 'verdict': 'reject', 'outcome': 'success'}
    about['action_source'] = 'measured'
    return record(tmp_path / 'all' / 'cup', **about, quality=QUALITY)


def inspect(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, Any, str]:
    """Run the verb; return exit code, what machines get and what people see."""
    code = main(['inspect', *map(str, words)])
    shown = capsys.readouterr()
    return code, json.loads(shown.out) if shown.out else None, ' '.join(shown.err.split())


def test_an_episode_is_shown(episode: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, document, shown = inspect(capsys, episode)
    assert code == 1, 'it was rejected'
    assert document['streams']['/joint_states']['count'] == 150
    assert document['streams']['/camera']['max_gap_s'] == pytest.approx(0.35)
    assert document['gaps']['/camera'] == [pytest.approx([0.35, 0.7], abs=0.001)]
    assert document['provenance']['task'] == 'reach [red]'
    assert document['provenance']['action_source'] == 'measured'
    assert 'action │ measured' in shown
    assert document['quality']['verdict'] == 'reject'
    for words in ('reach [red]', 'success', '/camera [odd] stalled.', '░', '/joint_states'):
        assert words in shown


def test_pictures_are_written_beside_the_messages(
    episode: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document, _ = inspect(capsys, episode)
    names = {'timeline.png', 'contact_sheet.png', 'joints_joint_states.png'}
    assert {Path(picture).name for picture in document['pictures']} == names
    for name in names:
        assert (episode / name).stat().st_size > 1000
    assert count_with_rosbags(episode), 'pictures must not make the bag unreadable'


def test_pictures_go_where_they_are_wanted_or_nowhere(
    episode: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspect(capsys, episode, '--out', tmp_path / 'pictures')
    assert len(list((tmp_path / 'pictures').iterdir())) == 3
    _, document, _ = inspect(capsys, episode, '--no-pictures')
    assert document['pictures'] == []
    assert list(episode.glob('*.png')) == []


def test_figures_go_into_a_file(
    episode: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, document, _ = inspect(capsys, episode, '--no-pictures', '--json', tmp_path / 'a.json')
    assert json.loads((tmp_path / 'a.json').read_text()) == document


def test_an_accepted_episode_is_a_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, _ = inspect(capsys, record(tmp_path / 'cup', verdict='accept'), '--no-pictures')
    assert code == 0


def test_a_folder_is_listed(episode: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(episode.parent / 'apple', task='push', verdict='accept', operator='Ada')
    code, document, shown = inspect(capsys, episode.parent)
    assert code == 0
    assert [Path(e['path']).name for e in document['episodes']] == ['apple', 'cup']
    assert document['episodes'][0]['messages'] == 174
    assert '2 episodes in' in shown
    for words in ('apple', 'push', 'Ada', 'accept', 'reject'):
        assert words in shown


def cut(episode: Path) -> None:
    (file,) = episode.glob('*.mcap')
    file.write_bytes(file.read_bytes()[:-20_000])
    (episode / 'metadata.yaml').unlink()


def test_an_episode_that_was_cut_off_is_listed_shown_and_repaired(
    episode: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(episode)
    code, document, shown = inspect(capsys, episode.parent)
    assert code == 1
    assert document['episodes'][0]['fault'] == 'was never finished'
    assert 'Restore what was cut off with `mil inspect --repair EPISODE`.' in shown

    code, document, shown = inspect(capsys, episode, '--no-pictures')
    assert code == 1
    assert document['streams']['/joint_states']['count'] < 150
    assert 'mil inspect --repair' in shown

    code, document, shown = inspect(capsys, episode, '--repair')
    assert code == 0
    assert document['counts'] == count_with_rosbags(episode)
    assert shown.startswith('Restored ')
    assert document['was_whole'] is False


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['TMP/none'], 'No folder TMP/none; expected an episode (a rosbag2 folder) or a folder'),
        (['TMP'], 'No episode in TMP; expected rosbag2 folders'),
        (['TMP', '--repair'], 'TMP holds 0 MCAP files, expected one'),
    ],
)
def test_mistakes_are_sentences(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    code, document, shown = inspect(capsys, *(w.replace('TMP', str(tmp_path)) for w in words))
    assert code == 2
    assert document is None
    assert shown.startswith(f'mil inspect: {message.replace("TMP", str(tmp_path))}')
