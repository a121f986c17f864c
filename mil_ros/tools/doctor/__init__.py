"""``mil doctor``: what is wrong with a running graph before the arm moves, and how to fix it."""

from mil_ros.tools.doctor.command import add_arguments, run

__all__ = ['add_arguments', 'run']
