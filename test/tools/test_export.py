"""No bundle is made that does not act as what was trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re

import pytest
import torch

from mil_ros.core.errors import BundleError
from mil_ros.inference.bundle import Bundle
from mil_ros.learning import export as learning_export
from mil_ros.learning.checkpoint import Checkpoint, save_checkpoint
from mil_ros.tools import cli, export


@pytest.fixture
def checkpoint_file(
    tiny_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Return a checkpoint whose graphs cost no time to export."""
    for name in ('export_policy', 'export_adapt'):
        monkeypatch.setattr(
            learning_export, name, lambda *arguments: arguments[-1].write_bytes(b'graph')
        )
    path = tmp_path / 'last.safetensors'
    save_checkpoint(path, tiny_checkpoint)
    return path


def run(checkpoint: Path, out: Path) -> int:
    return cli.main(['export', str(checkpoint), '--robot', 'sim_panda', '--out', str(out)])


def test_folder_that_is_no_bundle_is_never_replaced(
    checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'thesis'
    out.mkdir()
    (out / 'thesis.tex').write_text('five years of work')
    assert run(checkpoint_file, out) == 2
    assert re.search(rf'{out} exists and is no bundle; expected a new', capsys.readouterr().err)
    assert (out / 'thesis.tex').read_text() == 'five years of work'


def test_failed_parity_leaves_the_previous_bundle_as_it_was(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / 'bundle'
    monkeypatch.setattr(export, 'measure_parity', lambda *_: 0.0)
    assert run(checkpoint_file, out) == 0
    before = (out / 'manifest.json').read_bytes()
    monkeypatch.setattr(export, 'measure_parity', lambda *_: 2 * export.PARITY_RAD_S)
    assert run(checkpoint_file, out) == 2
    assert (out / 'manifest.json').read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith('.export')] == []


def test_parity_that_is_no_number_is_refused(
    checkpoint_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, 'measure_parity', lambda *_: float('nan'))
    assert run(checkpoint_file, tmp_path / 'bundle') == 2
    assert not (tmp_path / 'bundle').exists()


def test_target_that_cannot_be_made_is_one_line(
    checkpoint_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('in the way')
    assert run(checkpoint_file, tmp_path / 'file' / 'bundle') == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f'mil export: Cannot use {tmp_path}/file (')
    assert shown.count('\n') == 1


def test_target_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BundleError, match='exists and is no bundle'):
        export._check_target(tmp_path / 'file')


@pytest.mark.parametrize('kind', ['tiny', 'tiny_video'])
def test_parity_is_that_of_the_adapted_actions(request: pytest.FixtureRequest, kind: str) -> None:
    checkpoint: Checkpoint = request.getfixturevalue(f'{kind}_checkpoint')
    bundle: Bundle = request.getfixturevalue(f'{kind}_bundle')
    assert 0.0 <= export.measure_parity(checkpoint, bundle.path) <= export.PARITY_RAD_S
    # What only the inner step sees counts too.
    name = 'pre_head.weight' if kind == 'tiny' else 'loss_out.weight'
    other = {**checkpoint.params, name: torch.flip(checkpoint.params[name], [0, 1])}
    changed = replace(checkpoint, params={**other, name: 2.0 * other[name]})
    assert export.measure_parity(changed, bundle.path) > export.PARITY_RAD_S


def test_baseline_is_refused_in_a_sentence(
    tiny_checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'last.safetensors'
    config = replace(tiny_checkpoint.config, method='lstm')
    save_checkpoint(path, replace(tiny_checkpoint, config=config, step_sizes={}))
    assert run(path, tmp_path / 'bundle') == 2
    shown = capsys.readouterr().err
    assert shown.startswith('mil export: Checkpoint is of method lstm, a bundle adapts by a grad')
    assert shown.count('\n') == 1
    assert [p.name for p in tmp_path.iterdir()] == ['last.safetensors']
