"""What MIL is compared with: policies that read the demonstration instead of learning from it.

Behaviour cloning (``bc``) knows nothing of it, the contextual policy sees its final frame, the
LSTM policy reads the whole of it (paper, section 5.1; recurrent: Duan et al., arXiv 1703.07326).
All have the network of `network` and see what they know of the demonstration as an embedding
beside the feature points.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, imitation_loss, Losses
from mil_ros.learning.network import expand, features, Params

_LSTM = ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')


def init_encoder(config: MilConfig) -> Params:
    """Return freshly drawn parameters of what reads the demonstration; none but for the LSTM."""
    if config.method != 'lstm':
        return {}
    generator = torch.Generator().manual_seed(config.seed + 1)
    width = config.embedding
    shapes = {
        'weight_ih': (4 * width, _lstm_inputs(config)),
        'weight_hh': (4 * width, width),
        'bias_ih': (4 * width,),
        'bias_hh': (4 * width,),
    }
    bound = 1.0 / math.sqrt(width)
    return {
        f'encoder.{name}': (torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound
        for name, shape in shapes.items()
    }


def embed(params: Params, demo: Batch, config: MilConfig) -> Tensor | None:
    """Return what a baseline knows of each demonstration, (B, E); None if nothing.

    Args:
        params: Parameters shared by the tasks.
        demo: Frames in order of time; the last is the final one.
        config: Network and options.
    """
    if config.method == 'bc':
        return None
    if config.method == 'contextual':
        return _shared_features(params, demo.images[:, -1:], config)[:, 0]
    points = _shared_features(params, demo.images, config)
    if config.modality == 'full':
        points = torch.cat([points, demo.state, demo.actions], dim=2)
    weights = [params[f'encoder.{name}'] for name in _LSTM]
    zeros = points.new_zeros(1, len(demo), config.embedding)
    _, last, _ = torch.lstm(
        points,
        (zeros, zeros),
        weights,
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=True,
        bidirectional=False,
        batch_first=True,
    )
    return last[0]


def baseline_loss(params: Params, demo: Batch, trial: Batch, config: MilConfig) -> Losses:
    """Return the imitation loss on each trial, given its demonstration."""
    embedding = embed(params, demo, config)
    objective, action = imitation_loss(
        expand(params, len(trial)), trial, config, embedding=embedding
    )
    return Losses(objective, action.detach(), objective.detach())


def _shared_features(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return feature points of parameters that all tasks share, (B, T, 2 * filters)."""
    tasks, frames = images.shape[:2]
    points = features(expand(params, 1), images.flatten(0, 1)[None], config)
    return points.view(tasks, frames, -1)


def _lstm_inputs(config: MilConfig) -> int:
    points = 2 * config.filters[-1]
    return points if config.modality == 'video' else points + 2 * config.joints
