"""``mil export``: from a checkpoint to a bundle that a robot can load."""

from __future__ import annotations

import argparse
from pathlib import Path
import subprocess
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from mil_ros.core.errors import BundleError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Demo, Observation
from mil_ros.inference.bundle import load_bundle, MANIFEST, write_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.tools.output import print_json

if TYPE_CHECKING:
    from mil_ros.learning.batches import Normaliser
    from mil_ros.learning.checkpoint import Checkpoint
    from mil_ros.learning.config import MilConfig

PARITY_RAD_S = 1e-4  # largest difference of an action between torch and ONNX Runtime
_CODE = ('mil_ros', 'config')  # what a bundle is made by, unlike those that lie in models/


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil export``."""
    parser.add_argument('checkpoint', type=Path, help='file written by `mil train`')
    parser.add_argument('--out', type=Path, required=True, help='folder of the bundle')
    parser.add_argument('--robot', help="robot file (default: the dataset's)")
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Export, then refuse the result unless both runtimes agree."""
    import torch

    from mil_ros.learning.checkpoint import load_checkpoint
    from mil_ros.learning.export import export_graphs

    torch.set_num_threads(1)
    checkpoint = load_checkpoint(args.checkpoint)
    robot = load_robot(args.robot or checkpoint.data['robot'])
    _check_target(args.out)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=args.out.parent, prefix='.export-') as folder:
        draft = Path(folder) / args.out.name
        draft.mkdir()
        manifest, weights = export_graphs(checkpoint, robot, args.out.name, draft, _commit())
        write_bundle(draft, manifest, weights)
        error = measure_parity(checkpoint, draft)
        if not error <= PARITY_RAD_S:
            raise BundleError(
                f'Torch and ONNX Runtime differ by {error:.2g} rad/s, expected at most '
                f'{PARITY_RAD_S:g}; no bundle was made and {args.out} is as it was.'
            )
        if args.out.exists():
            args.out.rename(Path(folder) / 'previous')
        draft.rename(args.out)
    size = sum(p.stat().st_size for p in args.out.iterdir())
    summary = {'bundle': str(args.out), 'parity_rad_s': error, 'bytes': size}
    print_json(summary, args.json)
    return 0


def _check_target(path: Path) -> None:
    """Refuse to replace anything but a bundle."""
    is_free = not path.exists() or (path.is_dir() and not any(path.iterdir()))
    if not is_free and not (path / MANIFEST).is_file():
        raise BundleError(
            f'{path} exists and is no bundle; expected a new or empty folder or a bundle to '
            'replace, choose another --out.'
        )


def measure_parity(checkpoint: Checkpoint, bundle_path: Path) -> float:
    """Return the largest difference of an adapted action between torch and ONNX, in rad/s."""
    from mil_ros.learning.torch_policy import TorchPolicy

    config, normaliser = checkpoint.config, checkpoint.normaliser
    rng = np.random.default_rng(0)
    demos = [_random_demo(rng, config, normaliser) for _ in range(config.shots)]
    demo = demos[0]
    pairs = zip(demo.images, demo.joint_positions.astype(np.float64), strict=True)
    observations = [Observation(image, position) for image, position in pairs]
    reference = TorchPolicy(checkpoint).adapt(*demos)
    policy = OnnxPolicy(load_bundle(bundle_path)).adapt(*demos)
    return max(float(np.abs(policy.act(o) - reference.act(o)).max()) for o in observations)


def _random_demo(rng: np.random.Generator, config: MilConfig, normaliser: Normaliser) -> Demo:
    steps, shape = config.demo_frames, (config.image_height, config.image_width, 3)
    state = (
        normaliser.state_mean.numpy()
        + rng.normal(0.0, 1.0, (steps, config.joints)) * normaliser.state_std.numpy()
    )
    action = rng.normal(0.0, 1.0, (steps, config.joints)) * normaliser.action_std.numpy()
    return Demo(
        rng.integers(0, 256, (steps, *shape), dtype=np.uint8),
        state.astype(np.float32),
        action.astype(np.float32),
    )


def _commit() -> str:
    """Return the source's git commit, with a mark if the code was changed since."""
    try:
        head = _git('rev-parse', '--short=12', 'HEAD')
        return f'{head}-dirty' if _git('status', '--porcelain', '--', *_CODE) else head
    except (OSError, subprocess.CalledProcessError):
        return 'unknown'


def _git(*words: str) -> str:
    command = ['git', '-C', str(share_dir()), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
