"""The same meta-training through other libraries, to compare gradients and speed with.

Each is used as its documentation shows: an ordinary module, one task after the other, gradients
added up until the outer step. The network is that of `network`, layer for layer and name for
name, so parameters go from one to the other as they are. The libraries come with ``make setup``;
only ``mil bench train`` and the tests need them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec, module_from_spec
import sys
from types import ModuleType

import torch
from torch import nn, Tensor
from torch.nn import functional

from mil_ros.core.errors import ConfigError, MilError
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch
from mil_ros.learning.network import Params
from mil_ros.learning.peer_network import PeerNetwork


@dataclass(frozen=True, eq=False, slots=True)
class Frames:
    """Frames of one task, as an ordinary module wants them; scales are those of `Batch`.

    Attributes:
        images: (T, 3, H, W).
        state: (T, J).
        actions: (T, J).
        final: (T, J).
    """

    images: Tensor
    state: Tensor
    actions: Tensor
    final: Tensor


def split_tasks(batch: Batch) -> list[Frames]:
    """Return the frames of each task, images with the channels first and without gaps."""
    images = batch.images.permute(0, 1, 4, 2, 3).contiguous()
    return [Frames(*parts) for parts in zip(images, batch.state, batch.actions, batch.final)]


class Peer(ABC):
    """Meta-trains a `PeerNetwork`; a subclass takes the inner step with its library."""

    def __init__(self, params: Params, step_sizes: Params, config: MilConfig) -> None:
        """Start from given parameters and step sizes, which are copied.

        Raises:
            ConfigError: If the configuration is one that `PeerNetwork` does not know.
            MilError: If the library is not installed.
        """
        if config.method != 'mil' or config.modality != 'full' or config.image_context:
            raise ConfigError(
                f'Got method={config.method} modality={config.modality} '
                f'image_context={config.image_context}; peers are compared with method=mil '
                'modality=full image_context=False only.'
            )
        self.config = config
        self.network = PeerNetwork(config).to(params['context'].dtype)
        self.network.load_state_dict(params)
        self.step_sizes = {
            name: nn.Parameter(size.detach().clone()) for name, size in step_sizes.items()
        }
        self._leaves = [*self.network.parameters(), *self.step_sizes.values()]
        self._optimiser = torch.optim.Adam(self._leaves, config.learning_rate)

    def train_step(self, demos: list[Frames], trials: list[Frames]) -> None:
        """Take one outer step on a meta-batch."""
        self._optimiser.zero_grad()
        self.backward(demos, trials)
        nn.utils.clip_grad_norm_(self._leaves, self.config.outer_clip)
        self._optimiser.step()

    def backward(self, demos: list[Frames], trials: list[Frames]) -> None:
        """Add the gradient of the meta-objective, the mean over tasks, to that of the leaves."""
        for demo, trial in zip(demos, trials, strict=True):
            (self._imitate(self._adapt(demo), trial, '') / len(demos)).backward()

    @abstractmethod
    def _adapt(self, demo: Frames) -> nn.Module:
        """Return the network after the inner steps, differentiable in the leaves."""

    def _imitate(self, network: nn.Module, frames: Frames, prefix: str) -> Tensor:
        actions, final = network(frames.images, frames.state, prefix)
        final_loss = functional.mse_loss(final, frames.final)
        loss: Tensor = functional.mse_loss(actions, frames.actions)
        return loss + self.config.final_pose_weight * final_loss

    def _clip(self, gradient: Tensor) -> Tensor:
        return gradient.clamp(-self.config.gradient_clip, self.config.gradient_clip)


class HigherPeer(Peer):
    """Through ``higher``: a differentiable SGD whose learning rates are learned."""

    def __init__(self, params: Params, step_sizes: Params, config: MilConfig) -> None:
        super().__init__(params, step_sizes, config)
        self._higher = _import('higher')
        leaves = dict(self.network.named_parameters())
        groups = [{'params': [leaves[name]]} for name in self.step_sizes]  # one rate per group
        self._inner = torch.optim.SGD(groups, lr=config.step_size)

    def _adapt(self, demo: Frames) -> nn.Module:
        rates = {'lr': list(self.step_sizes.values())}
        with self._higher.innerloop_ctx(
            self.network, self._inner, copy_initial_weights=False, override=rates
        ) as (network, inner):
            for _ in range(self.config.inner_steps):
                inner.step(self._imitate(network, demo, 'pre_'), grad_callback=self._clip_all)
        adapted: nn.Module = network
        return adapted

    def _clip_all(self, gradients: list[Tensor | None]) -> list[Tensor | None]:
        return [None if g is None else self._clip(g) for g in gradients]


class Learn2LearnPeer(Peer):
    """Through ``learn2learn``: Meta-SGD from its parts, for `MetaSGD` can neither clip nor freeze.

    It also refuses parameters that the inner loss does not reach.
    """

    def __init__(self, params: Params, step_sizes: Params, config: MilConfig) -> None:
        super().__init__(params, step_sizes, config)
        self._utils = _import('learn2learn.utils')

    def _adapt(self, demo: Frames) -> nn.Module:
        network: nn.Module = self._utils.clone_module(self.network)
        for _ in range(self.config.inner_steps):
            leaves = dict(network.named_parameters())
            loss = self._imitate(network, demo, 'pre_')
            gradients = torch.autograd.grad(
                loss, [leaves[name] for name in self.step_sizes], create_graph=True
            )
            moves = {
                name: -size * self._clip(gradient)
                for (name, size), gradient in zip(self.step_sizes.items(), gradients, strict=True)
            }
            network = self._utils.update_module(network, [moves.get(name) for name in leaves])
        return network


PEERS: dict[str, type[Peer]] = {'learn2learn': Learn2LearnPeer, 'higher': HigherPeer}


def check_installed(library: str) -> None:
    """Refuse to go on without a library.

    Raises:
        MilError: If it is not installed.
    """
    if find_spec(library) is None:
        raise MilError(f'{library} is not installed; run `make setup`, which brings it.')


def _import(name: str) -> ModuleType:
    """Import a module of a library without running the root of its package.

    The root of learn2learn imports gym, torchvision and other things that nothing here needs.
    """
    root = name.partition('.')[0]
    check_installed(root)
    if root == name or root in sys.modules:
        return import_module(name)
    spec = find_spec(root)
    assert spec is not None  # it is installed
    sys.modules[root] = module_from_spec(spec)
    try:
        return import_module(name)
    finally:
        del sys.modules[root]
