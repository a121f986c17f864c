"""``mil train``: meta-training with progress, checkpoints, validation and resuming."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
import csv
from dataclasses import astuple
import os
from pathlib import Path
import threading
import time
from typing import Any, TextIO, TYPE_CHECKING

from mil_ros.core.errors import CheckpointError, ConfigError
from mil_ros.data.dataset import write_atomically
from mil_ros.data.mixture import open_datasets
from mil_ros.tools.best import Best
from mil_ros.tools.output import console, make_progress, parse_seed, print_json

if TYPE_CHECKING:
    from mil_ros.learning.trainer import StepReport, Trainer
    from mil_ros.tools.validation import Validation

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
    parser.add_argument(
        '--device', default='auto', choices=['auto', 'cpu', 'cuda'], help='auto: a GPU if any'
    )
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Train, or go on if the folder holds a checkpoint."""
    import torch

    from mil_ros.learning.config import MilConfig
    from mil_ros.learning.trainer import Trainer

    torch.set_num_threads(args.threads)
    device = _choose_device(args.device)
    checkpoint = args.out / 'last.safetensors'
    with _joined_processes(device) as rank:
        dataset = open_datasets(args.data)
        config = MilConfig(
            image_height=dataset.info.image_height,
            image_width=dataset.info.image_width,
            joints=len(dataset.info.joint_names),
            steps=args.steps,
            seed=args.seed,
            precision=_choose_precision(checkpoint, device),
        ).with_options(args.option)
        trainer = Trainer(dataset, config, device)
        if checkpoint.exists():
            trainer.resume(checkpoint)
        elif args.start_from is not None:
            trainer.start_from(args.start_from)
        if rank == 0:
            summary = _train(args, trainer, checkpoint)
            print_json(summary, args.json)
        else:
            trainer.run(checkpoint, lambda _: None)
    return 0


def _train(args: argparse.Namespace, trainer: Trainer, checkpoint: Path) -> dict[str, Any]:
    """Train with everything that a user wants to see of it; return the summary."""
    started_s = time.monotonic()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            monitor = _Monitor(args, trainer, stack)
            trainer.run(checkpoint, monitor.report)
    except OSError as err:  # of a log; checkpoints have a sentence of their own
        raise CheckpointError(
            f'Cannot write to {args.out} ({err.strerror}), expected a writable folder with free '
            'space; an earlier checkpoint is whole. Free some space or choose another --out, and '
            'run the same command again.'
        ) from err
    return {
        'checkpoint': str(checkpoint),
        'steps': trainer.step,
        'action_loss': monitor.smooth['action'],
        'pre_loss': monitor.smooth['pre'],
        'best_success': monitor.best.success,
        'seconds': round(time.monotonic() - started_s, 1),
    }


class _Monitor:
    """Shows, logs and validates a training as it goes."""

    def __init__(self, args: argparse.Namespace, trainer: Trainer, stack: ExitStack) -> None:
        self._args, self._trainer = args, trainer
        self.smooth = {'action': 0.0, 'pre': 0.0}
        self.best = Best.load(args.out)
        self._validation = _prepare_validation(args, trainer, stack)
        self._first, self._started_s = trainer.step, time.monotonic()
        self._file = stack.enter_context(_open_losses(args.out / 'losses.csv', trainer.step))
        self._csv = csv.writer(self._file)
        self._board = _open_board(args.out / 'tensorboard', trainer.step)
        if self._board is not None:
            stack.enter_context(_unheard_disk_errors())
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
        if self._validation and measured.step % self._args.validate_every == 0:
            self._validate(measured.step, self._validation)

    def _log(self, step: int, **scalars: float) -> None:
        for name, value in scalars.items() if self._board is not None else ():
            self._board.add_scalar(name, value, step)

    def _validate(self, step: int, validation: Validation) -> None:
        success = validation.run()
        self._log(step, success=success)
        verdict = 'the best so far' if self.best.offer(self._trainer, success) else 'no better'
        text = f'step {step}: success {success:.0%} on tasks not trained on, {verdict}'
        self._progress.print(text)


def _prepare_validation(
    args: argparse.Namespace, trainer: Trainer, stack: ExitStack
) -> Validation | None:
    """Return what measures the success now and then, if that is wanted."""
    if args.validate_every < 1:
        return None
    from mil_ros.tools.validation import Validation

    validation = Validation(trainer, args.validate_trials)
    stack.callback(validation.close)
    return validation


def _open_losses(path: Path, step: int) -> TextIO:
    """Return the file of losses, without what a killed process wrote after its last checkpoint."""
    if path.is_file():
        rows = path.read_bytes().splitlines(keepends=True)  # begin with the step
        kept = [r for r in rows if r.endswith(b'\n') and int(r.partition(b',')[0]) <= step]
        write_atomically(path, b''.join(kept))
    return path.open('a', newline='')


def _open_board(folder: Path, step: int) -> Any:
    """Return a TensorBoard writer that goes on from `step`; None where there is no TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        console.print('No TensorBoard scalars: install tensorboard to get them.')
        return None
    return SummaryWriter(folder, purge_step=step)


@contextmanager
def _unheard_disk_errors() -> Iterator[None]:
    """Keep TensorBoard's thread from printing what it tells at the next scalar as well."""
    usual = threading.excepthook

    def ignore(failure: threading.ExceptHookArgs) -> None:
        if not issubclass(failure.exc_type, OSError):
            usual(failure)

    threading.excepthook = ignore
    try:
        yield
    finally:
        threading.excepthook = usual


def _choose_device(wish: str) -> str:
    """Return the device that this process shall compute on; of several processes each has one."""
    import torch

    has_gpu = torch.cuda.is_available()
    if wish == 'cuda' and not has_gpu:
        raise ConfigError(
            f'Got --device cuda, torch {torch.__version__} finds no GPU; expected cpu or auto, or '
            'a torch that was built for CUDA and a driver for it.'
        )
    if wish == 'cpu' or not has_gpu:
        return 'cpu'
    processes, gpus = int(os.environ.get('LOCAL_WORLD_SIZE', '1')), torch.cuda.device_count()
    if processes > gpus:
        raise ConfigError(
            f'Got {processes} processes for {gpus} GPUs; expected one for each at most, start '
            'fewer (--nproc-per-node, make train PROCESSES=1) or train with --device cpu.'
        )
    number = int(os.environ.get('LOCAL_RANK', '0'))
    torch.cuda.set_device(number)
    return f'cuda:{number}'


@contextmanager
def _joined_processes(device: str) -> Iterator[int]:
    """Join the other processes if ``torchrun`` started several; yield this one's rank."""
    from torch import distributed

    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield 0
        return
    distributed.init_process_group('gloo' if device == 'cpu' else 'nccl')
    rank: Any = distributed.get_rank()
    try:
        yield int(rank)
    finally:  # or gloo's threads outlive the interpreter, which now and then aborts the process
        distributed.destroy_process_group()


def _choose_precision(checkpoint: Path, device: str) -> str:
    """Return the precision of an interrupted training, else the fastest; all processes agree."""
    from torch import distributed

    from mil_ros.learning.checkpoint import load_checkpoint
    from mil_ros.learning.precision import fastest_precision

    if checkpoint.exists():
        return load_checkpoint(checkpoint).config.precision
    choice = [fastest_precision(device)]
    if distributed.is_available() and distributed.is_initialized():
        distributed.broadcast_object_list(choice)
    return choice[0]
