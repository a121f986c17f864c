"""The commands that were once accepted on an episode, and how far others are from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import json
import math
from pathlib import Path
from typing import Any, Final

import numpy as np

from mil_ros import __version__
from mil_ros.core.alignment import AsOf
from mil_ros.core.errors import ReplayError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.dataset import write_atomically
from mil_ros.inference.bundle import Bundle

FILE_NAME: Final = 'reference.json'
MAX_ERROR: Final = 1e-5  # rad/s; processors differ in the last bits of a float32
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Command:
    """One command: what it was made of, and joint velocities, (J,) in rad/s."""

    used: AsOf
    velocities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """Accepted commands and all that they depend on.

    Attributes:
        episode_sha256: Of the recording.
        bundle: Name of the bundle that was adapted to it.
        bundle_sha256: Of that bundle before it was adapted.
        robot: Name of the robot file.
        joints: In the order of the velocities.
        max_error: By how much a command may differ, in rad/s.
        commands: One for each tick.
    """

    episode_sha256: str
    bundle: str
    bundle_sha256: str
    robot: str
    joints: tuple[str, ...]
    max_error: float
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far commands are from a reference.

    Attributes:
        max_command_error: The largest difference in rad/s; NaN if there is nothing to compare.
        faults: Sentences on each kind of difference; none if the commands are the same.
    """

    max_command_error: float
    faults: tuple[str, ...]


def make_reference(
    episode: Path, bundle: Bundle, robot: RobotDescription, commands: Sequence[Command]
) -> Reference:
    """Accept commands."""
    return Reference(
        hash_episode(episode),
        bundle.name,
        bundle.sha256,
        robot.name,
        robot.joint_names,
        MAX_ERROR,
        tuple(commands),
    )


def hash_episode(path: Path) -> str:
    """Return the SHA-256 of a recording; what was noted about it later does not count."""
    digest = hashlib.sha256()
    for file in sorted(path.glob('*.mcap')):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def save_reference(file: Path, reference: Reference) -> None:
    """Write a reference, one command a line, so that a change can be read.

    Raises:
        ReplayError: If the file cannot be written.
    """
    about = {
        'format': _FORMAT,
        'software': f'mil_ros {__version__}',
        'episode_sha256': reference.episode_sha256,
        'bundle': reference.bundle,
        'bundle_sha256': reference.bundle_sha256,
        'robot': reference.robot,
        'joints': reference.joints,
        'max_error': reference.max_error,
    }
    head = json.dumps(about, indent=2).removesuffix('\n}')
    lines = ',\n    '.join(json.dumps(_to_document(command)) for command in reference.commands)
    try:
        write_atomically(file, f'{head},\n  "commands": [\n    {lines}\n  ]\n}}\n'.encode())
    except OSError as err:
        raise ReplayError(
            f'Cannot write the reference {file} ({err.strerror}); expected a writable folder, '
            'choose another file with --reference.'
        ) from err


def load_reference(file: Path) -> Reference:
    """Read a reference.

    Raises:
        ReplayError: If it is missing, damaged or of another format.
    """
    if not file.is_file():
        raise ReplayError(
            f'No reference {file}; expected the commands of a replay that was found good. Write '
            'one with --write-reference.'
        )
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        version = document.pop('format')
        if version == _FORMAT:
            return _from_document(document)
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise ReplayError(
            f'{file} is no reference ({type(err).__name__}: {err}); expected a file that '
            '--write-reference wrote, write it again.'
        ) from err
    raise ReplayError(
        f'{file} has format {version!r}, this version reads {_FORMAT}; write it again with '
        '--write-reference.'
    )


def check_reference(file: Path, reference: Reference, episode: Path, bundle: Bundle) -> None:
    """Refuse a reference whose commands can say nothing about a replay.

    Raises:
        ReplayError: If it was made from another bundle or recording.
    """
    pairs = {
        'bundle': (reference.bundle_sha256, bundle.sha256),
        'recording': (reference.episode_sha256, hash_episode(episode)),
    }
    for what, (got, expected) in pairs.items():
        if got != expected:
            raise ReplayError(
                f'Reference {file} was written for another {what}: got SHA-256 {got[:12]}..., '
                f'expected {expected[:12]}...; if the new {what} is meant, write the reference '
                'again with --write-reference.'
            )


def compare(reference: Reference, commands: Sequence[Command]) -> Comparison:
    """Compare commands with those of a reference, tick by tick."""
    faults = []
    if len(commands) != len(reference.commands):
        faults.append(f'There are {len(commands)} commands, expected {len(reference.commands)}.')
    pairs = list(zip(commands, reference.commands))
    for tick, (got, expected) in enumerate(pairs):
        if got.used != expected.used:
            faults.append(f'Tick {tick} used other data: {got.used} Expected: {expected.used}')
            break
    if not pairs:
        return Comparison(math.nan, tuple(faults))
    errors = np.abs([np.subtract(g.velocities, e.velocities) for g, e in pairs])
    row, column = divmod(int(errors.argmax()), errors.shape[1])  # NaN counts as largest
    worst = float(errors[row, column])
    if not worst <= reference.max_error:
        value, wanted = (command.velocities[column] for command in pairs[row])
        faults.append(
            f'Tick {row} commands {value:.6f} rad/s for {reference.joints[column]}, expected '
            f'{wanted:.6f} within {reference.max_error:g}.'
        )
    return Comparison(worst, tuple(faults))


def _to_document(command: Command) -> dict[str, Any]:
    return {
        'moment_ns': command.used.moment_ns,
        'used_ns': command.used.stamps_ns,
        'velocities': command.velocities,
    }


def _from_document(document: dict[str, Any]) -> Reference:
    commands = tuple(
        Command(
            AsOf(int(entry['moment_ns']), dict(entry['used_ns'])),
            tuple(float(v) for v in entry['velocities']),
        )
        for entry in document['commands']
    )
    joints = tuple(map(str, document['joints']))
    if any(len(command.velocities) != len(joints) for command in commands):
        raise ValueError(f'a command has not {len(joints)} velocities')
    return Reference(
        str(document['episode_sha256']),
        str(document['bundle']),
        str(document['bundle_sha256']),
        str(document['robot']),
        joints,
        float(document['max_error']),
        commands,
    )
