"""What tests of learning share."""

from __future__ import annotations

from dataclasses import replace

from helpers import make_demo
import numpy as np
import pytest
import torch

from mil_ros.data.dataset import Dataset, DatasetInfo, save_info, save_task
from mil_ros.learning.batches import Normaliser

INFO = DatasetInfo(
    task='reach',
    split='train',
    seed=0,
    tasks=5,
    demos=4,
    robot='tiny',
    robot_sha256='0' * 64,
    joint_names=tuple(f'joint{i}' for i in range(7)),
    rate_hz=10.0,
    image_height=12,
    image_width=16,
)


@pytest.fixture(scope='session', autouse=True)
def _one_thread() -> None:
    """Keep torch from sharing out work that is too small to be shared."""
    torch.set_num_threads(1)


@pytest.fixture(scope='session')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Five tasks, in which there is something to learn: every joint goes back to zero."""
    rng = np.random.default_rng(1)
    directory = tmp_path_factory.mktemp('dataset')
    save_info(directory, INFO)
    for index in range(INFO.tasks):
        demos = [make_demo(rng) for _ in range(INFO.demos)]
        save_task(
            directory, index, [replace(d, joint_velocities=-d.joint_positions) for d in demos]
        )
    return Dataset(directory)


@pytest.fixture(scope='session')
def normaliser(dataset: Dataset) -> Normaliser:
    return Normaliser.from_dataset(dataset)
