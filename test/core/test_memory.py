"""Large blocks are reused: receiving an image must not fault its pages in anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

MEASURE = """
import resource
from mil_ros.core.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def receive():
    blocks = [bytes(3_000_000) for _ in range(4)]
for _ in range(3):
    receive()
before = faults()
for _ in range(100):
    receive()
print(faults() - before)
"""


def page_faults(keep: bool) -> int:
    done = subprocess.run(
        [sys.executable, '-c', MEASURE.format(keep=keep)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc has mallopt')
def test_freed_memory_is_kept() -> None:
    assert page_faults(keep=True) < 0.2 * page_faults(keep=False)
