"""Which precision the convolutions of a training are fastest in."""

from __future__ import annotations

import time

import torch

from mil_ros.learning.kernels import convolve

_ROUNDS = 15
_FRAMES, _TASKS, _CHANNELS, _ROWS, _COLUMNS, _KERNEL = 3, 24, 32, 15, 20, 3


def fastest_precision(device: str) -> str:
    """Return ``bfloat16`` or ``float32``, whichever a device convolves faster in.

    Not every processor with instructions for bfloat16 is quick at them: with some it takes longer
    than float32, so both are tried, for a tenth of a second. GPUs have fast bfloat16 from compute
    capability 8.0 on.

    Args:
        device: ``cpu``, or one with CUDA.
    """
    if torch.device(device).type == 'cuda':
        return 'bfloat16' if torch.cuda.get_device_capability(device) >= (8, 0) else 'float32'
    precisions = ('bfloat16', 'float32')  # if both are as fast, the one that takes less memory
    best_s = dict.fromkeys(precisions, float('inf'))
    for _ in range(_ROUNDS):  # by turns, so that other load on the machine meets both alike
        for precision in precisions:
            best_s[precision] = min(best_s[precision], _time_convolution(precision))
    return min(precisions, key=best_s.__getitem__)


def _time_convolution(precision: str) -> float:
    """Return the time on this thread, in seconds, of a convolution like those of the network."""
    kind = getattr(torch, precision)
    x = torch.ones(_FRAMES, _TASKS * _CHANNELS, _ROWS, _COLUMNS, dtype=kind)
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.ones(_TASKS, _CHANNELS, _CHANNELS, _KERNEL, _KERNEL, dtype=kind)
    began_s = time.thread_time()
    convolve(x, weight, 1)
    return time.thread_time() - began_s
