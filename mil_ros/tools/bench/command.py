"""The command line of ``mil bench`` and the form of its results."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform

import psutil

from mil_ros.tools.bench.graph import bench_graph
from mil_ros.tools.bench.loop import bench_loop
from mil_ros.tools.bench.record import bench_record
from mil_ros.tools.bench.rows import Row
from mil_ros.tools.bench.stops import bench_stops
from mil_ros.tools.bench.train import bench_train
from mil_ros.tools.output import parse_seed, print_json

_PACKAGES = (
    'mil_ros',
    'numpy',
    'onnxruntime',
    'mujoco',
    'rosbags',
    'ros-jazzy-rclpy',
    'torch',
    'learn2learn',
    'higher',
)
BENCHES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    'graph': bench_graph,
    'loop': bench_loop,
    'record': bench_record,
    'stops': bench_stops,
    'train': bench_train,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil bench``."""
    parser.add_argument('bench', choices=sorted(BENCHES), help='what to measure')
    parser.add_argument('--episodes', type=int, default=10, help='for graph: episodes to run')
    parser.add_argument('--minutes', type=float, default=10.0, help='for loop: to run for')
    parser.add_argument('--seconds', type=float, default=60.0, help='for record: to record for')
    parser.add_argument('--cycles', type=int, default=100, help='for record: starts and stops')
    parser.add_argument(
        '--repetitions', type=int, default=20, help='for stops: how often to have each fault'
    )
    parser.add_argument('--steps', type=int, default=20, help='for train: steps of each trainer')
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument('--bundle', type=Path, help='bundle to use (default: models/reach)')
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for everything')
    parser.add_argument('--json', type=Path, help='write the rows to this file')


def run(args: argparse.Namespace) -> int:
    """Measure; 0 if every row keeps its limit, 1 if not."""
    before = psutil.cpu_times()
    rows = BENCHES[args.bench](args)
    stolen = _stolen_percent(before, psutil.cpu_times())
    document = {
        'bench': args.bench,
        'rows': [asdict(row) for row in rows],
        'machine': {
            'cores': os.cpu_count(),
            'memory_gib': round(psutil.virtual_memory().total / 2**30, 1),
            'processor': platform.machine(),
            'system': platform.system(),
            'python': platform.python_version(),
            'stolen_percent': stolen,
        },
        'versions': {name: _version(name) for name in _PACKAGES},
    }
    print_json(document, args.json)
    return 0 if all(row.ok for row in rows) else 1


def _stolen_percent(before: tuple[float, ...], after: tuple[float, ...]) -> float:
    """Return the share of processor time that the host of a virtual machine gave to others.

    With more than a few percent, the figures say as much about the neighbours as about the code.

    Args:
        before: `psutil.cpu_times` when the measurement began.
        after: The same when it ended.
    """
    elapsed = sum(after) - sum(before)
    stolen = getattr(after, 'steal', 0.0) - getattr(before, 'steal', 0.0)
    return round(100.0 * stolen / elapsed, 2) if elapsed > 0.0 else 0.0


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'
