"""``mil bench stops``: how long the arm goes on after anything has failed."""

from mil_ros.tools.bench.stops.command import bench_stops

__all__ = ['bench_stops']
