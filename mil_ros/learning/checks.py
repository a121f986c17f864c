"""What a training cannot be made of, said before it begins."""

from __future__ import annotations

from dataclasses import asdict, replace
import json
from pathlib import Path
from typing import Any

from mil_ros.core.errors import CheckpointError, DatasetError
from mil_ros.data.dataset import Dataset, DatasetInfo
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.config import MilConfig


def check_dataset(dataset: Dataset, config: MilConfig) -> None:
    """Refuse a dataset that a configuration cannot be trained on.

    Raises:
        DatasetError: If it has too few tasks, demonstrations or frames, or images or joints other
            than the network is built for.
    """
    info, where = dataset.info, dataset.directory
    if len(dataset) < config.meta_batch:
        raise DatasetError(
            f'{where} has {len(dataset)} tasks, a meta-batch needs {config.meta_batch}; collect '
            'more tasks or lower meta_batch.'
        )
    needed = max(config.frames, config.trial_frames)
    if dataset.steps < needed:
        raise DatasetError(
            f'{where} has demonstrations of {dataset.steps} frames, a training step draws '
            f'{needed}; collect longer ones or lower frames and trial_frames.'
        )
    if info.demos <= config.shots:
        raise DatasetError(
            f'{where} has {info.demos} demonstrations per task, a training step needs '
            f'{config.shots + 1} (shots to adapt to and one to judge by); collect more or lower '
            'shots.'
        )
    got = (info.image_width, info.image_height, len(info.joint_names))
    expected = (config.image_width, config.image_height, config.joints)
    if got != expected:
        raise DatasetError(
            f'{where} has images of {got[0]}x{got[1]} and {got[2]} joints, the configuration '
            f'expects {expected[0]}x{expected[1]} and {expected[2]}; leave image_width, '
            'image_height and joints to the dataset.'
        )


def check_same_training(
    path: Path, state: Checkpoint, config: MilConfig, info: DatasetInfo
) -> None:
    """Refuse to go on from the checkpoint of another training.

    Args:
        path: Of the checkpoint, for the message.
        state: What it holds.
        config: Of the training that shall go on.
        info: Of the data that it shall go on with.

    Raises:
        CheckpointError: If the configurations or the data differ; says in what.
    """
    same = replace(config, compiled=state.config.compiled)  # which changes nothing that is learned
    if changed := _find_changes(asdict(state.config), asdict(same)):
        raise CheckpointError(
            f'{path} was trained with another configuration ({changed}); use the same options to '
            'resume, or another --out to start anew.'
        )
    # A checkpoint keeps what JSON does: lists instead of tuples.
    if changed := _find_changes(state.data, json.loads(json.dumps(asdict(info)))):
        raise CheckpointError(
            f'{path} was trained on other data ({changed}); use the same --data to resume, or '
            'another --out with --start-from to go on with new data.'
        )


def _find_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what differs of what both know, such as ``seed 0 -> 3``; empty if nothing does."""
    return ', '.join(f'{k} {old[k]} -> {new[k]}' for k in new if k in old and old[k] != new[k])
