"""From a checkpoint to a bundle, gated on torch and ONNX Runtime agreeing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.onnx_graphs import export_adapt, export_policy


def export_graphs(
    checkpoint: Checkpoint, robot: RobotDescription, name: str, path: Path, commit: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Write both graphs into `path` and return the manifest and the weights to go with them.

    Args:
        checkpoint: Trained state.
        robot: The robot file that the data was made with.
        name: What to call the bundle.
        path: A new or empty folder.
        commit: Version of the source, for the record.

    Raises:
        ConfigError: If the policy is a baseline, which has no inner step.
    """
    config, normaliser = checkpoint.config, checkpoint.normaliser
    if config.method != 'mil':
        raise ConfigError(
            f'Checkpoint is of method {config.method}, a bundle adapts by a gradient step; '
            'expected method mil. Evaluate the checkpoint itself.'
        )
    path.mkdir(parents=True, exist_ok=True)
    export_policy(checkpoint.params, normaliser, config, path / 'policy.onnx')
    export_adapt(checkpoint.params, checkpoint.step_sizes, normaliser, config, path / 'adapt.onnx')
    weights = {n: t.detach().numpy() for n, t in checkpoint.params.items()}
    weights |= {f'step_size.{n}': t.detach().numpy() for n, t in checkpoint.step_sizes.items()}
    image = [config.image_height, config.image_width, 3]
    joints = [config.joints]
    manifest = {
        'name': name,
        'task': checkpoint.data['task'],
        'parent': None,
        'demo': None,
        'robot': {
            'name': robot.name,
            'sha256': robot.sha256,
            'joint_names': list(checkpoint.data['joint_names']),
        },
        'camera': {'width': robot.camera.width, 'height': robot.camera.height},
        'policy': {
            'image_height': config.image_height,
            'image_width': config.image_width,
            'rate_hz': checkpoint.data['rate_hz'],
            'modality': config.modality,
            'shots': config.shots,
            'demo_frames': config.demo_frames,
            'inputs': {
                'image': {'shape': image, 'type': 'uint8', 'unit': 'RGB'},
                'joint_positions': {'shape': joints, 'type': 'float32', 'unit': 'rad'},
            },
            'outputs': {
                'joint_velocities': {'shape': joints, 'type': 'float32', 'unit': 'rad/s'},
            },
        },
        'normalisation': {
            'inside_the_graphs': True,
            'state_mean_rad': normaliser.state_mean.tolist(),
            'state_std_rad': normaliser.state_std.tolist(),
            'action_std_rad_s': normaliser.action_std.tolist(),
        },
        'training': {
            'commit': commit,
            'seed': config.seed,
            'steps': checkpoint.step,
            'config': asdict(config),
            'data': checkpoint.data,
        },
        'results': {},
    }
    return manifest, weights
