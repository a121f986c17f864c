"""A checkpoint comes back as it was, and a broken one is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mil_ros.core.errors import CheckpointError
from mil_ros.learning.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def checkpoint(tiny_checkpoint: Checkpoint) -> Checkpoint:
    moments = {'params/head.bias:step': torch.tensor(3.0)}
    return replace(tiny_checkpoint, moments=moments)


def test_checkpoint_comes_back_bit_for_bit(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / 'last.safetensors'
    save_checkpoint(path, checkpoint)
    got = load_checkpoint(path)
    assert (got.config, got.step, got.data) == (checkpoint.config, 5, checkpoint.data)
    for group in ('params', 'step_sizes', 'moments'):
        old, new = getattr(checkpoint, group), getattr(got, group)
        assert set(old) == set(new) != set()
        assert all(torch.equal(old[name], new[name]) for name in old)
    for name in ('state_mean', 'state_std', 'action_std'):
        assert torch.equal(getattr(got.normaliser, name), getattr(checkpoint.normaliser, name))


def test_saving_leaves_no_temporary_file(checkpoint: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / 'last.safetensors', checkpoint)
    assert [path.name for path in tmp_path.iterdir()] == ['last.safetensors']


def test_checkpoint_of_a_baseline_has_no_step_sizes(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    path = tmp_path / 'last.safetensors'
    save_checkpoint(path, replace(checkpoint, step_sizes={}))
    got = load_checkpoint(path)
    assert got.step_sizes == {}
    assert set(got.params) == set(checkpoint.params)


def test_place_that_cannot_be_written_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    message = (
        r'^Cannot write .*none/last\.safetensors \(.*\); there is none yet\. Free some space and '
        r'run the same command again, it goes on from there\.$'
    )
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / 'none' / 'last.safetensors', checkpoint)


def test_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r'No checkpoint .*none\.safetensors; expected a fil'
    ):
        load_checkpoint(tmp_path / 'none.safetensors')


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.999])
def test_truncated_checkpoint_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, share: float
) -> None:
    path = tmp_path / 'last.safetensors'
    save_checkpoint(path, checkpoint)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r'last\.safetensors is not a whole checkpoint \('):
        load_checkpoint(path)


def test_file_of_another_program_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / 'other.safetensors'
    save_file({'params/weight': torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match=r"is not a whole checkpoint \('config'\); expected"):
        load_checkpoint(path)
