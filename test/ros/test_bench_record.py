"""The bench of the recorder runs to its end; its figures are judged elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mil_ros.tools.bench import record
from mil_ros.tools.cli import main

pytestmark = [pytest.mark.ros, pytest.mark.slow]

ROWS = {
    'start_ms': 'ms',
    'preroll_ms': 'ms',
    'good_bags': 'bags',
    'lost_messages': 'messages',
    'cores': 'cores',
    'saturation_mb_s': 'MB/s',
    'rosbags_mb_s': 'MB/s',
    'killed_lost_s': 's',
    'align_s': 's',
}


def test_every_row_is_there_in_the_one_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(record, '_STEPS_HZ', (40.0,))
    monkeypatch.setattr(record, '_STEP_S', 1.0)
    monkeypatch.setattr(record, '_ROSBAGS_BYTES', 20_000_000)
    words = ['bench', 'record', '--seconds', '2', '--cycles', '2', '--out', str(tmp_path)]
    code = main([*words, '--json', str(tmp_path / 'record.json')])
    document = json.loads((tmp_path / 'record.json').read_text())
    assert document['bench'] == 'record'
    assert set(document) == {'bench', 'rows', 'machine', 'versions'}
    rows = {row['name']: row for row in document['rows']}
    assert {name: rows[name]['unit'] for name in ROWS} == ROWS
    assert code == (0 if all(row['ok'] for row in rows.values()) else 1)
    assert (rows['preroll_ms']['limit'], rows['killed_lost_s']['limit']) == (0.0, 1.0)
    assert rows['cores']['value'] > 0.0
    assert rows['rosbags_mb_s']['value'] > 0.0
    assert json.loads(capsys.readouterr().out) == document
    assert not (tmp_path / 'record').exists()
