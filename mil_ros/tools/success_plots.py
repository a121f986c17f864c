"""Plots of success with its uncertainty, as pictures for the documentation."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter
import numpy as np

from mil_ros.tools.results import Result
from mil_ros.tools.results_page import name_method, rank_method, sort_tasks

_STYLE = {
    'axes.grid': True,
    'axes.spines.right': False,
    'axes.spines.top': False,
    'font.size': 9.0,
    'grid.alpha': 0.3,
    'legend.frameon': False,
}
_COLOURS = ('#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9')  # Okabe and Ito
_LINES = {'full': '-', 'video': '--'}
_PANEL_INCHES = (3.9, 3.1)
_DPI = 150


def draw_success(path: Path, results: list[Result], x_label: str, *, is_log: bool) -> None:
    """Draw success against the counts of results, one panel for each task.

    Args:
        path: PNG file to write.
        results: Each method and modality gets a line.
        x_label: What is counted.
        is_log: Whether counts are spread by factors instead of differences.
    """
    tasks = sort_tasks(result.task for result in results)
    names = list(dict.fromkeys(map(name_method, sorted(results, key=rank_method))))
    with matplotlib.rc_context(_STYLE):
        width, height = _PANEL_INCHES
        figure = Figure((width * len(tasks), height), layout='constrained')
        panels = figure.subplots(1, len(tasks), sharey=True, squeeze=False)[0]
        for task, axes in zip(tasks, panels):
            _draw_panel(axes, [r for r in results if r.task == task], names)
            axes.set(title=task, xlabel=x_label, ylim=(0.0, 1.02))
            if is_log:
                axes.set_xscale('log')
            ticks = sorted({r.count for r in results if r.task == task})
            axes.set_xticks(ticks, minor=False)
            axes.set_xticks([], minor=True)
            axes.xaxis.set_major_formatter(ScalarFormatter())
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        panels[0].set_ylabel('success, 95 % interval')
        figure.savefig(path, dpi=_DPI, metadata={'Software': None})


def _draw_panel(axes: Axes, results: list[Result], names: list[str]) -> None:
    lines: dict[tuple[str, str], list[Result]] = {}
    for result in sorted(results, key=lambda r: (*rank_method(r), r.modality, r.count)):
        lines.setdefault((name_method(result), result.modality), []).append(result)
    for (name, modality), line in lines.items():
        success = np.array([r.success for r in line])
        low, high = np.array([r.interval for r in line]).T
        shown = 'video alone' if modality == 'video' else 'full demonstration'
        axes.errorbar(
            [r.count for r in line],
            success,
            yerr=np.maximum([success - low, high - success], 0.0),
            label=f'{name}, {shown}',
            color=_COLOURS[names.index(name) % len(_COLOURS)],
            linestyle=_LINES.get(modality, ':'),
            marker='o',
            markersize=4.0,
            capsize=2.5,
            linewidth=1.4,
        )
    axes.legend(loc='lower right')
