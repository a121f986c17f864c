"""The checks as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mil_ros.tools.doctor.checks import Row
from mil_ros.tools.doctor.findings import Finding, Verdict
from mil_ros.tools.doctor.report import count, is_fit

_STYLES: Final = {
    Verdict.OK: ('✓', 'green'),
    Verdict.WARNING: ('!', 'yellow'),
    Verdict.FAILED: ('✗', 'bold red'),
    Verdict.SKIPPED: ('–', 'dim'),
}


def render(title: str, rows: Sequence[Row], next_step: str) -> RenderableType:
    """Return the table, the counts and the next step."""
    table = Table(title=title, box=ROUNDED, title_style='bold', title_justify='left')
    table.add_column('check', no_wrap=True)
    table.add_column('verdict', no_wrap=True)
    table.add_column('found, and what to do about it', overflow='fold', ratio=1)
    for i, row in enumerate(rows):
        symbol, style = _STYLES[row.finding.verdict]
        verdict = f'[{style}]{symbol} {row.finding.verdict.value}[/]'
        is_last = i + 1 == len(rows) or rows[i + 1].section != row.section
        table.add_row(row.name, verdict, _describe(row.finding), end_section=is_last)
    return Group(table, _summary(rows), Text.from_markup(f'[bold]Next:[/] {escape(next_step)}'))


def _describe(finding: Finding) -> str:
    found = escape(finding.found)
    if finding.verdict in (Verdict.OK, Verdict.SKIPPED):
        return f'[dim]{found}[/]' if finding.verdict is Verdict.SKIPPED else found
    wish = f' [dim](expected {escape(finding.expected)})[/]' if finding.expected else ''
    return f'{found}{wish}\n[cyan]→ {escape(finding.remedy)}[/]'


def _summary(rows: Sequence[Row]) -> Text:
    counts = count(rows)
    parts = [
        f'[{style}]{symbol} {counts[verdict]} {verdict.value}[/]'
        for verdict, (symbol, style) in _STYLES.items()
        if counts[verdict]
    ]
    fit = 'Fit to move.' if is_fit(rows) else 'Not fit to move.'
    return Text.from_markup(f'{fit} {"  ".join(parts)}')
