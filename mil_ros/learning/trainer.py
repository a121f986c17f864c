"""Meta-training: many tasks, one inner step each, one outer Adam step per batch of tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
import math
from pathlib import Path
import signal
import threading
import time

import torch
from torch import distributed, Tensor

from mil_ros.core.errors import CheckpointError, ConfigError, MilError
from mil_ros.core.memory import keep_freed_memory, MOST_KEPT
from mil_ros.data.dataset import Dataset
from mil_ros.learning.baselines import baseline_loss, init_encoder
from mil_ros.learning.batches import Normaliser, sample_meta_batch
from mil_ros.learning.checkpoint import (
    Checkpoint,
    load_checkpoint,
    moments_of,
    restore_moments,
    save_checkpoint,
)
from mil_ros.learning.checks import check_dataset, check_same_training
from mil_ros.learning.config import MilConfig
from mil_ros.learning.fused import check_compiler
from mil_ros.learning.fused_layers import lay_out, summing_gradients
from mil_ros.learning.inner_step import Batch, init_step_sizes, Losses, meta_loss
from mil_ros.learning.network import init_params, Params

SAVE_PERIOD_S = 60.0
# Tasks of one graph on a CPU: few enough for the caches, enough to hide the overhead
_CHUNK = 12
_CHUNK_COMPILED = 24


class DivergedError(MilError):
    """The loss is no longer a number."""


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the block is done; outside the main thread there is none.

    It would be lost in a callback of torch, and in the middle of a step or of a save it would
    leave half of it.
    """
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

    def __init__(
        self, dataset: Dataset, config: MilConfig, device: torch.device | str = 'cpu'
    ) -> None:
        """Start from freshly drawn parameters.

        Args:
            dataset: What to train on.
            config: Network and training.
            device: Where to compute; a GPU takes all tasks of a step at once.

        Raises:
            DatasetError: If the dataset has too few tasks, too short demonstrations, or images or
                joints other than the configuration says.
            ConfigError: If there are more processes than tasks in a step, or no compiler where
                one is needed.
        """
        check_dataset(dataset, config)
        if config.compiled:
            check_compiler()
        self.dataset = dataset
        self.config = config
        self.step = 0
        is_shared = distributed.is_available() and distributed.is_initialized()
        self._share = (
            (distributed.get_rank(), distributed.get_world_size()) if is_shared else (0, 1)
        )
        if config.meta_batch < self._share[1]:
            raise ConfigError(
                f'meta_batch is {config.meta_batch}; expected at least one task for each of the '
                f'{self._share[1]} processes, raise it or start fewer.'
            )
        self.device = torch.device(device)
        chunk = _CHUNK_COMPILED if config.compiled else _CHUNK
        self._chunk = chunk if self.device.type == 'cpu' else config.meta_batch
        self.normaliser = Normaliser.from_dataset(dataset).to(self.device)
        drawn = init_params(config) | init_encoder(config)  # on the CPU: the same on any device
        params = {n: lay_out(p).to(self.device) for n, p in drawn.items()}
        step_sizes = init_step_sizes(params, config) if config.method == 'mil' else {}
        self.params = {n: p.requires_grad_() for n, p in params.items()}
        self.step_sizes = {n: s.requires_grad_() for n, s in step_sizes.items()}
        self._names = [f'params/{n}' for n in self.params]
        self._names += [f'step_sizes/{n}' for n in self.step_sizes]
        self._leaves = [*self.params.values(), *self.step_sizes.values()]
        rates = (config.learning_rate, config.learning_rate * config.step_size_rate)
        groups = (self.params, self.step_sizes)
        self._optimiser = torch.optim.Adam(
            [
                {'params': list(group.values()), 'lr': rate, 'initial_lr': rate}
                for group, rate in zip(groups, rates, strict=True)
                if group
            ],
            fused=self.device.type != 'meta',
        )

    def run(
        self,
        checkpoint: Path,
        report: Callable[[StepReport], None],
        save_period_s: float = SAVE_PERIOD_S,
    ) -> None:
        """Train until the configured number of steps, saving as it goes.

        Args:
            checkpoint: File to keep the state in; also written when interrupted.
            report: Called after each step.
            save_period_s: Time between two saves.

        Raises:
            DivergedError: If a loss is not finite; the last good state stays on disk.
            CheckpointError: If the disk is full; the last good state stays on disk.
        """
        keep_freed_memory(MOST_KEPT)
        saved_s = time.monotonic()
        try:
            while self.step < self.config.steps:
                with _interrupts_deferred():
                    measured = self._train_step()
                report(measured)
                if time.monotonic() - saved_s >= save_period_s:
                    self.save(checkpoint)
                    saved_s = time.monotonic()
        except (DivergedError, CheckpointError):
            raise
        except BaseException:
            self.save(checkpoint)
            raise
        self.save(checkpoint)

    def save(self, path: Path) -> None:
        """Write the state as it is between two steps; of several processes, the first does."""
        if self._share[0] != 0:
            return
        with _interrupts_deferred():
            save_checkpoint(path, self.state())

    def state(self) -> Checkpoint:
        """Return the state between two steps; on a CPU it shares memory with the training."""

        def to_cpu(tensors: Params) -> Params:
            return {name: tensor.cpu() for name, tensor in tensors.items()}

        return Checkpoint(
            self.config,
            self.step,
            to_cpu(self.params),
            to_cpu(self.step_sizes),
            to_cpu(moments_of(self._optimiser, self._names)),
            self.normaliser.to('cpu'),
            asdict(self.dataset.info),
        )

    def resume(self, path: Path) -> None:
        """Go on from a saved state.

        Raises:
            CheckpointError: If it was made with another configuration or other data.
        """
        state = load_checkpoint(path)
        check_same_training(path, state, self.config, self.dataset.info)
        with torch.no_grad():
            for name, tensor in self.params.items():
                tensor.copy_(state.params[name])
            for name, tensor in self.step_sizes.items():
                tensor.copy_(state.step_sizes[name])
        restore_moments(self._optimiser, self._names, state.moments)
        self.normaliser = state.normaliser.to(self.device)
        self.step = state.step

    def start_from(self, path: Path) -> int:
        """Take over what another training learned, wherever names and shapes are the same.

        Args:
            path: Checkpoint of any configuration.

        Returns:
            How many tensors were taken over.

        Raises:
            CheckpointError: If there is none to take over.
        """
        state = load_checkpoint(path)
        pairs = [
            (mine, known[name])
            for own, known in ((self.params, state.params), (self.step_sizes, state.step_sizes))
            for name, mine in own.items()
            if name in known and known[name].shape == mine.shape
        ]
        if not pairs:
            raise CheckpointError(
                f'{path} has no tensor of a name and shape that this network has too; expected a '
                'checkpoint of a similar network, choose another or train without --start-from.'
            )
        with torch.no_grad():
            for mine, theirs in pairs:
                mine.copy_(theirs)
        return len(pairs)

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

    def _compute_losses(self, demos: Batch, trials: Batch) -> Losses:
        if self.config.method != 'mil':
            return baseline_loss(self.params, demos, trials, self.config)
        return meta_loss(self.params, self.step_sizes, demos, trials, self.config, self.step)

    def _train_step(self) -> StepReport:
        demos, trials = sample_meta_batch(
            self.dataset, self.normaliser, self.config, self.step, self._share
        )
        decay = 0.5 * (1.0 + math.cos(math.pi * self.step / self.config.steps))
        for group in self._optimiser.param_groups:
            group['lr'] = group['initial_lr'] * decay
        self._optimiser.zero_grad(set_to_none=False)
        measured = torch.zeros(3, device=self.device)
        for first in range(0, len(demos), self._chunk):
            tasks = slice(first, first + self._chunk)
            losses = self._compute_losses(demos[tasks], trials[tasks])
            with summing_gradients():
                (losses.objective.sum() / self.config.meta_batch).backward()
            sums = [losses.objective.sum(), losses.action.sum(), losses.before.sum()]
            measured += torch.stack(sums).detach() / self.config.meta_batch
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
        self._optimiser.step()
        self.step += 1
        return StepReport(self.step, post, action, pre)
