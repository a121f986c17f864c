"""``mil train`` as a command: alone and under torchrun, in which precision, and its mistakes."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from tiny import TRAINED as CONFIG
import torch

from mil_ros.data.dataset import Dataset
from mil_ros.learning.checkpoint import load_checkpoint
from mil_ros.learning.trainer import Trainer
from mil_ros.tools import cli


def to_words(dataset: Dataset, out: Path, **changes: object) -> list[str]:
    """Return the command that trains what `CONFIG` says, or what a change says; None is unsaid."""
    names = ('filters', 'strides', 'kernels', 'hidden', 'context', 'frames', 'meta_batch')
    names = (*names, 'learning_rate', 'precision')
    options = {name: getattr(CONFIG, name) for name in names} | changes
    options = {name: value for name, value in options.items() if value is not None}
    words = ['train', '--data', str(dataset.directory), '--steps', str(CONFIG.steps)]
    for name, value in options.items():
        words += ['--option', f'{name}={json.dumps(value)}']
    return [*words, '--out', str(out)]


TRAIN_AND_LEAVE = """
import os
import sys
from torch import distributed
from mil_ros.learning import precision
from mil_ros.tools import cli

by_rank = {'0': 'float32', '1': 'bfloat16'}  # what each process would rather have
precision.fastest_precision = lambda _: by_rank[os.environ['RANK']]
code = cli.main(sys.argv[1:])
assert not distributed.is_initialized(), 'threads of the group would outlive the interpreter'
sys.exit(code)
"""


def test_two_processes_train_as_one_does(dataset: Dataset, tmp_path: Path) -> None:
    single, shared = tmp_path / 'single', tmp_path / 'shared'
    program = tmp_path / 'train_and_leave.py'
    program.write_text(TRAIN_AND_LEAVE)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    words = to_words(dataset, shared, precision=None)
    command = [sys.executable, *launch, str(program), *words]
    done = subprocess.run(command, timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert cli.main(to_words(dataset, single, precision='float32')) == 0
    one, two = (load_checkpoint(out / 'last.safetensors') for out in (single, shared))
    fresh = Trainer(dataset, CONFIG)
    assert two.step == CONFIG.steps
    for name, tensor in one.params.items():
        torch.testing.assert_close(two.params[name], tensor, rtol=0, atol=1e-6)
    moved = max(float((one.params[n] - p.detach()).abs().max()) for n, p in fresh.params.items())
    assert moved > 1e-3, 'training changed nothing, so the test shows nothing'
    curves = [np.loadtxt(out / 'losses.csv', delimiter=',') for out in (single, shared)]
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-4)


def test_command_starts_from_another_training(dataset: Dataset, tmp_path: Path) -> None:
    first, second = tmp_path / 'first', tmp_path / 'second'
    assert cli.main(to_words(dataset, first)) == 0
    source = first / 'last.safetensors'
    words = to_words(dataset, second, learning_rate=1e-12)  # so that hardly anything moves
    assert cli.main([*words, '--start-from', str(source)]) == 0
    got, given = load_checkpoint(second / 'last.safetensors'), load_checkpoint(source)
    for name, tensor in given.params.items():
        torch.testing.assert_close(got.params[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize('fastest', ['bfloat16', 'float32'])
def test_command_trains_in_what_is_fastest_and_stays_with_it(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    name = 'mil_ros.learning.precision.fastest_precision'
    unsaid = to_words(dataset, tmp_path, precision=None)
    monkeypatch.setattr(name, lambda _: fastest)
    assert cli.main(unsaid) == 0
    saved = tmp_path / 'last.safetensors'
    assert load_checkpoint(saved).config.precision == fastest
    monkeypatch.setattr(name, lambda _: pytest.fail('an interrupted training has its precision'))
    assert cli.main(unsaid) == 0
    assert load_checkpoint(saved).config.precision == fastest


def test_command_trains_in_the_precision_that_is_asked_for(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('mil_ros.learning.precision.fastest_precision', lambda _: 'bfloat16')
    assert cli.main(to_words(dataset, tmp_path, precision='float32')) == 0
    assert load_checkpoint(tmp_path / 'last.safetensors').config.precision == 'float32'


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ('spoil', 'changes', 'message'),
    [
        (cut_in_half, {}, 'last.safetensors is not a whole checkpoint ('),
        (lambda _: None, {'seed': 3}, 'was trained with another configuration (seed 0 -> 3)'),
        (Path.unlink, {'shots': 4}, 'has 4 demonstrations per task, a training step needs 5'),
        (Path.unlink, {'frozen': ['x']}, "frozen is ['x'], which names no parameter by 'x'"),
    ],
    ids=['truncated checkpoint', 'other configuration', 'too few demos', 'unknown parameter'],
)
def test_mistake_is_one_line_and_exit_code_2(
    dataset: Dataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    changes: dict[str, object],
    message: str,
) -> None:
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, CONFIG).save(path)
    spoil(path)
    before = path.read_bytes() if path.exists() else None
    assert cli.main(to_words(dataset, tmp_path, loss_filters=4, loss_layers=1, **changes)) == 2
    shown = capsys.readouterr()
    assert shown.out == ''
    assert shown.err.startswith('mil train: ')
    assert shown.err.count('\n') == 1
    assert message in shown.err
    assert (path.read_bytes() if path.exists() else None) == before
