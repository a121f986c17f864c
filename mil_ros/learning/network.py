"""The policy network as pure functions over a dict of parameters.

Convolutions with layer normalisation, spatial soft-argmax, a bias transformation and fully
connected layers with two heads, as in section 4 of the paper. The ``pre_`` heads belong to the
loss on the demonstration (pre-update), the others to the action (post-update).

The auxiliary head predicts the pose that the motion ends in, from every frame alone; the
prediction is an input of the action layers. The paper predicts the final gripper position; joint
positions need no kinematics and are measured on every arm.

Every function works on a batch of tasks, and each task has parameters of its own: a leading
dimension B on every parameter. `expand` gives B tasks the same ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mil_ros.core.errors import ConfigError
from mil_ros.learning import fused_network
from mil_ros.learning.config import MilConfig
from mil_ros.learning.kernels import convolve, normalise

Params = dict[str, Tensor]

PRE_UPDATE = ('pre_head.', 'pre_final.', 'loss_')
POST_UPDATE = ('head.', 'final.')
_NEVER_ADAPTED = ('norm', 'loss_', 'encoder.', *POST_UPDATE)

_TEMPERATURE = 2.0  # initial sharpness of the soft-argmax


def init_params(config: MilConfig) -> Params:
    """Return freshly drawn parameters, shared by all tasks; the same seed gives the same."""
    generator = torch.Generator().manual_seed(config.seed)

    def uniform(bound: float, *shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator) * 2.0 - 1.0) * bound

    params: Params = {}
    channels = 3
    for i, (filters, kernel) in enumerate(zip(config.filters, config.kernels, strict=True)):
        if i == 0 and config.image_context:
            params['image_context'] = torch.zeros(3, config.image_height, config.image_width)
            channels += 3
        bound = math.sqrt(6.0 / ((channels + filters) * kernel * kernel))  # Xavier
        params[f'conv{i}.weight'] = uniform(bound, filters, channels, kernel, kernel)
        params[f'conv{i}.bias'] = torch.zeros(filters)
        params[f'norm{i}.beta'] = torch.zeros(filters)
        channels = filters
    params['temperature'] = torch.full((channels,), _TEMPERATURE)
    params['context'] = torch.zeros(config.context)
    points = 2 * channels
    finals = ('pre_', '') if config.method == 'mil' else ('',)
    for head in finals:
        params[f'{head}final.weight'] = uniform(
            0.1 / math.sqrt(points), config.joints, points + config.embedding
        )
        params[f'{head}final.bias'] = torch.zeros(config.joints)
    width = config.context + points + config.embedding + 2 * config.joints
    for i, hidden in enumerate(config.hidden):
        params[f'fc{i}.weight'] = uniform(math.sqrt(6.0 / (width + hidden)), hidden, width)
        params[f'fc{i}.bias'] = torch.zeros(hidden)
        width = hidden
    for head in ('',) if config.uses_learned_loss else finals:
        params[f'{head}head.weight'] = uniform(0.1 / math.sqrt(width), config.joints, width)
        params[f'{head}head.bias'] = torch.zeros(config.joints)
    if config.uses_learned_loss:
        width += points
        for i in range(config.loss_layers):
            fan = config.loss_kernel * width
            bound = math.sqrt(6.0 / (fan + config.loss_filters))
            params[f'loss_conv{i}.weight'] = uniform(bound, config.loss_filters, fan)
            params[f'loss_conv{i}.bias'] = torch.zeros(config.loss_filters)
            width = config.loss_filters
        params['loss_out.weight'] = uniform(1.0 / math.sqrt(width), config.loss_filters, width)
    return params


def expand(params: Params, tasks: int) -> Params:
    """Give `tasks` tasks the same parameters, without copying."""
    return {name: value.expand(tasks, *value.shape) for name, value in params.items()}


def adapted_names(params: Params, config: MilConfig) -> list[str]:
    """Return which parameters the inner step changes.

    All but the offsets of layer normalisation, the learned loss, the post-update heads, which the
    inner loss does not reach (the paper's two-head architecture), and what the configuration
    freezes.

    Raises:
        ConfigError: If the configuration freezes what is not there, or everything.
    """
    unknown = [word for word in config.frozen if not any(n.startswith(word) for n in params)]
    names = [name for name in params if not name.startswith((*_NEVER_ADAPTED, *config.frozen))]
    if unknown or not names:
        raise ConfigError(
            f'frozen is {list(config.frozen)}, which '
            f'{f"names no parameter by {unknown[0]!r}" if unknown else "leaves none to adapt"}; '
            f'expected the starts of some of {sorted(params)}.'
        )
    return names


def features(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return the expected image position of each feature channel.

    Args:
        params: Network parameters per task.
        images: RGB in [0, 1], (B, T, H, W, 3).
        config: Network shape.

    Returns:
        Points in [-1, 1], all x (to the right), then all y (down), (B, T, 2 * filters).
    """
    if config.compiled:
        return fused_network.features(params, images, config)
    tasks, frames = images.shape[:2]
    if config.image_context:
        context = params['image_context'].clamp(0.0, 1.0).permute(0, 2, 3, 1)  # (B, H, W, 3)
        context = context[:, None].expand(-1, frames, -1, -1, -1)
        images = torch.cat([images, context], dim=4)
    precision = getattr(torch, config.precision)
    x = images.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)  # (T, B * C, H, W)
    for i, stride in enumerate(config.strides):
        weight = params[f'conv{i}.weight'].to(precision)
        x = convolve(x.to(precision), weight, stride)
        filters, height, width = weight.shape[1], *x.shape[2:]
        # Activations of one frame and place lie together: (T, H * W, B, C).
        y = x.permute(0, 2, 3, 1).reshape(frames, height * width, tasks, filters)
        y = y.to(params[f'conv{i}.bias'].dtype)
        y = torch.relu(normalise(y + params[f'conv{i}.bias']) + params[f'norm{i}.beta'])
        x = y.view(frames, height, width, tasks * filters).permute(0, 3, 1, 2)
    return _spatial_soft_argmax(y * params['temperature'], height, width)


def hidden_layers(params: Params, inputs: Tensor, config: MilConfig) -> Tensor:
    """Return the last hidden activations, (B, T, hidden).

    Args:
        params: Network parameters per task.
        inputs: What the layers see beside the bias transformation, (B, T, inputs).
        config: Network shape.
    """
    context = params['context'][:, None].expand(-1, inputs.shape[1], -1)
    x = torch.cat([context, inputs], dim=2)
    for i in range(len(config.hidden)):
        x = torch.relu(linear(params, f'fc{i}', x))
    return x


def forward(
    params: Params,
    images: Tensor,
    state: Tensor,
    config: MilConfig,
    prefix: str = '',
    embedding: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return normalised actions and the predicted final pose, (B, T, J) each.

    Args:
        params: Network parameters per task.
        images: RGB in [0, 1], (B, T, H, W, 3).
        state: Normalised joint positions, (B, T, J).
        config: Network shape.
        prefix: ``pre_`` for the heads of the pre-update loss.
        embedding: What a baseline knows of the demonstration, (B, E).
    """
    points = features(params, images, config)
    if embedding is not None:
        points = torch.cat([points, embedding[:, None].expand(-1, points.shape[1], -1)], dim=2)
    final = linear(params, f'{prefix}final', points)
    x = hidden_layers(params, torch.cat([points, final, state], dim=2), config)
    return linear(params, f'{prefix}head', x), final


def learned_loss(params: Params, images: Tensor, config: MilConfig) -> Tensor:
    """Return the learned loss of a demonstration without actions and states, (B,).

    A temporal convolution over feature points and policy activations; the squared norm of its
    output is the loss (paper, section 4.4; temporal form of DAML, arXiv 1802.01557, section 4).

    Args:
        params: Network parameters per task.
        images: Frames in order of time, (B, T, H, W, 3).
        config: Network shape.
    """
    points = features(params, images, config)
    absent = points.new_zeros(*points.shape[:2], config.joints)
    final = linear(params, 'pre_final', points)
    x = hidden_layers(params, torch.cat([points, final, absent], dim=2), config)
    x = torch.cat([points, x], dim=2)
    for i in range(config.loss_layers):
        steps = x.shape[1] - config.loss_kernel + 1
        windows = [x[:, k : k + steps] for k in range(config.loss_kernel)]
        x = torch.relu(linear(params, f'loss_conv{i}', torch.cat(windows, dim=2)))
    return torch.matmul(x, params['loss_out.weight'].transpose(1, 2)).square().mean(dim=(1, 2))


def linear(params: Params, name: str, x: Tensor) -> Tensor:
    """Return ``x W^T + b`` with the weights of each task, (B, T, out)."""
    weight = params[f'{name}.weight'].transpose(1, 2)
    return torch.baddbmm(params[f'{name}.bias'][:, None], x, weight)


def _spatial_soft_argmax(y: Tensor, height: int, width: int) -> Tensor:
    """Return expected places, (B, T, 2 * C), of activations (T, H * W, B, C)."""
    frames, _, tasks, channels = y.shape
    weights = torch.softmax(y.reshape(frames, height * width, tasks * channels), dim=1)
    ys = torch.linspace(-1.0, 1.0, height, device=y.device, dtype=y.dtype)
    xs = torch.linspace(-1.0, 1.0, width, device=y.device, dtype=y.dtype)
    places = torch.stack([xs.repeat(height), ys.repeat_interleave(width)])  # (2, H * W)
    points = torch.matmul(places, weights).view(frames, 2, tasks, channels)
    return points.permute(2, 0, 1, 3).reshape(tasks, frames, 2 * channels)
