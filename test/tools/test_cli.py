"""The mil command explains itself, and a mistake is a sentence, not a traceback."""

from __future__ import annotations

import argparse
import errno
import json
from pathlib import Path
import subprocess
import sys

from helpers import forbidden_folder
import pytest

from mil_ros import __version__
from mil_ros.tools import cli
from mil_ros.tools.cli import main, VERBS

pytest.importorskip('rclpy')  # some verbs talk to a graph


def exit_code(words: list[str]) -> int:
    """Return the exit code, however the command ends."""
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize('verb', VERBS)
def test_help_of_a_verb_shows_its_summary_and_an_example(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code([verb, '--help']) == 0
    shown = ' '.join(capsys.readouterr().out.split())
    summary, example = VERBS[verb]
    assert example.startswith(f'mil {verb} ')
    assert f'example: {example}' in shown
    assert summary[1:] in shown
    assert '--json' in shown


@pytest.mark.parametrize('verb', VERBS)
def test_example_of_a_verb_is_accepted(verb: str) -> None:
    words = VERBS[verb][1].split()[1:]
    assert cli.build_parser(verb).parse_args(words).verb == verb


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(['--help']) == 0
    shown = capsys.readouterr().out
    for verb, (summary, _) in VERBS.items():
        assert verb in shown
        assert summary.split()[0] in shown


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(['--version']) == 0
    assert capsys.readouterr().out == f'mil_ros {__version__}\n'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ([], 'the following arguments are required: VERB'),
        (['fly'], "invalid choice: 'fly'"),
        (['train'], 'the following arguments are required: --data, --out'),
        (['collect', '--task', 'juggle'], "invalid choice: 'juggle' (choose from"),
        (['collect', '--split', 'dev'], "invalid choice: 'dev' (choose from"),
        (['collect', '--tasks', 'many'], "invalid int value: 'many'"),
        (['collect', '--speed', '3'], 'unrecognized arguments: --speed 3'),
        (['evaluate', 'models/x', '--step-scale', 'big'], "invalid float value: 'big'"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(words) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ''


MISTAKES = {
    'evaluate without a bundle': (
        ['evaluate', 'TMP/none'],
        'No policy bundle at TMP/none: expected a folder with manifest.json',
    ),
    'evaluate nothing': (
        ['evaluate', 'TMP/none', '--trials', '0'],
        'Got --trials 0 --tasks 74 --workers 2; expected at least 1 of each.',
    ),
    'evaluate no policy': (
        ['evaluate'],
        'No policy to evaluate; expected a bundle such as models/reach, a checkpoint, or one of ',
    ),
    'demo without a bundle': (
        ['demo', '--bundle', 'TMP/none'],
        'No policy bundle at TMP/none: expected a folder with manifest.json',
    ),
    'demo of nothing': (['demo', '--episodes', '0'], 'Got --episodes 0; expected at least 1.'),
    'demo with another robot': (
        ['demo', '--robot', 'toaster'],
        "No robot file 'toaster'; expected a path to a .yaml file or one of ",
    ),
    'collect nothing': (
        ['collect', '--tasks', '0', '--out', 'TMP/data'],
        'Got --tasks 0 --demos 8 --workers 2; expected at least 1 task, 2 demos',
    ),
    'collect single demonstrations': (
        ['collect', '--tasks', '5', '--demos', '1', '--out', 'TMP/data'],
        'Got --tasks 5 --demos 1 --workers 2; expected',
    ),
    'collect with another robot': (
        ['collect', '--robot', 'toaster', '--out', 'TMP/data'],
        "No robot file 'toaster'",
    ),
    'collect into a file': (['collect', '--tasks', '1', '--out', 'TMP/file'], 'TMP/file'),
    'train without a dataset': (
        ['train', '--data', 'TMP/none', '--out', 'TMP/run'],
        'No dataset in TMP/none: expected dataset.json; collect one with `mil collect`.',
    ),
    'export without a checkpoint': (
        ['export', 'TMP/none.safetensors', '--out', 'TMP/bundle'],
        'No checkpoint TMP/none.safetensors; expected a file written by `mil train`.',
    ),
}


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake must be found before any process is started."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError('started processes')

    for name in ('mil_ros.tools.collect', 'mil_ros.tools.evaluate'):
        monkeypatch.setattr(f'{name}.multiprocessing.get_context', fail)


@pytest.mark.usefixtures('no_processes')
@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_one_line_and_exit_code_2(
    mistake: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    words, message = MISTAKES[mistake]
    words = [word.replace('TMP', str(tmp_path)) for word in words]
    assert exit_code(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ''
    assert shown.err.count('\n') == 1
    assert shown.err.startswith(f'mil {words[0]}: ')
    assert message.replace('TMP', str(tmp_path)) in shown.err


def test_mistake_on_the_command_line_of_a_shell_shows_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, '-m', 'mil_ros.tools.cli', 'train', '--data', str(tmp_path)]
    command += ['--out', str(tmp_path / 'run')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith(f'mil train: No dataset in {tmp_path}: ')
    assert done.stderr.count('\n') == 1
    assert done.stdout == ''


def test_interrupt_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr('mil_ros.tools.export.run', interrupt)
    assert exit_code(['export', 'x', '--out', str(tmp_path)]) == 130
    assert capsys.readouterr().err == 'mil export: stopped by Ctrl-C.\n'


@pytest.mark.parametrize(
    'bug',
    [
        ZeroDivisionError(),
        FileNotFoundError(errno.ENOENT, 'No such file or directory', 'ours.txt'),
        OSError(errno.ENOSPC, 'No space left on device'),  # who knows where
    ],
)
def test_bug_is_not_disguised_as_a_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bug: Exception
) -> None:
    def fail(*_: object) -> None:
        raise bug

    monkeypatch.setattr('mil_ros.tools.export.run', fail)
    with pytest.raises(type(bug)):
        exit_code(['export', 'x', '--out', str(tmp_path)])


@pytest.mark.parametrize('mode', [0o555, 0o000], ids=['not to write', 'not to look into'])
def test_folder_without_permission_is_one_line_whatever_the_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], mode: int
) -> None:
    def write(args: argparse.Namespace) -> int:
        (args.out / 'bundle').mkdir()
        return 0

    monkeypatch.setattr('mil_ros.tools.export.run', write)
    with forbidden_folder(mode) as folder:
        assert exit_code(['export', 'x', '--out', str(folder)]) == 2
    assert capsys.readouterr().err == (
        f'mil export: Cannot use {folder}/bundle (Permission denied); expected a path that this '
        'user may write to, on a disk with free space, choose another.\n'
    )


def test_result_that_cannot_be_written_is_printed_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mil_ros.core.errors import ConfigError
    from mil_ros.tools.output import print_json

    (tmp_path / 'file').write_text('in the way')
    message = (
        r'^Cannot write .*file/a\.json \(.*\); expected a file in a writable folder, choose an'
    )
    with pytest.raises(ConfigError, match=message):
        print_json({'success': 0.95}, tmp_path / 'file' / 'a.json')
    assert json.loads(capsys.readouterr().out) == {'success': 0.95}


def test_json_result_is_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from mil_ros.tools.output import print_json

    document = {'success': 0.95, 'interval': [0.91, 0.97]}
    print_json(document, tmp_path / 'new' / 'result.json')
    assert json.loads((tmp_path / 'new' / 'result.json').read_text()) == document
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize('verb', ['collect', 'demo', 'train'])
def test_negative_seed_is_refused_before_anything_starts(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    required = ['--data', 'x', '--out', 'y'] if verb == 'train' else []
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, *required, '--seed', '-1'])
    assert ended.value.code == 2
    assert "got '-1', expected a whole number of 0 or more" in capsys.readouterr().err
