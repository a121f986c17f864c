"""What came of all checks: counts, a document for machines, and the next step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mil_ros.tools.doctor.checks import Row
from mil_ros.tools.doctor.findings import Verdict
from mil_ros.tools.doctor.snapshot import CONTROL_STATE, Snapshot


def is_fit(rows: Sequence[Row]) -> bool:
    """Whether nothing failed."""
    return all(row.finding.verdict is not Verdict.FAILED for row in rows)


def count(rows: Sequence[Row]) -> dict[Verdict, int]:
    """Return how many checks ended how."""
    verdicts = [row.finding.verdict for row in rows]
    return {verdict: verdicts.count(verdict) for verdict in Verdict}


def find_next_step(rows: Sequence[Row], snapshot: Snapshot) -> str:
    """Return what to do now: mend what failed first, else go on towards the first run."""
    for row in rows:
        if row.finding.verdict is Verdict.FAILED:
            return f'mend {row.name} first. {row.finding.remedy}'
    control = next((row for row in rows if row.name == 'control'), None)
    if control is not None and control.finding.verdict is Verdict.WARNING:
        return control.finding.remedy
    state = snapshot.states.get(CONTROL_STATE)
    values = state.values if state else {}
    if values.get('running') == 'True':
        return 'a policy is running; end it with /control/stop.'
    if not values.get('policy'):
        return (
            'show it a task. Call /recorder/start, demonstrate, call /recorder/stop, then '
            '/adaptation/adapt.'
        )
    what = 'nothing moves' if values.get('dry_run') == 'True' else 'the arm moves'
    return f'call /control/start ({what}): ros2 service call /control/start std_srvs/srv/Trigger.'


def to_document(robot: str, rows: Sequence[Row], next_step: str) -> dict[str, Any]:
    """Return everything for machines."""
    return {
        'robot': robot,
        'checks': [
            {
                'name': row.name,
                'verdict': row.finding.verdict.value,
                'found': row.finding.found,
                'expected': row.finding.expected,
                'remedy': row.finding.remedy,
            }
            for row in rows
        ],
        'ok': is_fit(rows),
        'next': next_step,
    }
