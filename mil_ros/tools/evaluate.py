"""``mil evaluate``: closed-loop trials on held-out tasks in the simulator."""

from __future__ import annotations

import argparse
from functools import partial
import multiprocessing
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

import numpy as np

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.inference.bundle import check_robot, load_bundle, write_manifest
from mil_ros.tools.output import parse_seed, print_json, track
from mil_ros.tools.statistics import wilson_interval

if TYPE_CHECKING:
    from mil_ros.inference.onnx_policy import OnnxPolicy
    from mil_ros.sim.simulation import Simulation

# One per worker process, set by `_init`.
_simulation: Simulation
_policy: OnnxPolicy

_TRIAL_STREAM = 11  # keeps trial layouts apart from those of data collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil evaluate``."""
    parser.add_argument('bundle', type=Path, help='bundle to evaluate')
    parser.add_argument('--trials', type=int, default=200, help='one held-out task each')
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument('--split', default='test', choices=['train', 'test'])
    parser.add_argument('--workers', type=int, default=2, help='processes')
    parser.add_argument(
        '--step-scale',
        type=float,
        default=1.0,
        help='factor on the learned step sizes; 0 runs the same trials without adaptation',
    )
    parser.add_argument(
        '--record',
        action='store_true',
        help='run with and without adaptation and write both figures into the manifest',
    )
    parser.add_argument('--json', type=Path, help='write the result to this file')


def run(args: argparse.Namespace) -> int:
    """Evaluate; every trial is one demonstration, one inner step and one run elsewhere."""
    if args.trials < 1 or args.workers < 1:
        raise ConfigError(
            f'Got --trials {args.trials} --workers {args.workers}; expected at least 1 of each.'
        )
    bundle = load_bundle(args.bundle)
    robot = load_robot(bundle.manifest['robot']['name'])
    check_robot(bundle, robot)
    result = evaluate(args, robot, args.step_scale)
    if args.record:
        control = evaluate(args, robot, 0.0)
        keys = ('trials', 'successes', 'success', 'interval', 'seed', 'split')
        results = {
            'adapted': {k: result[k] for k in keys},
            'step_size_zero': {k: control[k] for k in keys},
        }
        write_manifest(args.bundle, {**bundle.manifest, 'results': results})
        result['step_size_zero'] = control
    print_json(result, args.json)
    return 0


def evaluate(
    args: argparse.Namespace, robot: RobotDescription, step_scale: float
) -> dict[str, Any]:
    """Run all trials and return the result document."""
    started = time.monotonic()
    work = partial(run_trial, args.split, args.seed, step_scale)
    context = multiprocessing.get_context('spawn')
    label = 'evaluating' if step_scale else 'evaluating without adaptation'
    with context.Pool(args.workers, _init, (robot, args.bundle)) as pool:
        touched = list(track(pool.imap(work, range(args.trials)), label, args.trials))
    successes = sum(t == 0 for t in touched)
    low, high = wilson_interval(successes, args.trials)
    return {
        'bundle': str(args.bundle),
        'task': 'reach',
        'split': args.split,
        'trials': args.trials,
        'successes': successes,
        'success': round(successes / args.trials, 4),
        'interval': [round(low, 4), round(high, 4)],
        'seed': args.seed,
        'step_scale': step_scale,
        'wrong_object': sum(t not in (0, None) for t in touched),
        'touched_nothing': sum(t is None for t in touched),
        'seconds_per_trial': round((time.monotonic() - started) / args.trials, 3),
    }


def _init(robot: RobotDescription, bundle: Path) -> None:
    """Give each worker process its own simulation and policy."""
    global _simulation, _policy
    from mil_ros.inference.onnx_policy import OnnxPolicy
    from mil_ros.sim.simulation import Simulation

    _simulation = Simulation(robot)
    _policy = OnnxPolicy(load_bundle(bundle))


def run_trial(split: str, seed: int, step_scale: float, index: int) -> int | None:
    """Return which object the adapted policy touched in a layout that it was not shown."""
    from mil_ros.sim import reach, rollout

    task = reach.sample_task(split, seed, index)
    rng = np.random.default_rng([seed, index, _TRIAL_STREAM])
    demo = None
    while demo is None:
        demo = rollout.demonstrate(_simulation, task, rng, noise_rad_s=0.0)
    policy, _ = _policy.adapt_and_report(demo, step_scale)
    _simulation.reset(task, reach.sample_layout(rng), rollout.sample_start(_simulation, rng))
    return rollout.run_policy(_simulation, policy).touched
