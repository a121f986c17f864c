"""``mil train``: meta-training with progress, checkpoints and resuming."""

from __future__ import annotations

import argparse
import csv
from dataclasses import astuple
import os
from pathlib import Path
import time

from mil_ros.data.dataset import Dataset
from mil_ros.tools.output import make_progress, parse_seed, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil train``."""
    parser.add_argument('--data', type=Path, required=True, help='dataset folder')
    parser.add_argument('--out', type=Path, required=True, help='folder for the checkpoint')
    parser.add_argument('--steps', type=int, default=4500, help='meta-training steps')
    parser.add_argument('--seed', type=parse_seed, default=0)
    parser.add_argument(
        '--option',
        action='append',
        default=[],
        metavar='FIELD=VALUE',
        help='another field of the configuration, such as step_size=0.3; may be repeated',
    )
    parser.add_argument('--threads', type=int, default=1, help='torch threads')
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Train, or go on if the folder holds a checkpoint."""
    import torch

    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.trainer import StepReport, Trainer

    torch.set_num_threads(args.threads)
    rank = _join_processes()
    dataset = Dataset(args.data)
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
    started, first = time.monotonic(), trainer.step
    smooth = {'action': 0.0, 'pre': 0.0}
    if rank != 0:
        trainer.run(checkpoint, lambda _: None)
        return 0
    with (
        make_progress() as progress,
        (args.out / 'losses.csv').open('a', newline='') as file,
    ):
        writer = csv.writer(file)
        bar = progress.add_task('training', total=args.steps, completed=first, note='')

        def report(measured: StepReport) -> None:
            writer.writerow(astuple(measured))
            keep = min(0.98, (measured.step - first) / (measured.step - first + 1))
            smooth['action'] = keep * smooth['action'] + (1 - keep) * measured.action_loss
            smooth['pre'] = keep * smooth['pre'] + (1 - keep) * measured.pre_loss
            speed = (measured.step - first) * config.meta_batch / (time.monotonic() - started)
            note = f'loss {smooth["action"]:.3f} after, {smooth["pre"]:.3f} before; '
            progress.update(bar, advance=1, note=note + f'{speed:.1f} tasks/s')
            if measured.step % 50 == 0:
                file.flush()

        trainer.run(checkpoint, report)
    print_json(
        {
            'checkpoint': str(checkpoint),
            'steps': trainer.step,
            'action_loss': smooth['action'],
            'pre_loss': smooth['pre'],
            'seconds': round(time.monotonic() - started, 1),
        },
        args.json,
    )
    return 0


def _join_processes() -> int:
    """Join the other processes if ``torchrun`` started several; return this one's rank."""
    from torch import distributed

    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        return 0
    distributed.init_process_group('gloo')
    return distributed.get_rank()
