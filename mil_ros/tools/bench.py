"""``mil bench``: measurements against the limits that the project has set itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path
import platform
import time
from typing import Any

import psutil

from mil_ros.core.errors import ConfigError
from mil_ros.tools import demo
from mil_ros.tools.output import console, parse_seed, print_json

_IDLE_S = 10.0
_SETTLE_S = 3.0
_IDLE_LIMIT_CORES = 0.4
_GROWTH_LIMIT_MIB = 5.0  # per process; buffers of the allocator come and go
_WARM_UP_EPISODES = 2  # graphs are loaded and buffers made in the first ones
_PACKAGES = ('mil_ros', 'numpy', 'onnxruntime', 'mujoco', 'rosbags', 'ros-jazzy-rclpy')


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ok` says whether it keeps the limit."""

    name: str
    value: float
    unit: str
    limit: float | None
    ok: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil bench``."""
    parser.add_argument('bench', choices=sorted(BENCHES), help='what to measure')
    parser.add_argument('--episodes', type=int, default=10, help='for graph: episodes to run')
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument('--bundle', type=Path, help='bundle to use (default: models/reach)')
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for everything')
    parser.add_argument('--json', type=Path, help='write the rows to this file')


def run(args: argparse.Namespace) -> int:
    """Measure; 0 if every row keeps its limit, 1 if not."""
    rows = BENCHES[args.bench](args)
    document = {
        'bench': args.bench,
        'rows': [asdict(row) for row in rows],
        'machine': {
            'cores': os.cpu_count(),
            'memory_gib': round(psutil.virtual_memory().total / 2**30, 1),
            'processor': platform.machine(),
            'system': platform.system(),
            'python': platform.python_version(),
        },
        'versions': {name: _version(name) for name in _PACKAGES},
    }
    print_json(document, args.json)
    return 0 if all(row.ok for row in rows) else 1


def bench_graph(args: argparse.Namespace) -> list[Row]:
    """Measure the cores that the idle graph takes and the memory that episodes leave behind."""
    if args.episodes <= _WARM_UP_EPISODES:
        raise ConfigError(
            f'Got --episodes {args.episodes}; expected at least {_WARM_UP_EPISODES + 1}, since '
            f'memory is compared with that after episode {_WARM_UP_EPISODES}.'
        )
    options = demo.parse_options(
        ['--episodes', str(args.episodes), '--seed', str(args.seed), '--out', str(args.out)]
        + (['--bundle', str(args.bundle)] if args.bundle else [])
        + ['--no-video']
    )
    with demo.open_session(options) as session:
        processes = {n: psutil.Process(p.pid) for n, p in session.graph.processes.items()}
        session.loop.bring_up()
        console.print(f'measuring the idle graph for {_IDLE_S:g} s')
        cores = _measure_cores(processes)
        first: dict[str, float] = {}
        for episode in session.episodes:
            session.loop.attempt(episode)
            if episode.index + 1 == _WARM_UP_EPISODES:
                first = _measure_mib(processes)
        last = _measure_mib(processes)
    rows = [
        _row(
            'idle_cores',
            sum(v for n, v in cores.items() if n != 'sim'),
            'cores',
            _IDLE_LIMIT_CORES,
        )
    ]
    rows += [Row(f'idle_cores_{n}', round(v, 3), 'cores', None, True) for n, v in cores.items()]
    rows += [
        _row(f'growth_{n}_mib', last[n] - first[n], 'MiB', _GROWTH_LIMIT_MIB) for n in processes
    ]
    rows += [Row(f'rss_{n}_mib', round(v, 1), 'MiB', None, True) for n, v in last.items()]
    return rows


BENCHES: dict[str, Callable[[argparse.Namespace], list[Row]]] = {'graph': bench_graph}


def _row(name: str, value: float, unit: str, limit: float) -> Row:
    return Row(name, round(value, 3), unit, limit, value <= limit)


def _measure_cores(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU time per second of each process while nothing is asked of it."""
    time.sleep(_SETTLE_S)
    before = {n: _cpu_s(p) for n, p in processes.items()}
    began_s = time.monotonic()
    time.sleep(_IDLE_S)
    elapsed_s = time.monotonic() - began_s
    return {n: (_cpu_s(p) - before[n]) / elapsed_s for n, p in processes.items()}


def _cpu_s(process: psutil.Process) -> float:
    times: Any = process.cpu_times()
    return float(times.user + times.system)


def _measure_mib(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {n: p.memory_info().rss / 2**20 for n, p in processes.items()}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return 'not installed'
