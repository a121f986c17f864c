"""The policy network as pure functions over a dict of parameters.

Convolutions with layer normalisation, spatial soft-argmax, a bias transformation and fully
connected layers with two heads, as in section 4 of the paper. The ``pre_`` heads belong to the
loss on the demonstration (pre-update), the others to the action (post-update).

The auxiliary head predicts the pose that the motion ends in, from every frame alone; the
prediction is an input of the action layers. The paper predicts the final gripper position; joint
positions need no kinematics and are measured on every arm.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from mil_ros.learning.config import MilConfig

Params = dict[str, Tensor]

PRE_UPDATE = ('pre_head.', 'pre_final.')
POST_UPDATE = ('head.', 'final.')

_TEMPERATURE = 2.0  # initial sharpness of the soft-argmax


def init_params(config: MilConfig) -> Params:
    """Return freshly drawn parameters; the same seed gives the same."""
    generator = torch.Generator().manual_seed(config.seed)
    params: Params = {}
    channels = 3
    layers = zip(config.filters, config.kernels, strict=True)
    for i, (filters, kernel) in enumerate(layers):
        shape = (filters, channels, kernel, kernel)
        bound = math.sqrt(6.0 / ((channels + filters) * kernel * kernel))  # Xavier
        params[f'conv{i}.weight'] = _uniform(generator, bound, shape)
        params[f'conv{i}.bias'] = torch.zeros(filters)
        params[f'norm{i}.beta'] = torch.zeros(filters)
        if i == 0 and config.image_context:
            params['image_context'] = torch.zeros(3, config.image_height, config.image_width)
            params['conv0.context_weight'] = _uniform(generator, bound, shape)
        channels = filters
    params['temperature'] = torch.full((channels,), _TEMPERATURE)
    params['context'] = torch.zeros(config.context)
    for head in ('pre_final', 'final'):
        bound = 0.1 / math.sqrt(2 * channels)
        params[f'{head}.weight'] = _uniform(generator, bound, (config.joints, 2 * channels))
        params[f'{head}.bias'] = torch.zeros(config.joints)
    width = 2 * channels + config.joints + config.context + config.joints
    for i, hidden in enumerate(config.hidden):
        bound = math.sqrt(6.0 / (width + hidden))
        params[f'fc{i}.weight'] = _uniform(generator, bound, (hidden, width))
        params[f'fc{i}.bias'] = torch.zeros(hidden)
        width = hidden
    for head in ('pre_head', 'head'):
        params[f'{head}.weight'] = _uniform(
            generator, 0.1 / math.sqrt(width), (config.joints, width)
        )
        params[f'{head}.bias'] = torch.zeros(config.joints)
    return params


def adapted_names(params: Params) -> list[str]:
    """Return which parameters the inner step changes.

    All but the offsets of layer normalisation and the post-update heads, which the inner loss does
    not reach (the paper's two-head architecture).
    """
    return [name for name in params if not name.startswith(('norm', *POST_UPDATE))]


def features(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return the expected image position of each feature channel.

    Args:
        params: Network parameters.
        images: RGB in [0, 1], (T, 3, H, W).
        config: Network shape.

    Returns:
        Points (x, y) in [-1, 1], x right and y down, (T, 2 * filters).
    """
    x = images
    for i, (stride, kernel) in enumerate(zip(config.strides, config.kernels, strict=True)):
        pad = kernel // 2
        weight, bias = params[f'conv{i}.weight'], params[f'conv{i}.bias']
        y = functional.conv2d(x, weight, bias, stride, pad)
        if i == 0 and config.image_context:
            # A convolution of concatenated channels is the sum of two; the context is the same
            # for every frame, so its half is computed once.
            context = params['image_context'].clamp(0.0, 1.0)[None]
            y = y + functional.conv2d(context, params['conv0.context_weight'], None, stride, pad)
        x = torch.relu(_layer_norm(y) + params[f'norm{i}.beta'][:, None, None])
    return _spatial_soft_argmax(x * params['temperature'][:, None, None])


def hidden_layers(params: Params, inputs: Tensor, config: MilConfig) -> Tensor:
    """Return the last hidden activations, (T, hidden).

    Args:
        params: Network parameters.
        inputs: Feature points, predicted final pose and state, (T, 2 * filters + 2 * J).
        config: Network shape.
    """
    x = torch.cat([params['context'].expand(len(inputs), -1), inputs], dim=1)
    for i in range(len(config.hidden)):
        x = torch.relu(_linear(params, f'fc{i}', x))
    return x


def forward(
    params: Params, images: Tensor, state: Tensor, config: MilConfig, prefix: str = ''
) -> tuple[Tensor, Tensor]:
    """Return normalised actions and the predicted final pose, (T, J) each.

    Args:
        params: Network parameters.
        images: RGB in [0, 1], (T, 3, H, W).
        state: Normalised joint positions, (T, J).
        config: Network shape.
        prefix: ``pre_`` for the heads of the pre-update loss.
    """
    points = features(params, images, config)
    final = _linear(params, f'{prefix}final', points)
    x = hidden_layers(params, torch.cat([points, final, state], dim=1), config)
    return _linear(params, f'{prefix}head', x), final


def _linear(params: Params, name: str, x: Tensor) -> Tensor:
    return functional.linear(x, params[f'{name}.weight'], params[f'{name}.bias'])


def _uniform(generator: torch.Generator, bound: float, shape: tuple[int, ...]) -> Tensor:
    return (torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound


def _layer_norm(x: Tensor) -> Tensor:
    """Normalise each frame over channels, rows and columns jointly, without gain."""
    return functional.layer_norm(x, x.shape[1:])


def _spatial_soft_argmax(x: Tensor) -> Tensor:
    t, c, h, w = x.shape
    weight = torch.softmax(x.reshape(t, c, h * w), dim=2).reshape(t, c, h, w)
    xs = torch.linspace(-1.0, 1.0, w, device=x.device, dtype=x.dtype)
    ys = torch.linspace(-1.0, 1.0, h, device=x.device, dtype=x.dtype)
    px = (weight.sum(dim=2) * xs).sum(dim=2)  # (T, C)
    py = (weight.sum(dim=3) * ys).sum(dim=2)  # (T, C)
    return torch.cat([px, py], dim=1)
