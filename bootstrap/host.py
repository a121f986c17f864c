"""What the machine must bring: a Python and a few system packages."""

from __future__ import annotations

from collections.abc import Sequence
import ctypes
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys

from commands import run, SetupError

OLDEST, NEWEST = (3, 10), (3, 13)  # the ROS 2 wheels exist for these

_PROBE = """
import importlib.util, json, os, sys, sysconfig
header = os.path.join(sysconfig.get_paths()['include'], 'Python.h')
has_venv = all(map(importlib.util.find_spec, ('venv', 'ensurepip')))
print(json.dumps([*sys.version_info[:2], has_venv, os.path.isfile(header)]))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter, as it describes itself."""

    path: str
    version: tuple[int, int]
    has_venv: bool
    has_headers: bool

    @property
    def name(self) -> str:
        """The name that Debian's packages use."""
        return 'python{}.{}'.format(*self.version)


def check_platform(system: str, machine: str) -> None:
    """Refuse what the ROS 2 wheels do not run on."""
    if (system, machine) != ('Linux', 'x86_64'):
        raise SetupError(
            f'This is {system} on {machine}; the ROS 2 wheels exist for Linux on x86_64 only. '
            'Install ROS 2 from its own packages and build with colcon instead (README).'
        )


def probe_python(path: str) -> Python | None:
    """Ask an interpreter what it is; None if it does not run."""
    try:
        answer = subprocess.run([path, '-c', _PROBE], capture_output=True, check=True)
        major, minor, has_venv, has_headers = json.loads(answer.stdout)
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return Python(path, (major, minor), has_venv, has_headers)


def find_python(requested: str | None) -> Python:
    """Return the requested interpreter, or the first one that fits."""
    common = [sys.executable, *(f'python3.{minor}' for minor in (12, 11, 10, 13))]
    rejected = []
    for path in [requested] if requested else common:
        python = probe_python(path)
        if python and OLDEST <= python.version <= NEWEST:
            return python
        rejected.append(f'{path} is {python.name}' if python else f'{path} does not run')
    raise SetupError(
        f'No usable Python: {", ".join(rejected)}; expected python3.10 to python3.13. Install '
        'one, or name it: make setup PYTHON=/path/to/python3.12'
    )


def find_missing(python: Python | None) -> list[str]:
    """Return the Debian packages that are missing; those of Python itself if it is given."""
    present = {
        'cmake': bool(shutil.which('cmake')),
        'make': bool(shutil.which('make')),
        'g++': bool(shutil.which('cc') and shutil.which('c++')),
        'libegl1': _can_load('libEGL.so.1'),
        'libgl1-mesa-dri': _has_gl_driver(),
    }
    if python:
        present[f'{python.name}-venv'] = python.has_venv
        present[f'{python.name}-dev'] = python.has_headers
    return [package for package, is_present in present.items() if not is_present]


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _has_gl_driver() -> bool:
    # Mesa's software renderer, wherever the distribution keeps it, or NVIDIA's.
    patterns = ('lib/dri', 'lib64/dri', 'lib/*/dri')
    mesa = any(any(Path('/usr').glob(f'{folder}/*swrast_dri.so')) for folder in patterns)
    return mesa or _can_load('libEGL_nvidia.so.0')


def install_system_packages(packages: Sequence[str], log: Path) -> None:
    """Install Debian packages, where this user may do so without a password."""
    line = f'sudo apt-get install -y {" ".join(packages)}'
    root = _find_root_prefix()
    if root is None or not shutil.which('apt-get'):
        raise SetupError(
            f'System packages are missing: {", ".join(packages)} (as Debian and Ubuntu name '
            f'them). Install them, then repeat:\n  {line}'
        )
    apt = [*root, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get']
    hint = f'Install them yourself: {line}\n'
    run([*apt, 'update'], log, hint)
    run([*apt, 'install', '-y', '--no-install-recommends', *packages], log, hint, mode='a')


def _find_root_prefix() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    sudo = ['sudo', '-n']
    if not shutil.which('sudo') or subprocess.run([*sudo, 'true'], capture_output=True).returncode:
        return None
    return sudo
