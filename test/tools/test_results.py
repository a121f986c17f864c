"""The report says what the documents say, refuses what contradicts itself, and invents nothing."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import re
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from mil_ros.core.errors import ResultsError
from mil_ros.tools import results
from mil_ros.tools.cli import main
from mil_ros.tools.results import write_report
from mil_ros.tools.statistics import wilson_interval

Write = Callable[..., Path]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    return tmp_path / 'docs'


@pytest.fixture
def write(docs: Path) -> Write:
    """Write a result document below ``results/``; keys replace those of a usual one."""

    def write(name: str, **changes: Any) -> Path:
        document = {
            'bundle': 'models/push',
            'task': 'push',
            'method': 'mil',
            'modality': 'full',
            'shots': 1,
            'split': 'test',
            'trials': 200,
            'successes': 180,
            'success': 0.9,
            'interval': [0.85, 0.94],
            'seed': 3,
            'options': {},
            'wrong_object': 5,
            'chose_nothing': 15,
            'seconds_per_trial': 0.5,
            'by_task': {'0': '90/100', '1': '90/100'},
        }
        path = docs / 'results' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**document, **changes}))
        return path

    return write


def read_page(docs: Path) -> str:
    write_report(docs)
    return (docs / 'results.md').read_text()


def read_rows(page: str, start: str) -> list[list[str]]:
    """Return the cells of the lines of tables whose first cell begins so."""
    lines = [line for line in page.splitlines() if line.startswith(f'| {start}')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


# --- What it says ----------------------------------------------------------------------------


def test_row_has_success_interval_trials_tasks_and_seed(docs: Path, write: Write) -> None:
    write('lstm.json', method='lstm')
    low, high = wilson_interval(180, 200)
    assert read_rows(read_page(docs), 'LSTM')[0][:7] == [
        'LSTM',
        '90.0 %',
        f'{100 * low:.1f} to {100 * high:.1f}',
        '2.5 %',
        '200',
        '2',
        '3',
    ]


def test_page_says_what_writes_it(docs: Path, write: Write) -> None:
    write('push.json')
    assert 'Written by `mil evaluate --table`' in read_page(docs).splitlines()[0]


def test_tables_are_by_task_and_modality_and_ours_comes_first_in_bold(
    docs: Path, write: Write
) -> None:
    write('a.json', task='place', method='random', successes=0)
    write('b.json', task='reach', method='bc', successes=90)
    write('c.json', task='reach')
    write('d.json', task='reach', modality='video')
    write('e.json', task='reach', options={'step_scale': 0.0}, successes=50)
    write('f.json', task='reach', shots=5)
    page = read_page(docs)
    shape = re.findall(r'^(#+ .*|\| [^:].*? \|)', page, re.MULTILINE)
    assert shape == [
        '# Results',
        '## Reach',
        '### Shown: video, states and actions',
        '| Method |',
        '| **MIL** |',
        '| **MIL, 5 demonstrations** |',
        '| MIL, inner step left out |',
        '| behaviour cloning, no adaptation |',
        '### Shown: video alone',
        '| Method |',
        '| **MIL** |',
        '## Place',
        '### Shown: video, states and actions',
        '| Method |',
        '| random |',
    ]


@pytest.mark.parametrize(
    ('method', 'options', 'name'),
    [
        ('mil', {'inner_steps': 1}, 'MIL, 1 inner step'),
        ('mil', {'inner_steps': 3, 'step_scale': 0.5}, 'MIL, 3 inner steps, step sizes times 0.5'),
        ('finetune', {'finetune': 20}, 'fine-tuning on the demonstration, 20 steps of Adam'),
        ('diffusion', {'temperature': 2}, 'diffusion, temperature 2'),
    ],
)
def test_method_is_named_with_how_it_was_run(
    docs: Path, write: Write, method: str, options: dict[str, Any], name: str
) -> None:
    write('a.json', method=method, options=options)
    assert f'| {name} | 90.0 % |' in read_page(docs)


def test_control_in_the_same_file_is_a_row_of_its_own(docs: Path, write: Write) -> None:
    control = json.loads(write('push.json').read_text())
    control |= {'successes': 60, 'options': {'step_scale': 0.0}}
    write('push.json', step_size_zero=control)
    page = read_page(docs)
    assert read_rows(page, 'MIL, inner step left out')[0][1] == '30.0 %'
    assert read_rows(page, '**MIL**')[0][1] == '**90.0 %**'


def test_paper_stands_beside_the_same_method_alone_and_names_its_source(
    docs: Path, write: Write
) -> None:
    write('mil.json')
    write('five.json', shots=5)
    write('lstm.json', method='lstm')
    write('bc.json', method='bc')
    write('video.json', modality='video')
    page = read_page(docs)
    quoted = {row[0]: row[7] for row in read_rows(page, '')[1:] if len(row) == 8}
    assert quoted['LSTM'] == '78.38 %'
    assert quoted['**MIL, 5 demonstrations**'] == ''
    assert quoted['behaviour cloning, no adaptation'] == ''
    assert [row[7] for row in read_rows(page, '**MIL**')] == ['85.81 %', '66.44 %']
    assert 'Paper, another simulator [^paper]' in page
    assert page.count('[^paper]: ') == 1


def test_task_without_figures_of_the_paper_has_no_column_for_them(
    docs: Path, write: Write
) -> None:
    write('reach.json', task='reach')
    assert 'paper' not in read_page(docs).lower()


def test_ablations_are_compared_with_what_was_trained_as_long(docs: Path, write: Write) -> None:
    def write_ablation(name: str, change: str, steps: int, **more: Any) -> None:
        write(f'ablations/{name}.json', ablation=change, training_steps=steps, **more)

    write('push.json')
    write_ablation('a', 'nothing', 900, successes=150)
    write_ablation('b', 'context=4', 900, successes=120)
    write_ablation('c', 'context=4', 4500, successes=190, wrong_object=0, chose_nothing=0)
    write_ablation('d', 'shots=5', 900, shots=5, successes=160)
    write_ablation('e', 'context=4', 900, task='reach', successes=170)
    rows = read_rows(read_page(docs), 'reach') + read_rows(read_page(docs), 'push')
    assert [(row[0], row[2], row[3], row[4], row[-1]) for row in rows] == [
        ('reach', '`context=4`', '900', '85.0 %', ''),
        ('push', '`context=4`', '4500', '95.0 %', ''),
        ('push', '`shots=5`', '900', '80.0 %', '+5.0'),
        ('push', 'nothing', '900', '75.0 %', ''),
        ('push', '`context=4`', '900', '60.0 %', '-15.0'),
    ]


def test_same_documents_give_the_same_bytes(docs: Path, write: Write) -> None:
    write('push.json')
    write('tasks/a.json', training_tasks=100)
    first = [path.read_bytes() for path in write_report(docs)]
    assert [path.read_bytes() for path in write_report(docs)] == first


# --- Plots -----------------------------------------------------------------------------------


def test_plots_are_drawn_and_shown_where_there_are_results_for_them(
    docs: Path, write: Write
) -> None:
    write('push.json')
    assert write_report(docs) == [docs / 'results.md']
    assert '.png' not in (docs / 'results.md').read_text()
    for count in (100, 400):
        write(f'tasks/{count}.json', training_tasks=count, successes=count // 4)
    write('inner_steps/2.json', options={'inner_steps': 2})
    written = write_report(docs)
    plots = [docs / 'results' / name for name in ('tasks.png', 'inner_steps.png')]
    assert written == [docs / 'results.md', *plots]
    page = (docs / 'results.md').read_text()
    for plot in plots:
        assert f'](results/{plot.name})' in page
        assert cv2.imread(str(plot)).shape[0] > 300


def test_plot_shows_each_task_and_each_method(docs: Path, write: Write) -> None:
    write('push.json')
    write('tasks/a.json', training_tasks=100)
    write_report(docs)
    alone = cv2.imread(str(docs / 'results' / 'tasks.png'))
    write('tasks/b.json', training_tasks=100, task='reach')
    write('tasks/c.json', training_tasks=100, method='lstm', successes=60)
    write_report(docs)
    both = cv2.imread(str(docs / 'results' / 'tasks.png'))
    assert both.shape[1] == pytest.approx(2 * alone.shape[1], rel=0.01)
    blue, orange = np.array([0xB2, 0x72, 0x00]), np.array([0x00, 0x5E, 0xD5])
    for image, colour, is_there in ((alone, blue, True), (alone, orange, False)):
        assert (image == colour).all(axis=2).any() == is_there
    assert (both == orange).all(axis=2).any()


def test_missing_plotting_library_is_a_sentence(
    docs: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    write('push.json')
    write('tasks/a.json', training_tasks=100)
    monkeypatch.setitem(sys.modules, 'mil_ros.tools.success_plots', None)
    with pytest.raises(ResultsError, match=r'No plots: .*; expected matplotlib, install it with'):
        write_report(docs)


# --- Mistakes --------------------------------------------------------------------------------


def test_no_results_come_with_how_to_make_them(docs: Path) -> None:
    with pytest.raises(ResultsError, match=r'No results in .*results: expected JSON .* `mil eval'):
        write_report(docs)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'trials': '444'}, r"a\.json has trials '444'; expected a whole number; run `mil ev"),
        ({'successes': True}, r'a\.json has successes True; expected a whole number;'),
        ({'options': []}, r'a\.json has options \[\]; expected an object;'),
        ({'task': None}, r'a\.json has task None; expected a text;'),
        ({'split': 'train'}, r"a\.json is of split 'train'; expected held-out tasks, run"),
        ({'trials': 0, 'successes': 0}, r'0 successes, .* in 0 trials; expected a trial for each'),
        ({'trials': 199}, r'180 successes, 5 of the wrong object and 15 of none in 199 trials;'),
        ({'wrong_object': -1}, r'-1 of the wrong object'),
        ({'step_size_zero': 3}, r'a\.json is 3; expected an object; run'),
    ],
)
def test_document_that_makes_no_sense_is_refused_by_name(
    docs: Path, write: Write, changes: dict[str, Any], message: str
) -> None:
    write('a.json', **changes)
    with pytest.raises(ResultsError, match=message):
        write_report(docs)


def test_missing_keys_are_named(docs: Path, write: Write) -> None:
    path = write('a.json')
    document = json.loads(path.read_text())
    del document['seed'], document['by_task']
    path.write_text(json.dumps(document))
    with pytest.raises(ResultsError, match=r'a\.json lacks seed, by_task; run `mil evaluate` ag'):
        write_report(docs)


@pytest.mark.parametrize('text', ['', '{"task": ', 'NaN'])
def test_file_that_is_no_document_is_refused_by_name(docs: Path, write: Write, text: str) -> None:
    write('a.json').write_text(text)
    with pytest.raises(ResultsError, match=r'a\.json is (not JSON: .*|nan; expected an object);'):
        write_report(docs)


def test_two_documents_for_one_cell_are_refused_with_both_names(docs: Path, write: Write) -> None:
    write('a.json')
    write('b.json', seed=4, options={'step_scale': 0.0})
    write('c.json', seed=5)
    message = r'a\.json and \S*c\.json are both of push, mil, full, 1 shown, options \{\}; expect'
    with pytest.raises(ResultsError, match=message):
        write_report(docs)


@pytest.mark.parametrize(
    ('name', 'changes', 'message'),
    [
        ('ablations/a.json', {}, r'a\.json has ablation None; expected a text: .* in ablations/'),
        ('tasks/a.json', {'training_tasks': '9'}, r"training_tasks '9'; expected a whole number:"),
        ('inner_steps/a.json', {}, r'has inner_steps None; expected a whole number: it is what'),
    ],
)
def test_document_that_lacks_what_its_folder_compares_is_refused(
    docs: Path, write: Write, name: str, changes: dict[str, Any], message: str
) -> None:
    write('push.json')
    write(name, **changes)
    with pytest.raises(ResultsError, match=message):
        write_report(docs)


def test_two_documents_for_one_point_are_refused(docs: Path, write: Write) -> None:
    write('push.json')
    write('tasks/a.json', training_tasks=100)
    write('tasks/b.json', training_tasks=200)
    write('tasks/c.json', training_tasks=100)
    with pytest.raises(
        ResultsError, match=r'a\.json and \S*c\.json are both of .*, 100; expected'
    ):
        write_report(docs)


# --- The command -----------------------------------------------------------------------------


def test_command_writes_into_the_docs_of_the_checkout(
    docs: Path,
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write('push.json')
    (docs.parent / 'pyproject.toml').write_text('')
    monkeypatch.setattr(results, 'share_dir', lambda: docs.parent)
    assert main(['evaluate', '--table']) == 0
    assert json.loads(capsys.readouterr().out) == {'written': [str(docs / 'results.md')]}


def test_installed_command_writes_into_the_current_folder(
    docs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, 'share_dir', lambda: tmp_path / 'install' / 'share' / 'mil_ros')
    monkeypatch.chdir(tmp_path)
    assert results.find_docs() == docs


def test_command_without_results_is_one_line_and_exit_code_2(
    docs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, 'find_docs', lambda: docs)
    assert main(['evaluate', '--table']) == 2
    assert capsys.readouterr().err.startswith(f'mil evaluate: No results in {docs}/results: ')
