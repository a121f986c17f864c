"""Inputs for tests, never all zero and never all alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import resource
import tempfile

import numpy as np

from mil_ros.core.types import Demo

# Where the objects of a simulated task stand: one ahead of the arm, one to each side of it
LAYOUT = np.array([[0.45, 0.0], [0.6, 0.2], [0.6, -0.2]])


def make_demo(
    rng: np.random.Generator, steps: int = 9, height: int = 12, width: int = 16, joints: int = 7
) -> Demo:
    return Demo(
        rng.integers(0, 256, (steps, height, width, 3), dtype=np.uint8),
        rng.normal(0.0, 0.7, (steps, joints)).astype(np.float32),
        rng.normal(0.0, 0.7, (steps, joints)).astype(np.float32),
    )


_NOBODY = 65534


@contextmanager
def forbidden_folder(mode: int) -> Iterator[Path]:
    """Make a folder that this process, be it root or not, has no more rights to than `mode`."""
    with tempfile.TemporaryDirectory() as name:
        outer = Path(name)
        inner = outer / 'forbidden'
        inner.mkdir()
        outer.chmod(0o755)
        inner.chmod(mode)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(_NOBODY)
        try:
            yield inner
        finally:
            if is_root:
                os.seteuid(0)
            inner.chmod(0o755)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as a full disk would.

    Keep the block short: where pytest's own output goes to a file, it counts as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
