"""``mil bench``: measurements against the limits that the project has set itself."""

from mil_ros.tools.bench.command import add_arguments, run

__all__ = ['add_arguments', 'run']
