"""The policy network as one would write it without this package: an ordinary torch module.

It has the layers of `network` and the same names for its parameters, so those can be loaded into
it as they are. What other libraries are compared with: see `peers`.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

from mil_ros.learning.config import MilConfig


class _LayerNorm(nn.Module):
    """Layer normalisation over channels and places, then an offset per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[1:]) + self.beta[:, None, None]


class PeerNetwork(nn.Module):
    """The policy network of one task, for the modality ``full`` without image context."""

    def __init__(self, config: MilConfig) -> None:
        super().__init__()
        self.layers = len(config.filters)
        self.hidden = len(config.hidden)
        channels = 3
        shapes = zip(config.filters, config.kernels, config.strides, strict=True)
        for i, (filters, kernel, stride) in enumerate(shapes):
            conv = nn.Conv2d(channels, filters, kernel, stride, padding=kernel // 2)
            self.add_module(f'conv{i}', conv)
            self.add_module(f'norm{i}', _LayerNorm(filters))
            channels = filters
        self.temperature = nn.Parameter(torch.empty(channels))
        self.context = nn.Parameter(torch.empty(config.context))
        width = config.context + 2 * channels + 2 * config.joints
        for i, hidden in enumerate(config.hidden):
            self.add_module(f'fc{i}', nn.Linear(width, hidden))
            width = hidden
        for prefix in ('pre_', ''):
            self.add_module(f'{prefix}final', nn.Linear(2 * channels, config.joints))
            self.add_module(f'{prefix}head', nn.Linear(width, config.joints))

    def forward(self, images: Tensor, state: Tensor, prefix: str) -> tuple[Tensor, Tensor]:
        """Return normalised actions and the predicted final pose, (T, J) each.

        Args:
            images: RGB in [0, 1], (T, 3, H, W).
            state: Normalised joint positions, (T, J).
            prefix: ``pre_`` for the heads of the pre-update loss, or nothing.
        """
        x = images
        for i in range(self.layers):
            x = functional.relu(getattr(self, f'norm{i}')(getattr(self, f'conv{i}')(x)))
        points = _spatial_soft_argmax(x * self.temperature[:, None, None])
        final = getattr(self, f'{prefix}final')(points)
        context = self.context.expand(len(points), -1)
        x = torch.cat([context, points, final, state], dim=1)
        for i in range(self.hidden):
            x = functional.relu(getattr(self, f'fc{i}')(x))
        return getattr(self, f'{prefix}head')(x), final


def _spatial_soft_argmax(maps: Tensor) -> Tensor:
    """Return expected places, all x then all y, (T, 2 * C), of activations (T, C, H, W)."""
    height, width = maps.shape[2:]
    weights = functional.softmax(maps.flatten(2), dim=2)  # (T, C, H * W)
    xs = torch.linspace(-1.0, 1.0, width, dtype=maps.dtype)
    ys = torch.linspace(-1.0, 1.0, height, dtype=maps.dtype)
    places = torch.stack([xs.repeat(height), ys.repeat_interleave(width)])  # (2, H * W)
    return torch.matmul(places, weights.transpose(1, 2)).flatten(1)
