"""The benches of stops and of the loop run to their end; their figures are judged elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mil_ros.tools.bench.stops import command
from mil_ros.tools.cli import main

pytestmark = [pytest.mark.ros, pytest.mark.slow]

LOOP_ROWS = {
    'stream_hz': ('Hz', 100.0),
    'stream_jitter_p99_ms': ('ms', 3.0),
    'guard_cores': ('cores', 0.15),
    'image_to_servo_p99_ms': ('ms', 20.0),
    'image_to_servo_p50_ms': ('ms', None),
    'tick_p50_ms': ('ms', None),
    'tick_p99_ms': ('ms', None),
    'cores_sim': ('cores', None),
    'runs': ('runs', None),
}
STOPS_ROWS = {
    'estop': ('ms', 30.0),
    'estop_rest': ('ms', None),
    'deadman': ('ms', 30.0),
    'deadman_rest': ('ms', None),
}


def bench(out: Path, *words: str) -> dict[str, dict[str, object]]:
    file = out / 'bench.json'
    code = main(['bench', *words, '--out', str(out), '--json', str(file)])
    document = json.loads(file.read_text())
    assert document['bench'] == words[0]
    assert code == (0 if all(row['ok'] for row in document['rows']) else 1)
    return {row['name']: row for row in document['rows']}


def test_the_loop_has_every_row(tmp_path: Path) -> None:
    rows = bench(tmp_path, 'loop', '--minutes', '0.1')
    shown = {name: (rows[name]['unit'], rows[name]['limit']) for name in LOOP_ROWS}
    assert shown == LOOP_ROWS
    assert rows['runs']['value'] == 1
    assert rows['image_to_servo_p50_ms']['value'] > rows['tick_p50_ms']['value'] > 0.0


def test_stops_have_a_reaction_and_a_rest_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two faults stand for all: each robot file is run with."""
    make = command.make_faults
    monkeypatch.setattr(command, 'make_faults', lambda robot: make(robot)[:2])
    rows = bench(tmp_path, 'stops', '--repetitions', '1')
    assert {n: (row['unit'], row['limit']) for n, row in rows.items()} == STOPS_ROWS
    assert all(
        rows[name]['value'] <= rows[f'{name}_rest']['value'] for name in ('estop', 'deadman')
    )
