"""Choosing an off-screen OpenGL backend before MuJoCo is imported."""

import os
import sys


def select_backend() -> None:
    """Render through EGL on one thread unless the user chose otherwise.

    The software renderer would start a thread per core, which fights with the rest of the graph
    on a small machine.
    """
    if sys.platform.startswith('linux') and not os.environ.get('DISPLAY'):
        os.environ.setdefault('MUJOCO_GL', 'egl')
    os.environ.setdefault('LP_NUM_THREADS', '1')
