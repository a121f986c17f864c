"""``mil collect``: demonstrations of many tasks, in parallel, from the simulator."""

from __future__ import annotations

import argparse
from functools import partial
import multiprocessing
from pathlib import Path
import time
from typing import TYPE_CHECKING

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data import dataset
from mil_ros.data.gathering import find_episodes, gather
from mil_ros.tools.output import make_progress, parse_seed, print_json, track

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

TASKS = ('reach', 'push', 'place')  # written out so that --help need not load the simulator

# One per worker process, set by `_init`.
_simulation: Simulation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil collect``."""
    parser.add_argument('--task', default='reach', choices=TASKS, help='task family')
    parser.add_argument('--tasks', type=int, default=1000, help='number of tasks')
    parser.add_argument('--demos', type=int, default=8, help='demonstrations per task')
    parser.add_argument('--split', default='train', choices=['train', 'test'])
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument('--out', type=Path, help='folder (default data/TASK-SPLIT)')
    parser.add_argument(
        '--from-episodes',
        type=Path,
        metavar='DIR',
        help='make the dataset of recorded episodes; those with one label are one task',
    )
    parser.add_argument(
        '--steps', type=int, default=40, help='moments per demonstration, with --from-episodes'
    )
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Collect what is missing; tasks already on disk are kept."""
    if args.from_episodes is not None:
        return _gather(args)
    if args.tasks < 1 or args.demos < 2 or args.workers < 1:
        raise ConfigError(
            f'Got --tasks {args.tasks} --demos {args.demos} --workers {args.workers}; expected at '
            'least 1 task, 2 demos (one to adapt to, one to judge by) and 1 worker.'
        )
    robot = load_robot(args.robot)
    out = args.out or Path('data') / f'{args.task}-{args.split}'
    dataset.save_info(out, _describe(args, robot))
    todo = [i for i in range(args.tasks) if not dataset.task_path(out, i).exists()]
    started = time.monotonic()
    failed = 0
    work = partial(_collect_one, out, args.split, args.seed, args.demos)
    context = multiprocessing.get_context('spawn')
    with context.Pool(args.workers, initializer=_init, initargs=(robot, args.task)) as pool:
        for count in track(pool.imap_unordered(work, todo), 'collecting', len(todo)):
            failed += count
    elapsed_s = time.monotonic() - started
    collected = len(todo) * args.demos
    summary = {
        'out': str(out),
        'tasks': args.tasks,
        'collected_demos': collected,
        'failed_demos': failed,
        'workers': args.workers,
        'demos_per_s': round(collected / elapsed_s, 2) if todo else 0.0,
    }
    print_json(summary, args.json)
    return 0


def _gather(args: argparse.Namespace) -> int:
    if args.out is None or args.steps < 2 or args.demos < 2:
        raise ConfigError(
            f'Got --out {args.out} --steps {args.steps} --demos {args.demos} with '
            '--from-episodes; expected a folder to write to and at least 2 of each.'
        )
    episodes = find_episodes(args.from_episodes)
    with make_progress() as progress:
        bar = progress.add_task('reading', total=len(episodes), note='')
        report = gather(
            args.from_episodes,
            load_robot(args.robot),
            args.out,
            name=args.out.name,
            demos=args.demos,
            steps=args.steps,
            on_episode=lambda: progress.advance(bar),
        )
    summary = {
        'out': str(args.out),
        'tasks': list(report.tasks),
        'demos': report.demos,
        'action_sources': report.action_sources,
        'skipped': report.skipped,
    }
    print_json(summary, args.json)
    return 0


def _describe(args: argparse.Namespace, robot: RobotDescription) -> dataset.DatasetInfo:
    return dataset.DatasetInfo(
        task=args.task,
        split=args.split,
        seed=args.seed,
        tasks=args.tasks,
        demos=args.demos,
        robot=robot.name,
        robot_sha256=robot.sha256,
        joint_names=robot.joint_names,
        rate_hz=robot.policy.rate_hz,
        image_height=robot.policy.image_height,
        image_width=robot.policy.image_width,
    )


def _init(robot: RobotDescription, family: str) -> None:
    """Give each worker process its own simulation."""
    global _simulation
    from mil_ros.sim.families import get_family
    from mil_ros.sim.simulation import Simulation

    _simulation = Simulation(robot, get_family(family))


def _collect_one(out: Path, split: str, seed: int, demos: int, index: int) -> int:
    from mil_ros.sim.rollout import collect_task

    kept, failed = collect_task(_simulation, split, seed, index, demos)
    dataset.save_task(out, index, kept)
    return failed
