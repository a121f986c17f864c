"""The running graph: processor time when idle, memory that episodes leave behind."""

from __future__ import annotations

import argparse
import time

import psutil

from mil_ros.core.errors import ConfigError
from mil_ros.tools import demo
from mil_ros.tools.bench.rows import at_most, cpu_s, plain, Row
from mil_ros.tools.output import console

_IDLE_S = 10.0
_SETTLE_S = 3.0
_IDLE_LIMIT_CORES = 0.4
_GROWTH_LIMIT_MIB = 5.0  # per process; buffers of the allocator come and go
_WARM_UP_EPISODES = 2  # graphs are loaded and buffers made in the first ones


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
        at_most(
            'idle_cores',
            sum(v for n, v in cores.items() if n != 'sim'),
            'cores',
            _IDLE_LIMIT_CORES,
        )
    ]
    rows += [plain(f'idle_cores_{n}', v, 'cores') for n, v in cores.items()]
    rows += [
        at_most(f'growth_{n}_mib', last[n] - first[n], 'MiB', _GROWTH_LIMIT_MIB) for n in processes
    ]
    rows += [plain(f'rss_{n}_mib', v, 'MiB') for n, v in last.items()]
    return rows


def _measure_cores(processes: dict[str, psutil.Process]) -> dict[str, float]:
    """Return the CPU time per second of each process while nothing is asked of it."""
    time.sleep(_SETTLE_S)
    before = {n: cpu_s(p) for n, p in processes.items()}
    began_s = time.monotonic()
    time.sleep(_IDLE_S)
    elapsed_s = time.monotonic() - began_s
    return {n: (cpu_s(p) - before[n]) / elapsed_s for n, p in processes.items()}


def _measure_mib(processes: dict[str, psutil.Process]) -> dict[str, float]:
    return {n: p.memory_info().rss / 2**20 for n, p in processes.items()}
