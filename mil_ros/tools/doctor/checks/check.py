"""The table of checks: a check is a function of a snapshot under this decorator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from mil_ros.tools.doctor.findings import Finding, skipped, Verdict
from mil_ros.tools.doctor.snapshot import Snapshot

Judge = Callable[[Snapshot], Finding]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table.

    Attributes:
        name: What it is called.
        section: What it is about.
        judge: Looks at a snapshot.
        needs: Checks without which this one has nothing to look at.
    """

    name: str
    section: str
    judge: Judge
    needs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A check and its outcome."""

    name: str
    section: str
    finding: Finding


# In this order they are shown
SECTIONS: Final = ('setup', 'joints', 'camera', 'servo', 'command', 'nodes', 'policy')
CHECKS: list[Check] = []


def check(section: str, *needs: str) -> Callable[[Judge], Judge]:
    """Add a function to the table under its own name.

    Args:
        section: What it is about.
        *needs: Names of checks above it; it is skipped where one of them failed or was skipped.
    """

    def add(judge: Judge) -> Judge:
        CHECKS.append(Check(judge.__name__, section, judge, needs))
        CHECKS.sort(key=lambda entry: SECTIONS.index(entry.section))
        return judge

    return add


def examine(snapshot: Snapshot, checks: Sequence[Check] = CHECKS) -> list[Row]:
    """Run every check whose needs are met, in order."""
    rows: dict[str, Row] = {}
    for entry in checks:
        lacking = [need for need in entry.needs if not _is_usable(rows[need].finding)]
        finding = skipped(f'needs {", ".join(lacking)}') if lacking else entry.judge(snapshot)
        rows[entry.name] = Row(entry.name, entry.section, finding)
    return list(rows.values())


def _is_usable(finding: Finding) -> bool:
    return finding.verdict in (Verdict.OK, Verdict.WARNING)
