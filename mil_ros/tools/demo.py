"""``mil demo``: the whole loop over real DDS, on tasks that were never trained on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import signal
import time
from typing import Any

import numpy as np
from rich.live import Live
from rich.table import Table

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.inference.bundle import check_robot, load_bundle
from mil_ros.sim.families import get_family
from mil_ros.tools.graph import Graph, isolate
from mil_ros.tools.loop import Episode, Loop
from mil_ros.tools.output import console, parse_seed, print_json

REQUIRED_SHARE = 0.8  # of the episodes must succeed


@dataclass(frozen=True, slots=True)
class Session:
    """A running graph and the episodes to take it through."""

    graph: Graph
    loop: Loop
    episodes: list[Episode]
    model_sha256: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil demo``."""
    parser.add_argument('--episodes', type=int, default=10, help='number of unseen tasks')
    parser.add_argument('--task', help='family (default: what the bundle was trained on)')
    parser.add_argument('--seed', type=parse_seed, default=0, help='of tasks and scenes')
    parser.add_argument('--bundle', type=Path, help='bundle to adapt (default: models/TASK)')
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--out', type=Path, default=Path('demo'), help='folder for everything')
    parser.add_argument('--no-video', action='store_true', help='write no videos')
    parser.add_argument('--json', type=Path, help='report (default: OUT/report.json)')


def parse_options(words: list[str]) -> argparse.Namespace:
    """Return the options of ``mil demo`` from words of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def run(args: argparse.Namespace) -> int:
    """Run the episodes; 0 if enough of them succeed, 1 if not."""
    started_s = time.monotonic()
    with open_session(args) as session:
        episodes = session.episodes
        with Live(console=console, refresh_per_second=4) as live:

            def show() -> None:
                live.update(_table(episodes))

            session.loop.show = show
            episodes[0].stage = 'starting the nodes'
            show()
            session.loop.bring_up()
            for episode in episodes:
                session.loop.attempt(episode)
    report = _report(session, args.seed, time.monotonic() - started_s)
    print_json(report, args.json or args.out / 'report.json')
    return 0 if report['successes'] >= REQUIRED_SHARE * args.episodes else 1


@contextmanager
def open_session(args: argparse.Namespace) -> Iterator[Session]:
    """Start the graph in a ROS domain of its own; all of it ends with the context.

    Raises:
        MilError: If options or bundle make no sense; nothing is started then.
    """
    if args.episodes < 1:
        raise ConfigError(f'Got --episodes {args.episodes}; expected at least 1.')
    robot = load_robot(args.robot)
    bundle = load_bundle(args.bundle or share_dir() / 'models' / (args.task or 'reach'))
    check_robot(bundle, robot)
    family = get_family(args.task or bundle.manifest['task'])
    signal.signal(signal.SIGTERM, _interrupt)
    isolate()
    tasks = [family.sample_task('test', args.seed, i) for i in range(args.episodes)]
    episodes = [Episode(i, task.colour, family.name) for i, task in enumerate(tasks)]
    values = {
        'robot': args.robot,
        'bundle': str(bundle.path.resolve()),
        'episodes': str((args.out / 'episodes').resolve()),
        'policies': str((args.out / 'policies').resolve()),
        'dry_run': 'false',
        'family': family.name,
        'seed': str(args.seed),
    }
    with ThreadPoolExecutor(1) as pool, Graph(values, args.out / 'logs') as graph:
        loop = Loop(robot, graph, args.out, None if args.no_video else pool)
        try:
            yield Session(graph, loop, episodes, bundle.sha256)
        finally:
            loop.close()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _table(episodes: list[Episode]) -> Table:
    family = episodes[0].family
    table = Table(title=f'{family}: one demonstration each, objects never trained on')
    for column in ('task', 'colour', 'adapt', 'run', 'result'):
        table.add_column(column)
    for e in episodes:
        verdict = {None: f'[dim]{e.stage}[/]', True: '[green]success[/]', False: '[red]failed[/]'}
        adapt = f'{e.adapt_ms:.0f} ms' if np.isfinite(e.adapt_ms) else ''
        seconds = f'{e.run_s:.1f} s' if np.isfinite(e.run_s) else ''
        result = verdict[e.success] + (f'  {e.message}' if e.success is not None else '')
        table.add_row(str(e.index), f'[{e.colour}]███[/] {e.colour}', adapt, seconds, result)
    return table


def _report(session: Session, seed: int, wall_s: float) -> dict[str, Any]:
    episodes = session.episodes
    ticks = [ms for e in episodes for ms in e.tick_ms]
    p50, p99 = np.percentile(ticks, (50, 99)).round(2).tolist() if ticks else (None, None)
    return {
        'task': episodes[0].family,
        'episodes': len(episodes),
        'successes': sum(bool(e.success) for e in episodes),
        'adapt_ms': [round(e.adapt_ms, 1) for e in episodes if np.isfinite(e.adapt_ms)],
        'tick_ms': {'p50': p50, 'p99': p99},
        'model_sha256': session.model_sha256,
        'seed': seed,
        'wall_s': round(wall_s, 1),
        'tasks': [
            {
                'index': e.index,
                'colour': e.colour,
                'success': bool(e.success),
                'run_s': round(e.run_s, 2) if np.isfinite(e.run_s) else None,
                'retries': e.retries,
                'message': e.message,
                'video': e.video,
            }
            for e in episodes
        ],
    }
