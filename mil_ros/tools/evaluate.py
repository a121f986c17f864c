"""``mil evaluate``: closed-loop trials on held-out tasks in the simulator."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
import multiprocessing
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

import numpy as np

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Demo, Image
from mil_ros.inference.bundle import load_bundle, write_manifest
from mil_ros.tools import results
from mil_ros.tools.collect import TASKS
from mil_ros.tools.contenders import Contender, describe, SCRIPTED
from mil_ros.tools.output import parse_seed, print_json, track
from mil_ros.tools.statistics import wilson_interval
from mil_ros.tools.video import write_side_by_side

if TYPE_CHECKING:
    from mil_ros.core.types import Policy
    from mil_ros.sim.simulation import Simulation

# Of each worker process, set by `_init`.
_args: argparse.Namespace
_contender: Contender

_TRIAL_STREAM = 11  # keeps trial scenes apart from those of data collection
_VIDEO_RATE_HZ = 10.0
_MOST_VIDEOS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil evaluate``."""
    parser.add_argument(
        'policy',
        nargs='?',
        help=f'bundle, checkpoint, or one of {", ".join(SCRIPTED)}',
    )
    parser.add_argument(
        '--task', choices=TASKS, help='task family (default: what the policy was trained on)'
    )
    parser.add_argument('--trials', type=int, default=444)
    parser.add_argument('--tasks', type=int, default=74, help='held-out tasks to take turns')
    parser.add_argument('--seed', type=parse_seed, default=0, help='of tasks and scenes')
    parser.add_argument('--split', default='test', choices=['train', 'test'])
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument(
        '--step-scale',
        type=float,
        default=1.0,
        help='factor on the learned step sizes; 0 runs the same trials without adaptation',
    )
    parser.add_argument(
        '--inner-steps', type=int, help='gradient steps on the demonstration (checkpoints only)'
    )
    parser.add_argument(
        '--finetune', type=int, default=0, help='steps of Adam on the demonstration (checkpoints)'
    )
    parser.add_argument(
        '--record',
        action='store_true',
        help='run with and without adaptation and write both figures into the manifest',
    )
    parser.add_argument('--videos', type=Path, help='folder for videos of the first failures')
    parser.add_argument(
        '--table', action='store_true', help='write docs/results.md from docs/results/*.json'
    )
    parser.add_argument('--json', type=Path, help='write the result to this file')


def run(args: argparse.Namespace) -> int:
    """Evaluate; every trial is one demonstration, one adaptation and one run elsewhere."""
    if args.table:
        print_json({'written': [str(path) for path in results.write_report()]}, args.json)
        return 0
    if args.policy is None:
        raise ConfigError(
            'No policy to evaluate; expected a bundle such as models/reach, a checkpoint, or one '
            f'of {", ".join(SCRIPTED)}.'
        )
    if min(args.trials, args.workers, args.tasks) < 1:
        raise ConfigError(
            f'Got --trials {args.trials} --tasks {args.tasks} --workers {args.workers}; expected '
            'at least 1 of each.'
        )
    robot = load_robot(args.robot)
    contender = describe(args, robot)
    if args.record and not contender.is_bundle:
        raise ConfigError(
            f'Got --record for {args.policy!r}, which has no manifest; expected a bundle.'
        )
    result = evaluate(args, contender)
    if args.record:
        control = evaluate(args, contender.without_adaptation())
        keys = ('trials', 'successes', 'success', 'interval', 'seed', 'split')
        figures = {
            'adapted': {k: result[k] for k in keys},
            'step_size_zero': {k: control[k] for k in keys},
        }
        manifest = load_bundle(args.policy).manifest
        write_manifest(Path(args.policy), {**manifest, 'results': figures})
        result['step_size_zero'] = control
    print_json(result, args.json)
    return 0


@dataclass(frozen=True, eq=False, slots=True)
class TrialReport:
    """What one trial of an evaluation gave.

    Attributes:
        task: Number of the held-out task.
        success: Whether it was done.
        chosen: Which object was chosen, 0 being the shown one; None if none was.
        demo: The demonstration, if the trial failed and its video was asked for.
        frames: What the camera saw in the run, likewise.
    """

    task: int
    success: bool
    chosen: int | None
    demo: Demo | None
    frames: list[Image]


def evaluate(args: argparse.Namespace, contender: Contender) -> dict[str, Any]:
    """Run all trials and return the result document."""
    started = time.monotonic()
    context = multiprocessing.get_context('spawn')
    label = f'evaluating {contender.name}'
    with context.Pool(args.workers, _init, (args, contender)) as pool:
        done = track(pool.imap(_run_one, range(args.trials)), label, args.trials)
        reports = list(_drop_later_frames(done))
    if args.videos:
        _write_videos(args.videos, reports)
    successes = sum(r.success for r in reports)
    low, high = wilson_interval(successes, args.trials)
    by_task: dict[int, list[bool]] = {}
    for report in reports:
        by_task.setdefault(report.task, []).append(report.success)
    return {
        'bundle': contender.name,
        'task': contender.task,
        'method': contender.method,
        'modality': contender.modality,
        'shots': contender.shots,
        'split': args.split,
        'trials': args.trials,
        'successes': successes,
        'success': round(successes / args.trials, 4),
        'interval': [round(low, 4), round(high, 4)],
        'seed': args.seed,
        'options': contender.options(),
        **contender.training,
        'wrong_object': sum(not r.success and r.chosen not in (0, None) for r in reports),
        'chose_nothing': sum(not r.success and r.chosen is None for r in reports),
        'seconds_per_trial': round((time.monotonic() - started) / args.trials, 3),
        'by_task': {str(task): f'{sum(won)}/{len(won)}' for task, won in by_task.items()},
    }


def _drop_later_frames(reports: Iterable[TrialReport]) -> Iterator[TrialReport]:
    """Yield reports, of which the first failures alone keep the frames, to bound the memory."""
    kept = 0
    for report in reports:
        kept += report.demo is not None
        yield report if kept <= _MOST_VIDEOS else replace(report, demo=None, frames=[])


def _write_videos(folder: Path, reports: list[TrialReport]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, report in enumerate(reports):
        if report.demo is None:
            continue
        chosen = 'nothing' if report.chosen is None else f'object {report.chosen}'
        write_side_by_side(
            folder / f'trial_{i:03d}.mp4',
            list(report.demo.images),
            report.frames,
            (f'task {report.task}, shown', f'chose {chosen}'),
            _VIDEO_RATE_HZ,
        )


def _init(args: argparse.Namespace, contender: Contender) -> None:
    """Tell a worker process what to do; what can fail waits, or the pool would start anew."""
    global _args, _contender
    _args, _contender = args, contender


@lru_cache(maxsize=1)
def _prepare() -> tuple[Simulation, Policy]:
    """Return the simulation and the policy of this worker process."""
    from mil_ros.sim.families import get_family
    from mil_ros.sim.simulation import Simulation

    simulation = Simulation(load_robot(_args.robot), get_family(_contender.task))
    return simulation, _contender.make(simulation)


def _run_one(index: int) -> TrialReport:
    from mil_ros.tools.trials import run_trial

    simulation, policy = _prepare()
    number = index % _args.tasks
    task = simulation.family.sample_task(_args.split, _args.seed, number)
    rng = np.random.default_rng([_args.seed, index, _TRIAL_STREAM])
    demo, trial = run_trial(
        simulation,
        policy,
        task,
        rng,
        modality=_contender.modality,
        shots=_contender.shots,
        keep_frames=_args.videos is not None,
    )
    outcome = trial.outcome
    keep = _args.videos is not None and not outcome.success
    return TrialReport(
        number,
        outcome.success,
        outcome.chosen,
        demo if keep else None,
        trial.frames if keep else [],
    )
