"""Meta-training: many tasks, one inner step each, one outer Adam step per batch of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import math
from pathlib import Path
import signal
import threading

import torch
from torch import distributed, Tensor

from mil_ros.core.errors import CheckpointError, DatasetError, MilError
from mil_ros.data.dataset import Dataset
from mil_ros.learning.batches import Normaliser, sample_meta_batch
from mil_ros.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
)
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import init_step_sizes, meta_loss
from mil_ros.learning.network import init_params


class DivergedError(MilError):
    """The loss is no longer a number."""


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done; outside the main thread there is none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if caught:
        raise KeyboardInterrupt


def _check_size(dataset: Dataset, config: MilConfig) -> None:
    if len(dataset) < config.meta_batch:
        raise DatasetError(
            f'{dataset.directory} has {len(dataset)} tasks, a meta-batch needs '
            f'{config.meta_batch}; collect more tasks or lower meta_batch.'
        )
    frames = dataset.steps
    if frames < config.frames:
        raise DatasetError(
            f'{dataset.directory} has demonstrations of {frames} frames, a training step draws '
            f'{config.frames}; collect longer ones or lower frames.'
        )


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one meta-training step measured, averaged over its tasks.

    Attributes:
        step: Steps done.
        post_loss: Meta-objective: loss on the trials after the inner step.
        action_loss: The part of it that is due to the actions, normalised and squared.
        pre_loss: Loss on the demonstrations before the inner step.
    """

    step: int
    post_loss: float
    action_loss: float
    pre_loss: float


class Trainer:
    """Trains one policy; its state is a `Checkpoint`."""

    def __init__(self, dataset: Dataset, config: MilConfig) -> None:
        """Start from freshly drawn parameters.

        Raises:
            DatasetError: If the dataset has too few tasks or too short demonstrations.
        """
        _check_size(dataset, config)
        self.dataset = dataset
        self.config = config
        self.step = 0
        is_shared = distributed.is_available() and distributed.is_initialized()
        self._share = (
            (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
        )
        self.normaliser = Normaliser.from_dataset(dataset)
        self.params = {n: p.requires_grad_() for n, p in init_params(config).items()}
        self.step_sizes = {
            n: s.requires_grad_() for n, s in init_step_sizes(self.params, config).items()
        }
        self._names = [f'params/{n}' for n in self.params]
        self._names += [f'step_sizes/{n}' for n in self.step_sizes]
        self._leaves = [*self.params.values(), *self.step_sizes.values()]
        rates = (config.learning_rate, config.learning_rate * config.step_size_rate)
        groups = (self.params, self.step_sizes)
        self._optimiser = torch.optim.Adam(
            [
                {'params': list(group.values()), 'lr': rate, 'initial_lr': rate}
                for group, rate in zip(groups, rates, strict=True)
            ]
        )

    def run(
        self, checkpoint: Path, report: Callable[[StepReport], None], save_every: int = 100
    ) -> None:
        """Train until the configured number of steps, saving as it goes.

        Args:
            checkpoint: File to keep the state in; also written when interrupted.
            report: Called after each step.
            save_every: Steps between two saves.

        Raises:
            DivergedError: If a loss is not finite; the last good state stays on disk.
        """
        try:
            while self.step < self.config.steps:
                report(self._train_step())
                if self.step % save_every == 0:
                    self.save(checkpoint)
        except DivergedError:
            raise
        except BaseException:
            self.save(checkpoint)
            raise
        self.save(checkpoint)

    def save(self, path: Path) -> None:
        """Write the state as it is between two steps; of several processes, the first does."""
        if self._share[0] != 0:
            return
        state = Checkpoint(
            self.config,
            self.step,
            self.params,
            self.step_sizes,
            moments_of(self._optimiser, self._names),
            self.normaliser,
            asdict(self.dataset.info),
        )
        save_checkpoint(path, state)

    def resume(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            CheckpointError: If it was made with another configuration.
        """
        state = load_checkpoint(path)
        if state.config != self.config:
            old, new = asdict(state.config), asdict(self.config)
            changed = ', '.join(f'{k} {old[k]} -> {new[k]}' for k in new if old[k] != new[k])
            raise CheckpointError(
                f'{path} was trained with another configuration ({changed}); use the same '
                'options to resume, or another --out to start anew.'
            )
        with torch.no_grad():
            for name, tensor in self.params.items():
                tensor.copy_(state.params[name])
            for name, tensor in self.step_sizes.items():
                tensor.copy_(state.step_sizes[name])
        restore_moments(self._optimiser, self._names, state.moments)
        self.normaliser = state.normaliser
        self.step = state.step

    def _add_up(self, measured: Tensor) -> list[float]:
        """Add up gradients and losses over the processes that share the step."""
        if self._share[1] > 1:
            gradients = [leaf.grad for leaf in self._leaves if leaf.grad is not None]
            parts = [measured, *gradients]
            flat = torch.cat([part.flatten() for part in parts])
            distributed.all_reduce(flat)
            sizes = [part.numel() for part in parts]
            for part, total in zip(parts, flat.split(sizes), strict=True):
                part.copy_(total.view_as(part))
        return measured.tolist()

    def _train_step(self) -> StepReport:
        pairs = sample_meta_batch(
            self.dataset, self.normaliser, self.config, self.step, self._share
        )
        decay = 0.5 * (1.0 + math.cos(math.pi * self.step / self.config.steps))
        for group in self._optimiser.param_groups:
            group['lr'] = group['initial_lr'] * decay
        self._optimiser.zero_grad(set_to_none=False)
        measured = torch.zeros(3)
        for demo, trial in pairs:  # one graph at a time keeps memory flat
            loss, actions, before = meta_loss(
                self.params, self.step_sizes, demo, trial, self.config
            )
            (loss / self.config.meta_batch).backward()
            measured += torch.stack([loss, actions, before]).detach() / self.config.meta_batch
        post, action, pre = self._add_up(measured)
        if not math.isfinite(post):
            raise DivergedError(
                f'Loss is {post} at step {self.step + 1}, expected a finite number; the last '
                'good checkpoint is kept. Lower learning_rate or step_size and resume.'
            )
        norm = float(torch.nn.utils.clip_grad_norm_(self._leaves, self.config.outer_clip))
        if not math.isfinite(norm):
            raise DivergedError(
                f'The gradient is {norm} at step {self.step + 1}, expected finite numbers; the '
                'last good checkpoint is kept. Lower learning_rate or step_size and resume.'
            )
        with _interrupts_deferred():  # a state saved in between would be half a step
            self._optimiser.step()
            self.step += 1
        return StepReport(self.step, post, action, pre)
