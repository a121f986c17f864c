"""MuJoCo, imported once its off-screen OpenGL backend has been chosen."""

import os
import sys

if sys.platform.startswith('linux') and not os.environ.get('DISPLAY'):
    os.environ.setdefault('MUJOCO_GL', 'egl')
# The software renderer would start a thread per core, which fights with the rest of the graph on
# a small machine; with none it draws in the thread that asks.
os.environ.setdefault('LP_NUM_THREADS', '0')

import mujoco

__all__ = ['mujoco']
