"""Keeping the memory of large messages and tensors instead of giving it back after each one."""

from __future__ import annotations

import ctypes
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_TOP_PAD: Final = -2
_M_MMAP_THRESHOLD: Final = -3
_LARGEST: Final = 32 << 20  # the most that glibc takes for a threshold of mmap
_KEPT: Final = 256 << 20
MOST_KEPT: Final = (1 << 31) - 1  # bytes; mallopt takes an int


def keep_freed_memory(kept_bytes: int = _KEPT) -> bool:
    """Have malloc reuse large blocks, for the whole process.

    By default glibc maps each camera image anew and unmaps it again; the page faults of that cost
    three times what receiving the image does. They are a sixth of the time of a training step.

    Args:
        kept_bytes: How much of what is freed may stay with the process, at most `MOST_KEPT`.

    Returns:
        Whether the C library knows how to; only glibc does.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is None:
        return False
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST),
        (_M_TRIM_THRESHOLD, kept_bytes),
        (_M_TOP_PAD, _LARGEST),
    )
    return bool(sum(mallopt(option, value) for option, value in settings) == len(settings))
