"""Random policies; nothing heavy is imported before one is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TYPE_CHECKING

from mil_ros.core.robot import RobotDescription

if TYPE_CHECKING:
    from mil_ros.inference.bundle import Bundle
    from mil_ros.learning.checkpoint import Checkpoint

TINY_IMAGE = {'image_height': 12, 'image_width': 16}
DATASET = {'task': 'reach', 'robot': 'sim_panda', 'robot_sha256': 'f' * 64, 'rate_hz': 10.0}


def draw_checkpoint(robot: RobotDescription, **changes: Any) -> Checkpoint:
    """Return a random policy, strong enough for its inner step to change what it does."""
    import torch

    from mil_ros.learning.batches import Normaliser
    from mil_ros.learning.checkpoint import Checkpoint
    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.inner_step import init_step_sizes
    from mil_ros.learning.network import init_params

    options = {
        **TINY_IMAGE,
        'filters': (3, 4),
        'strides': (2, 1),
        'kernels': (3, 3),
        'hidden': (8,),
        'context': 3,
        'loss_filters': 4,
        'frames': 6,
        'demo_frames': 6,
    }
    config = MilConfig(**{**options, **changes})
    generator = torch.Generator().manual_seed(1)
    params = init_params(config)
    for name, tensor in params.items():  # zeros would hide a term that is forgotten
        tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
        if 'head' in name:
            tensor *= 5.0
    stats = (0.1 + torch.rand(7, generator=generator) for _ in range(3))
    data = {**DATASET, 'joint_names': list(robot.joint_names)}
    sizes = init_step_sizes(params, config)
    return Checkpoint(config, 5, params, sizes, {}, Normaliser(*stats), data)


def export_bundle(checkpoint: Checkpoint, robot: RobotDescription, path: Path) -> Bundle:
    """Export a policy into a new folder, whose name becomes the bundle's."""
    from mil_ros.inference.bundle import load_bundle, write_bundle
    from mil_ros.learning.export import export_graphs

    manifest, weights = export_graphs(checkpoint, robot, path.name, path, 'abc123')
    write_bundle(path, manifest, weights)
    return load_bundle(path)
