"""What tests of several layers share; nothing heavy is imported before a test asks for it."""

from __future__ import annotations

from collections.abc import Callable
import copy
from pathlib import Path
from typing import Any, TYPE_CHECKING

import numpy as np
import pytest
import yaml

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription

if TYPE_CHECKING:
    from mil_ros.inference.bundle import Bundle
    from mil_ros.learning.checkpoint import Checkpoint

SIM_PANDA = share_dir() / 'config' / 'robots' / 'sim_panda.yaml'
TINY_IMAGE = {'image_height': 12, 'image_width': 16}
DATASET = {'task': 'reach', 'robot': 'sim_panda', 'robot_sha256': 'f' * 64, 'rate_hz': 10.0}


@pytest.fixture(scope='session')
def robot() -> RobotDescription:
    return load_robot('sim_panda')


@pytest.fixture
def document() -> dict[str, Any]:
    """What the shipped robot file says, to be changed by a test."""
    return copy.deepcopy(yaml.safe_load(SIM_PANDA.read_text()))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[dict[str, Any]], RobotDescription]:
    """Write a document as robot file ``arm.yaml`` and load it."""

    def load(document: dict[str, Any]) -> RobotDescription:
        path = tmp_path / 'arm.yaml'
        path.write_text(yaml.safe_dump(document))
        return load_robot(path)

    return load


@pytest.fixture(scope='session')
def tiny_robot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated arm with an image so small that everything is quick."""
    document = yaml.safe_load(SIM_PANDA.read_text())
    document['camera'] |= {'height': 24, 'width': 32}
    document['policy'] |= TINY_IMAGE
    path = tmp_path_factory.mktemp('robots') / 'tiny.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope='session')
def tiny_robot(tiny_robot_file: Path) -> RobotDescription:
    return load_robot(tiny_robot_file)


@pytest.fixture(scope='session')
def tiny_checkpoint(tiny_robot: RobotDescription) -> Checkpoint:
    """A random policy, strong enough for its inner step to change what it does."""
    import torch

    from mil_ros.learning.batches import Normaliser
    from mil_ros.learning.checkpoint import Checkpoint
    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.inner_step import init_step_sizes
    from mil_ros.learning.network import init_params

    config = MilConfig(
        **TINY_IMAGE,
        filters=(3, 4),
        strides=(2, 1),
        kernels=(3, 3),
        hidden=(8,),
        context=3,
        demo_frames=6,
    )
    generator = torch.Generator().manual_seed(1)
    params = init_params(config)
    for name, tensor in params.items():  # zeros would hide a term that is forgotten
        tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
        if 'head' in name:
            tensor *= 5.0
    stats = (0.1 + torch.rand(7, generator=generator) for _ in range(3))
    data = {**DATASET, 'joint_names': list(tiny_robot.joint_names)}
    sizes = init_step_sizes(params, config)
    return Checkpoint(config, 5, params, sizes, {}, Normaliser(*stats), data)


@pytest.fixture(scope='session')
def tiny_bundle(
    tiny_checkpoint: Checkpoint,
    tiny_robot: RobotDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bundle:
    """That policy as a bundle; tests that damage it copy it first."""
    from mil_ros.inference.bundle import load_bundle, write_bundle
    from mil_ros.learning.export import export_graphs

    path = tmp_path_factory.mktemp('models') / 'tiny'
    manifest, weights = export_graphs(tiny_checkpoint, tiny_robot, 'tiny', path, 'abc123')
    write_bundle(path, manifest, weights)
    return load_bundle(path)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
