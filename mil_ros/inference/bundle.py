"""Policy bundles: a folder with graphs, weights and a manifest, checked when it is loaded.

``manifest.json`` names the SHA-256 of every file, the robot the policy was trained for, what goes
in and comes out with shapes and units, and where it comes from. An adapted policy is a bundle
too; it has no ``adapt.onnx`` and names its parent and its demonstration.
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mil_ros.core.errors import BundleError
from mil_ros.core.robot import RobotDescription

FORMAT = 2
MANIFEST = 'manifest.json'
POLICY, ADAPT, WEIGHTS = 'policy.onnx', 'adapt.onnx', 'weights.safetensors'

Weights = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False, slots=True)
class Bundle:
    """A bundle whose files are present and whole.

    Attributes:
        path: The folder.
        manifest: The parsed manifest.
        weights: Every array of ``weights.safetensors`` by name.
    """

    path: Path
    manifest: dict[str, Any]
    weights: Weights

    @property
    def name(self) -> str:
        """What the manifest calls this bundle."""
        return str(self.manifest['name'])

    @property
    def is_adapted(self) -> bool:
        """Whether the inner step has been taken."""
        return self.manifest['parent'] is not None

    @property
    def sha256(self) -> str:
        """One hash for all files of the model; evaluation results do not enter it."""
        return hash_files(self.manifest['files'])


def hash_files(files: dict[str, str]) -> str:
    """Return the hash of a table of file hashes, whatever its order."""
    lines = ''.join(f'{name} {digest}\n' for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle and check every file against the manifest.

    Raises:
        BundleError: If anything is missing, damaged or of another format.
    """
    path = Path(path)
    file = path / MANIFEST
    if not file.is_file():
        raise BundleError(
            f'No policy bundle at {path}: expected a folder with {MANIFEST}; '
            'make one with `mil export` or adapt one to a demonstration.'
        )
    try:
        manifest: dict[str, Any] = json.loads(file.read_text())
        version, files = manifest['format'], dict(manifest['files'])
        for key in ('name', 'parent', 'robot', 'camera', 'policy'):
            manifest[key]
    except (ValueError, KeyError, TypeError) as err:
        raise BundleError(
            f'{file} is not a bundle manifest ({type(err).__name__}: {err}); export the bundle '
            'again.'
        ) from err
    if version != FORMAT:
        raise BundleError(
            f'{file} has format {version!r}, this version reads {FORMAT}; export it again.'
        )
    needed = {POLICY, WEIGHTS} | (set() if manifest['parent'] else {ADAPT})
    if unlisted := sorted(needed - set(files)):
        raise BundleError(
            f'{file} lists no hash of {", ".join(unlisted)}; expected one for each of '
            f'{", ".join(sorted(needed))}, export the bundle again.'
        )
    for name, expected in files.items():
        _check_file(path / name, expected)
    try:
        weights = load_file(path / WEIGHTS)
    except (SafetensorError, OSError) as err:
        raise BundleError(
            f'{path / WEIGHTS} cannot be read ({err}); copy the bundle again.'
        ) from err
    return Bundle(path, manifest, weights)


def check_robot(bundle: Bundle, robot: RobotDescription) -> None:
    """Refuse a bundle that was made for another arm, image size or rate.

    Raises:
        BundleError: With every difference in one sentence.
    """
    made_for, policy = bundle.manifest['robot'], bundle.manifest['policy']
    camera = bundle.manifest['camera']
    pairs = {
        'joints': (list(made_for['joint_names']), list(robot.joint_names)),
        'camera': (
            f'{camera["width"]}x{camera["height"]}',
            f'{robot.camera.width}x{robot.camera.height}',
        ),
        'image size': (
            f'{policy["image_width"]}x{policy["image_height"]}',
            f'{robot.policy.image_width}x{robot.policy.image_height}',
        ),
        'policy rate': (f'{policy["rate_hz"]} Hz', f'{robot.policy.rate_hz} Hz'),
    }
    differences = [
        f'{what} {got} instead of {expected}'
        for what, (got, expected) in pairs.items()
        if got != expected
    ]
    if differences:
        raise BundleError(
            f'Bundle {bundle.name!r} was made for robot {made_for["name"]!r} and does not fit '
            f'{robot.name!r}: it has {"; ".join(differences)}. Use a bundle trained for '
            f'{robot.name!r} or start with robot:={made_for["name"]}.'
        )


def write_bundle(path: Path, manifest: dict[str, Any], weights: Weights) -> None:
    """Complete a bundle whose graphs already lie in `path`; the manifest comes last.

    A folder is a bundle only once its manifest is there, so a crash leaves nothing that loads.
    """
    (path / WEIGHTS).write_bytes(save(weights))  # safetensors' own files are for the owner alone
    files = {p.name: _hash(p) for p in sorted(path.iterdir()) if p.name != MANIFEST}
    write_manifest(path, {'format': FORMAT, **manifest, 'files': files})


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest of a bundle in one step."""
    temporary = path / f'.{MANIFEST}.tmp'
    temporary.write_text(json.dumps(manifest, indent=2) + '\n')
    temporary.replace(path / MANIFEST)


def save_adapted(parent: Bundle, weights: Weights, demo: dict[str, Any], path: Path) -> None:
    """Write an adapted policy as a bundle of its own.

    Args:
        parent: The bundle that was adapted.
        weights: The parameters that acting needs.
        demo: What is known of the demonstration: episode, frames, losses.
        path: Folder to make; it must not exist.
    """
    path.mkdir(parents=True)
    shutil.copyfile(parent.path / POLICY, path / POLICY)
    keys = ('task', 'robot', 'camera', 'policy', 'normalisation')
    inherited = {k: parent.manifest[k] for k in keys}
    manifest = {
        'name': path.name,
        **inherited,
        'parent': {'name': parent.name, 'sha256': parent.sha256},
        'demo': demo,
    }
    write_bundle(path, manifest, weights)


def _check_file(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BundleError(
            f'Bundle file {path} is missing; expected the one with SHA-256 {expected[:12]}..., '
            'copy the bundle again.'
        )
    got = _hash(path)
    if got != expected:
        raise BundleError(
            f'Bundle file {path} is damaged: SHA-256 is {got[:12]}..., the manifest says '
            f'{expected[:12]}...; copy the bundle again.'
        )


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
