"""The report on all evaluations: ``docs/results.md`` and its plots, made of their documents."""

from __future__ import annotations

from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import Any

from mil_ros.core.errors import ResultsError
from mil_ros.core.resources import share_dir
from mil_ros.data.dataset import write_atomically
from mil_ros.tools.statistics import wilson_interval

_KINDS: dict[str, tuple[type, ...]] = {
    'a text': (str,),
    'a whole number': (int,),
    'a number': (int, float),
    'a list': (list,),
    'an object': (dict,),
}
# What `mil evaluate --json` writes.
_KEYS = {
    'bundle': 'a text',
    'task': 'a text',
    'method': 'a text',
    'modality': 'a text',
    'shots': 'a whole number',
    'split': 'a text',
    'trials': 'a whole number',
    'successes': 'a whole number',
    'success': 'a number',
    'interval': 'a list',
    'seed': 'a whole number',
    'options': 'an object',
    'wrong_object': 'a whole number',
    'chose_nothing': 'a whole number',
    'seconds_per_trial': 'a number',
    'by_task': 'an object',
}
_KEPT = (
    'task',
    'method',
    'modality',
    'shots',
    'options',
    'trials',
    'successes',
    'seed',
    'wrong_object',
)
_AGAIN = 'run `mil evaluate` again'


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One evaluation.

    Attributes:
        path: File that it was read from.
        task: Task family.
        method: ``mil`` or the baseline's name.
        modality: ``full`` or ``video``: what of a demonstration was shown.
        shots: Demonstrations that were shown.
        options: How the policy was run otherwise than as trained.
        trials: How many there were.
        successes: How many of them succeeded.
        tasks: Held-out tasks that took turns.
        seed: Of tasks and scenes.
        wrong_object: Failures that chose another object than the shown one.
        change: In ``ablations/``: what was changed.
        count: In ``ablations/``: of meta-training steps; in ``tasks/``: of meta-training tasks; in
            ``inner_steps/``: of these.
    """

    path: Path
    task: str
    method: str
    modality: str
    shots: int
    options: dict[str, Any]
    trials: int
    successes: int
    tasks: int
    seed: int
    wrong_object: int
    change: str = ''
    count: int = 0

    @property
    def success(self) -> float:
        """Share of trials that succeeded."""
        return self.successes / self.trials

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of the success, 95 %."""
        return wilson_interval(self.successes, self.trials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All evaluations.

    Attributes:
        methods: In ``results/``: every method on every task and modality.
        ablations: In ``results/ablations/``: the method with something changed.
        tasks: In ``results/tasks/``: the method trained on fewer tasks.
        inner_steps: In ``results/inner_steps/``: the method with other numbers of them.
    """

    methods: list[Result]
    ablations: list[Result]
    tasks: list[Result]
    inner_steps: list[Result]


def write_report(docs: Path | None = None) -> list[Path]:
    """Write ``results.md`` and the plots that it shows; return what was written.

    Args:
        docs: Folder that has the documents in ``results/``; None for that of the checkout.

    Raises:
        ResultsError: If there are no results, or one is incomplete or repeats another.
    """
    # Here, since every evaluation imports this module and none of them draws.
    from mil_ros.tools.results_page import render

    docs = docs or find_docs()
    results = load_results(docs / 'results')
    plots = _draw(results, docs / 'results')
    page = docs / 'results.md'
    write_atomically(page, render(results, [plot.relative_to(docs) for plot in plots]).encode())
    return [page, *plots]


def find_docs() -> Path:
    """Return ``docs/`` of the checkout, or of the current folder if the package is installed."""
    share = share_dir()
    return (share if (share / 'pyproject.toml').is_file() else Path.cwd()) / 'docs'


def load_results(folder: Path) -> Results:
    """Read all result documents.

    Raises:
        ResultsError: If there are none, or one is incomplete or repeats another.
    """
    methods = [result for path in _list(folder) for result in _read_with_control(path)]
    if not methods:
        raise ResultsError(
            f'No results in {folder}: expected JSON files; make one with `mil evaluate '
            f'models/reach --json {folder}/reach.json`.'
        )
    results = Results(
        methods=methods,
        ablations=[_read_ablation(path) for path in _list(folder / 'ablations')],
        tasks=[_read_training_tasks(path) for path in _list(folder / 'tasks')],
        inner_steps=[_read_inner_steps(path) for path in _list(folder / 'inner_steps')],
    )
    for group in (results.methods, results.ablations, results.tasks, results.inner_steps):
        _check_unique(group)
    return results


def parse(document: Any, path: Path) -> Result:
    """Return a result document as a `Result`.

    Args:
        document: What was read.
        path: From which file, for messages.

    Raises:
        ResultsError: If keys are missing, are of another kind or contradict each other.
    """
    if not isinstance(document, dict):
        raise ResultsError(f'Result {path} is {document!r}; expected an object; {_AGAIN}.')
    if missing := [key for key in _KEYS if key not in document]:
        raise ResultsError(f'Result {path} lacks {", ".join(missing)}; {_AGAIN}.')
    for key, kind in _KEYS.items():
        if not _is(document[key], kind):
            raise ResultsError(
                f'Result {path} has {key} {document[key]!r}; expected {kind}; {_AGAIN}.'
            )
    if document['split'] != 'test':
        raise ResultsError(
            f'Result {path} is of split {document["split"]!r}; expected held-out tasks, run `mil '
            'evaluate` with --split test.'
        )
    _check_counts(document, path)
    kept = {key: document[key] for key in _KEPT}
    return Result(path=path, tasks=len(document['by_task']), **kept)


def _check_counts(document: dict[str, Any], path: Path) -> None:
    counts = [document[key] for key in ('successes', 'wrong_object', 'chose_nothing')]
    trials = document['trials']
    if trials < 1 or min(counts) < 0 or sum(counts) > trials:
        raise ResultsError(
            f'Result {path} has {counts[0]} successes, {counts[1]} of the wrong object and '
            f'{counts[2]} of none in {trials} trials; expected a trial for each; {_AGAIN}.'
        )


def _is(value: object, kind: str) -> bool:
    return isinstance(value, _KINDS[kind]) and not isinstance(value, bool)


def _list(folder: Path) -> list[Path]:
    return sorted(folder.glob('*.json'))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError as err:
        raise ResultsError(f'Result {path} is not JSON: {err}; {_AGAIN}.') from err


def _read_with_control(path: Path) -> list[Result]:
    """Return what a file says, and what it says of the same trials without adaptation."""
    document = _load(path)
    result = parse(document, path)
    control = document.get('step_size_zero')
    return [result] if control is None else [result, parse(control, path)]


def _read_ablation(path: Path) -> Result:
    document = _load(path)
    result = parse(document, path)
    change = _check_key(document, 'ablation', 'a text', path)
    count = _check_key(document, 'training_steps', 'a whole number', path)
    return replace(result, change=change, count=count)


def _read_training_tasks(path: Path) -> Result:
    document = _load(path)
    result = parse(document, path)
    return replace(result, count=_check_key(document, 'training_tasks', 'a whole number', path))


def _read_inner_steps(path: Path) -> Result:
    """Return what a file says; the option that is compared is none any more."""
    result = parse(_load(path), path)
    count = _check_key(result.options, 'inner_steps', 'a whole number', path)
    options = {key: value for key, value in result.options.items() if key != 'inner_steps'}
    return replace(result, options=options, count=count)


def _check_key(document: dict[str, Any], key: str, kind: str, path: Path) -> Any:
    value = document.get(key)
    if not _is(value, kind) or not value:
        raise ResultsError(
            f'Result {path} has {key} {value!r}; expected {kind}: it is what results in '
            f'{path.parent.name}/ differ by.'
        )
    return value


def _check_unique(results: list[Result]) -> None:
    """Refuse two results for one cell of a table or one point of a plot."""
    seen: dict[tuple[object, ...], Result] = {}
    for result in results:
        cell = (
            result.task,
            result.method,
            result.modality,
            f'{result.shots} shown',
            f'options {json.dumps(result.options, sort_keys=True)}',
            result.change,
            result.count,
        )
        if cell in seen:
            raise ResultsError(
                f'Results {seen[cell].path} and {result.path} are both of '
                f'{", ".join(str(part) for part in cell if part)}; expected one of them, remove '
                'the other.'
            )
        seen[cell] = result


def _draw(results: Results, folder: Path) -> list[Path]:
    """Draw the plots for which there are results."""
    wanted = {
        folder / 'tasks.png': (results.tasks, 'meta-training tasks', True),
        folder / 'inner_steps.png': (results.inner_steps, 'inner steps', False),
    }
    drawn = {path: plot for path, plot in wanted.items() if plot[0]}
    if not drawn:
        return []
    try:
        from mil_ros.tools.success_plots import draw_success
    except ImportError as err:
        raise ResultsError(
            f'No plots: {err}; expected matplotlib, install it with `pip install matplotlib`.'
        ) from err
    for path, (group, label, is_log) in drawn.items():
        draw_success(path, group, label, is_log=is_log)
    return list(drawn)
