"""The text of ``docs/results.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mil_ros.tools.contenders import UNCHANGED
from mil_ros.tools.results import Result, Results

_TASKS = ('reach', 'push', 'place')
_MODALITIES = {'full': 'video, states and actions', 'video': 'video alone'}
_METHODS = {
    'mil': 'MIL',
    'finetune': 'fine-tuning on the demonstration',
    'lstm': 'LSTM',
    'contextual': 'contextual (final frame)',
    'bc': 'behaviour cloning, no adaptation',
    'align-and-replay': 'align and replay (scripted)',
    'replay': 'replay of the demonstration',
    'random': 'random',
    'expert': 'the expert, which is told where everything is',
}
_OPTIONS: dict[str, Callable[[float], str]] = {
    'step_scale': lambda x: f'step sizes times {x:g}' if x else 'inner step left out',
    'inner_steps': lambda x: f'{x:g} inner step' + ('s' if x != 1 else ''),
    'finetune': lambda x: f'{x:g} steps of Adam',
}
# Success in percent as quoted by the source that the footnote names.
_PAPER = {
    ('push', 'full', 'mil'): '85.81',
    ('push', 'full', 'lstm'): '78.38',
    ('push', 'video', 'mil'): '66.44',
    ('push', 'video', 'lstm'): '34.23',
}
_INTRODUCTION = """\
<!-- Written by `mil evaluate --table` from docs/results/; change nothing here by hand. -->

# Results

Closed-loop trials in the simulator, on held-out tasks: no colour, pattern or shape of theirs was
seen in training. A trial is one demonstration of a task, one adaptation to it, and one run in
another scene of that task. The state of the simulator decides what a success is. Intervals are
Wilson's, of 95 %. *Wrong object* is the share of trials that failed with another object than the
shown one. *Align and replay* learns nothing: it is told where the camera stands, how high objects
are and where the goal lies, all of which a policy has to learn. Fine-tuning and both replays need
actions, which a video does not show; cloning, random and the expert see no demonstration at all,
and the contextual policy its final frame, whatever else is shown. The files in
[results/](results/) hold each figure and how the trials were run; `mil evaluate --json` wrote
them, and `mil evaluate --table` made this page of them.
"""
_ABLATIONS = """\
Each row is a training of its own with that option of the configuration changed, much shorter than
those above so that differences show. *Points* are those of success against the row in which
nothing was changed; with one training for each row, some points may be chance. `make ablations`
trains and evaluates them.
"""
_FOOTNOTE = """\
[^paper]: Simulated pushing of Finn et al., *One-Shot Visual Imitation Learning via
    Meta-Learning* (CoRL 2017, arXiv 1709.04905): 444 trials, one demonstration, **in another
    simulator, with another arm, other objects and another tolerance**. The figures show what the
    method reached there; they are no comparison of like with like. Quoted from the notes
    `25_osil_origins_zh.md` in github.com/asimfish/awesome_ICL, not from the paper itself.
"""
_PLOTS = {
    'tasks.png': (
        'Success against the number of meta-training tasks',
        'Each point is a training of its own, as short as those of the ablations; `make plots` '
        'repeats them.',
    ),
    'inner_steps.png': (
        'Success against the number of inner steps',
        'A policy that was trained with one step takes more of them on the demonstration.',
    ),
}


def render(results: Results, plots: Sequence[Path]) -> str:
    """Return the page.

    Args:
        results: What it is about.
        plots: Pictures to show, relative to the page.
    """
    parts = [_INTRODUCTION]
    for task in sort_tasks(result.task for result in results.methods):
        parts.append(f'## {task.capitalize()}\n')
        for modality in _list_modalities(results.methods, task):
            parts.append(f'### Shown: {_MODALITIES.get(modality, modality)}\n')
            parts.append(_render_methods(results.methods, task, modality))
    if results.ablations:
        parts.append(f'## Ablations\n\n{_ABLATIONS}')
        parts.append(_render_ablations(results))
    for plot in plots:
        title, text = _PLOTS[plot.name]
        parts.append(f'## {title}\n\n{text}\n\n![{title}]({plot.as_posix()})\n')
    if '[^paper]' in ''.join(parts):
        parts.append(_FOOTNOTE)
    return '\n'.join(parts)


def sort_tasks(tasks: Iterable[str]) -> list[str]:
    """Return each task once, in the order in which they are learned."""
    return sorted(set(tasks), key=lambda task: (_rank(task, _TASKS), task))


def name_method(result: Result) -> str:
    """Return what a reader calls a method and how it was run, such as ``MIL, 2 inner steps``."""
    words = [_METHODS.get(result.method, result.method)]
    if result.shots > 1:
        words.append(f'{result.shots} demonstrations')
    for key, value in sorted(result.options.items()):
        words.append(_OPTIONS[key](value) if key in _OPTIONS else f'{key} {value}')
    return ', '.join(words)


def rank_method(result: Result) -> tuple[bool, int, str]:
    """Return a key that sorts results by method, ours first."""
    return not _is_ours(result), _rank(result.method, _METHODS), name_method(result)


def _rank(value: str, order: Iterable[str]) -> int:
    known = list(order)
    return known.index(value) if value in known else len(known)


def _list_modalities(results: list[Result], task: str) -> list[str]:
    found = {result.modality for result in results if result.task == task}
    return sorted(found, key=lambda modality: (_rank(modality, _MODALITIES), modality))


def _table(rows: list[tuple[str, ...]], columns: dict[str, str]) -> str:
    """Return rows of cells as a table; a column is left or right."""
    lines = [tuple(columns), tuple(columns.values()), *rows]
    return ''.join(f'| {" | ".join(line)} |\n' for line in lines)


_LEFT, _RIGHT = ':--', '--:'
_FIGURES = {
    'Success': _RIGHT,
    '95 % interval': _RIGHT,
    'Wrong object': _RIGHT,
    'Trials': _RIGHT,
    'Tasks': _RIGHT,
    'Seed': _RIGHT,
}


def _figures(result: Result) -> tuple[str, ...]:
    """Return the cells of the columns `_FIGURES`."""
    low, high = result.interval
    return (
        f'{100 * result.success:.1f} %',
        f'{100 * low:.1f} to {100 * high:.1f}',
        f'{100 * result.wrong_object / result.trials:.1f} %',
        str(result.trials),
        str(result.tasks),
        str(result.seed),
    )


def _is_ours(result: Result) -> bool:
    return result.method == 'mil' and not result.options


def _quote_paper(result: Result) -> str:
    """Return the paper's figure for a method run in the same way, or nothing."""
    quoted = _PAPER.get((result.task, result.modality, result.method))
    is_same = result.shots == 1 and not result.options
    return f'{quoted} %' if quoted and is_same else ''


def _render_methods(results: list[Result], task: str, modality: str) -> str:
    chosen = [r for r in results if (r.task, r.modality) == (task, modality)]
    chosen.sort(key=rank_method)
    has_paper = any(_quote_paper(r) for r in chosen)
    columns = {'Method': _LEFT, **_FIGURES}
    if has_paper:
        columns['Paper, another simulator [^paper]'] = _RIGHT
    rows = []
    for r in chosen:
        name, (success, *figures) = name_method(r), _figures(r)
        if _is_ours(r):
            name, success = f'**{name}**', f'**{success}**'
        row = (name, success, *figures)
        if has_paper:
            row += (_quote_paper(r),)
        rows.append(row)
    return _table(rows, columns)


def _render_ablations(results: Results) -> str:
    """Return the table of what was changed, and what it changed.

    Each is compared with the unchanged configuration, trained for as many steps.
    """
    unchanged = {
        (r.task, r.modality, r.count): r for r in results.ablations if r.change == UNCHANGED
    }
    rows = []
    order = sort_tasks(r.task for r in results.ablations)
    for r in sorted(
        results.ablations, key=lambda r: (order.index(r.task), r.modality, -r.success, r.change)
    ):
        reference = unchanged.get((r.task, r.modality, r.count))
        points = ''
        if reference is not None and reference is not r:
            points = f'{100 * (r.success - reference.success):+.1f}'
        shown = _MODALITIES.get(r.modality, r.modality)
        change = r.change if r.change == UNCHANGED else f'`{r.change}`'
        rows.append((r.task, shown, change, str(r.count), *_figures(r), points))
    columns = {'Task': _LEFT, 'Shown': _LEFT, 'Changed': _LEFT, 'Training steps': _RIGHT}
    return _table(rows, {**columns, **_FIGURES, 'Points': _RIGHT})
