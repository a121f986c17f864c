"""Training state on disk: one safetensors file, so loading it runs no code."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from safetensors import safe_open, SafetensorError
from safetensors.torch import save
import torch
from torch import Tensor

from mil_ros.core.errors import CheckpointError
from mil_ros.data.dataset import write_atomically
from mil_ros.learning.batches import Normaliser
from mil_ros.learning.config import MilConfig
from mil_ros.learning.network import Params

_MOMENTS = ('exp_avg', 'exp_avg_sq')


@dataclass(frozen=True, eq=False, slots=True)
class Checkpoint:
    """Everything that training needs to go on, or export to start.

    Attributes:
        config: Network and training options.
        step: Meta-training steps done.
        params: Network parameters.
        step_sizes: Learned inner step sizes.
        moments: First and second moments of Adam, keyed ``<group>.<name>``.
        normaliser: Scales of the training data.
        data: The dataset's description.
    """

    config: MilConfig
    step: int
    params: Params
    step_sizes: Params
    moments: Params
    normaliser: Normaliser
    data: dict[str, Any]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a crash leaves the previous file whole.

    Raises:
        CheckpointError: If it cannot be written, such as on a full disk.
    """
    tensors: dict[str, Tensor] = {}
    groups = {
        'params': checkpoint.params,
        'step_sizes': checkpoint.step_sizes,
        'moments': checkpoint.moments,
        'stats': {
            name: getattr(checkpoint.normaliser, name)
            for name in ('state_mean', 'state_std', 'action_std')
        },
    }
    for group, members in groups.items():
        for name, tensor in members.items():
            tensors[f'{group}/{name}'] = tensor.detach().contiguous()
    metadata = {
        'config': checkpoint.config.to_json(),
        'step': str(checkpoint.step),
        'data': json.dumps(checkpoint.data),
    }
    try:
        write_atomically(path, save(tensors, metadata))
    except OSError as err:
        raise CheckpointError(
            f'Cannot write {path} ({err.strerror}); '
            f'{"the previous checkpoint is whole" if path.exists() else "there is none yet"}. '
            'Free some space and run the same command again, it goes on from there.'
        ) from err


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        CheckpointError: If it is missing, truncated or not a checkpoint of this package.
    """
    if not path.is_file():
        raise CheckpointError(f'No checkpoint {path}; expected a file written by `mil train`.')
    try:
        with safe_open(path, framework='pt') as file:
            metadata = file.metadata() or {}
            groups: dict[str, Params] = {}
            for key in file.keys():  # noqa: SIM118  (not a dict)
                group, name = key.split('/', 1)
                groups.setdefault(group, {})[name] = file.get_tensor(key)
        return Checkpoint(
            MilConfig.from_json(metadata['config']),
            int(metadata['step']),
            groups['params'],
            groups.get('step_sizes', {}),  # a baseline has none
            groups.get('moments', {}),
            Normaliser(**groups['stats']),
            json.loads(metadata['data']),
        )
    except (SafetensorError, KeyError, ValueError, TypeError) as err:
        raise CheckpointError(
            f'{path} is not a whole checkpoint ({err}); expected a file written by `mil train`, '
            'use the previous one.'
        ) from err


def moments_of(optimiser: torch.optim.Adam, names: list[str]) -> Params:
    """Return Adam's moments, keyed by parameter name."""
    state = optimiser.state_dict()['state']
    return {
        f'{name}:{kind}': state[i][kind]
        for i, name in enumerate(names)
        if i in state
        for kind in ('step', *_MOMENTS)
    }


def restore_moments(optimiser: torch.optim.Adam, names: list[str], moments: Params) -> None:
    """Put back what `moments_of` returned."""
    document = optimiser.state_dict()
    leaves = [leaf for group in optimiser.param_groups for leaf in group['params']]
    document['state'] = {
        i: {
            'step': moments[f'{name}:step'],
            # In the order in memory that the parameter has, which fused Adam relies on
            **{kind: torch.empty_like(leaf).copy_(moments[f'{name}:{kind}']) for kind in _MOMENTS},
        }
        for i, (name, leaf) in enumerate(zip(names, leaves, strict=True))
        if f'{name}:step' in moments
    }
    optimiser.load_state_dict(document)
