"""``mil replay``: the same episode through the same nodes must give the same commands."""

from mil_ros.tools.replay.command import add_arguments, run

__all__ = ['add_arguments', 'run']
