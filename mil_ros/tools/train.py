"""``mil train``: meta-training with progress, checkpoints, validation and resuming."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
import csv
from dataclasses import astuple
import os
from pathlib import Path
import time
from typing import Any, TYPE_CHECKING

import numpy as np

from mil_ros.data.mixture import open_datasets
from mil_ros.tools.output import console, make_progress, parse_seed, print_json

if TYPE_CHECKING:
    from mil_ros.learning.trainer import StepReport, Trainer

_VALIDATION_STREAM = 17  # keeps validation scenes apart from those of collection and evaluation
_FLUSH_EVERY = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil train``."""
    parser.add_argument(
        '--data',
        type=Path,
        required=True,
        action='append',
        help='dataset folder; may be repeated to mix several',
    )
    parser.add_argument('--out', type=Path, required=True, help='folder for checkpoints')
    parser.add_argument('--steps', type=int, default=4500, help='meta-training steps')
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument(
        '--option',
        action='append',
        default=[],
        metavar='FIELD=VALUE',
        help='another field of the configuration, such as step_size=0.3; may be repeated',
    )
    parser.add_argument(
        '--start-from', type=Path, help='checkpoint of another training to take over from'
    )
    parser.add_argument(
        '--validate-every',
        type=int,
        default=0,
        metavar='STEPS',
        help='run trials on tasks that are not in the dataset, keep the best checkpoint',
    )
    parser.add_argument('--validate-trials', type=int, default=24)
    parser.add_argument('--threads', type=int, default=1, help='torch threads')
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Train, or go on if the folder holds a checkpoint."""
    import torch

    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.trainer import Trainer

    torch.set_num_threads(args.threads)
    rank = _join_processes()
    dataset = open_datasets(args.data)
    config = MilConfig(
        image_height=dataset.info.image_height,
        image_width=dataset.info.image_width,
        joints=len(dataset.info.joint_names),
        steps=args.steps,
        seed=args.seed,
    ).with_options(args.option)
    trainer = Trainer(dataset, config)
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / 'last.safetensors'
    if checkpoint.exists():
        trainer.resume(checkpoint)
    elif args.start_from is not None:
        trainer.start_from(args.start_from)
    if rank != 0:
        trainer.run(checkpoint, lambda _: None)
        return 0
    started = time.monotonic()
    with ExitStack() as stack:
        monitor = _Monitor(args, trainer, stack)
        trainer.run(checkpoint, monitor.report)
    print_json(
        {
            'checkpoint': str(checkpoint),
            'steps': trainer.step,
            'action_loss': monitor.smooth['action'],
            'pre_loss': monitor.smooth['pre'],
            'best_success': monitor.best_success,
            'seconds': round(time.monotonic() - started, 1),
        },
        args.json,
    )
    return 0


class _Monitor:
    """Shows, logs and validates a training as it goes."""

    def __init__(self, args: argparse.Namespace, trainer: Trainer, stack: ExitStack) -> None:
        self._args, self._trainer = args, trainer
        self.smooth = {'action': 0.0, 'pre': 0.0}
        self.best_success: float | None = None
        self._first, self._started_s = trainer.step, time.monotonic()
        self._file = stack.enter_context((args.out / 'losses.csv').open('a', newline=''))
        self._csv = csv.writer(self._file)
        self._board = _open_board(args.out / 'tensorboard', trainer.step)
        if self._board is not None:
            stack.enter_context(self._board)
        self._progress = stack.enter_context(make_progress())
        self._bar = self._progress.add_task(
            'training', total=args.steps, completed=trainer.step, note=''
        )

    def report(self, measured: StepReport) -> None:
        """Take note of one meta-training step."""
        done = measured.step - self._first
        self._csv.writerow(astuple(measured))
        keep = min(0.98, done / (done + 1))
        for name, value in (('action', measured.action_loss), ('pre', measured.pre_loss)):
            self.smooth[name] = keep * self.smooth[name] + (1 - keep) * value
        tasks = done * self._trainer.config.meta_batch
        speed = tasks / (time.monotonic() - self._started_s)
        note = f'loss {self.smooth["action"]:.3f} after, {self.smooth["pre"]:.3f} before; '
        self._progress.update(self._bar, advance=1, note=note + f'{speed:.1f} tasks/s')
        if measured.step % _FLUSH_EVERY == 0:
            self._file.flush()
            self._log(measured.step, tasks_per_s=speed, **self.smooth)
        every = self._args.validate_every
        if every and measured.step % every == 0:
            self._validate(measured.step)

    def _log(self, step: int, **scalars: float) -> None:
        for name, value in scalars.items() if self._board is not None else ():
            self._board.add_scalar(name, value, step)

    def _validate(self, step: int) -> None:
        success = validate(self._trainer, self._args.validate_trials)
        self._log(step, success=success)
        self._progress.print(f'step {step}: success {success:.0%} on tasks not trained on')
        if self.best_success is None or success >= self.best_success:
            self.best_success = success
            self._trainer.save(self._args.out / 'best.safetensors')


def _open_board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer that goes on from `step`; None where there is no TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        console.print('No TensorBoard scalars: install tensorboard to get them.')
        return None
    return SummaryWriter(folder, purge_step=step)


def validate(trainer: Trainer, trials: int) -> float:
    """Return the success on new tasks of the training palette, one trial each.

    The held-out palette stays unseen until `mil evaluate`, even for choosing a checkpoint.
    """
    from mil_ros.core.robot import load_robot
    from mil_ros.learning.torch_policy import TorchPolicy
    from mil_ros.sim.families import get_family
    from mil_ros.sim.simulation import Simulation
    from mil_ros.tools.trials import run_trial

    info = trainer.dataset.info
    simulation = Simulation(load_robot(info.robot), get_family(info.task.split('+')[0]))
    policy = TorchPolicy(trainer.state())
    won = 0
    try:
        for index in range(trials):
            task = simulation.family.sample_task('train', info.seed + 1, index)
            rng = np.random.default_rng([info.seed, index, _VALIDATION_STREAM])
            _, trial = run_trial(
                simulation,
                policy,
                task,
                rng,
                modality=trainer.config.modality,
                shots=trainer.config.shots,
            )
            won += trial.outcome.success
    finally:
        simulation.close()
    return won / trials


def _join_processes() -> int:
    """Join the other processes if ``torchrun`` started several; return this one's rank."""
    from torch import distributed

    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        return 0
    distributed.init_process_group('gloo')
    rank: Any = distributed.get_rank()
    return int(rank)
