"""The parts of the network do what the paper says they do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from mil_ros.learning import network
from mil_ros.learning.baselines import init_encoder
from mil_ros.learning.config import MilConfig
from mil_ros.learning.network import expand, Params

CONFIG = MilConfig(
    image_height=9,
    image_width=12,
    joints=4,
    filters=(3, 5),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(6,),
    context=2,
    image_context=True,
    loss_filters=4,
    frames=6,
    precision='float32',
)
VIDEO = replace(CONFIG, modality='video')
Inputs = tuple[Tensor, Tensor]


@pytest.fixture
def inputs() -> Inputs:
    """Images and states of one task."""
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(1, 4, 9, 12, 3, generator=generator)
    return images, torch.randn(1, 4, 4, generator=generator)


def draw(config: MilConfig = CONFIG) -> Params:
    return expand(network.init_params(config), 1)


def find_points(maps: Tensor) -> list[float]:
    """Return the soft-argmax of one frame, (C, H, W)."""
    _, height, width = maps.shape
    activations = maps.flatten(1).T[None, :, None]  # (1, H * W, 1, C)
    points: list[float] = network._spatial_soft_argmax(activations, height, width)[0, 0].tolist()
    return points


def test_same_seed_gives_the_same_parameters_and_another_does_not() -> None:
    first, again = network.init_params(CONFIG), network.init_params(CONFIG)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = network.init_params(replace(CONFIG, seed=1))
    assert not torch.equal(first['conv0.weight'], other['conv0.weight'])


@pytest.mark.parametrize(('row', 'column'), [(0, 0), (0, 10), (6, 0), (6, 10), (3, 5), (2, 7)])
def test_soft_argmax_of_a_peak_is_its_position(row: int, column: int) -> None:
    maps = torch.zeros(2, 7, 11)
    maps[0, row, column] = 60.0
    x, flat_x, y, flat_y = find_points(maps)  # x of each channel, then y
    assert x == pytest.approx(-1.0 + 2.0 * column / 10, abs=1e-6)  # right
    assert y == pytest.approx(-1.0 + 2.0 * row / 6, abs=1e-6)  # down
    assert (flat_x, flat_y) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_soft_argmax_of_two_equal_peaks_lies_between_them() -> None:
    maps = torch.zeros(1, 5, 5)
    maps[0, 0, 1] = maps[0, 4, 4] = 60.0
    assert find_points(maps) == pytest.approx([(-0.5 + 1.0) / 2, 0.0], abs=1e-6)


def test_soft_argmax_keeps_tasks_frames_and_channels_apart() -> None:
    places = torch.tensor([[[3, 8], [0, 14]], [[6, 1], [11, 9]]])  # (T, B, C) of 3 x 5
    activations = 60.0 * torch.nn.functional.one_hot(places, 15).permute(0, 3, 1, 2)
    points = network._spatial_soft_argmax(activations, 3, 5)
    expected = torch.cat([places % 5 / 2.0 - 1.0, places // 5 - 1.0], dim=2).transpose(0, 1)
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-6)


def test_frames_do_not_see_each_other(inputs: Inputs) -> None:
    images, state = inputs
    params = draw()
    together = network.forward(params, images, state, CONFIG)[0]
    alone = [
        network.forward(params, images[:, i, None], state[:, i, None], CONFIG)[0] for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone, dim=1))
    assert (together[0, 0] - together[0, 1]).abs().max() > 1e-6


def test_image_context_is_three_more_channels_of_every_image(inputs: Inputs) -> None:
    shallow = replace(CONFIG, filters=(3,), strides=(2,), kernels=(3,))
    params = draw(shallow)
    context = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(1))
    points = network.features({**params, 'image_context': context}, inputs[0], shallow)
    frames = inputs[0][0].permute(0, 3, 1, 2)  # (T, C, H, W)
    seen = torch.cat([frames, context.expand(4, -1, -1, -1)], dim=1)
    maps = torch.nn.functional.conv2d(seen, params['conv0.weight'][0], stride=2, padding=1)
    maps = torch.relu(torch.nn.functional.layer_norm(maps, maps.shape[1:]))
    sharp = params['temperature'][0, :, None, None] * maps
    expected = torch.tensor([find_points(frame) for frame in sharp])
    torch.testing.assert_close(points[0], expected, rtol=0, atol=1e-6)


def test_image_context_changes_nothing_at_first(inputs: Inputs) -> None:
    params = draw()
    without = {**params, 'conv0.weight': params['conv0.weight'][:, :, :3]}
    plain = network.features(without, inputs[0], replace(CONFIG, image_context=False))
    torch.testing.assert_close(network.features(params, inputs[0], CONFIG), plain)
    some = {**params, 'image_context': params['image_context'] + torch.eye(9, 12)}
    assert (network.features(some, inputs[0], CONFIG) - plain).abs().max() > 1e-4


def test_image_context_is_an_image_between_black_and_white(inputs: Inputs) -> None:
    params = draw()
    beyond = {**params, 'image_context': torch.full((1, 3, 9, 12), 7.0)}
    white = {**params, 'image_context': torch.ones(1, 3, 9, 12)}
    points = [network.features(p, inputs[0], CONFIG) for p in (beyond, white)]
    assert torch.equal(*points)


def test_heads_are_different_functions(inputs: Inputs) -> None:
    first = network.forward(draw(), *inputs, CONFIG, prefix='pre_')
    for one, other in zip(first, network.forward(draw(), *inputs, CONFIG)):
        assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize('config', [CONFIG, VIDEO], ids=['full', 'video'])
def test_every_parameter_but_norm_offsets_and_action_head_is_adapted(config: MilConfig) -> None:
    params = network.init_params(config)
    kept = set(params) - set(network.adapted_names(params, config))
    expected = {'norm0.beta', 'norm1.beta'}
    expected |= {f'{head}.{part}' for head in ('head', 'final') for part in ('weight', 'bias')}
    assert {name for name in kept if not name.startswith('loss_')} == expected
    learned = {name for name in params if name.startswith('loss_')}
    assert {name for name in kept if name.startswith('loss_')} == learned
    assert bool(learned) == (config is VIDEO)


def test_video_needs_no_head_for_demonstrated_actions() -> None:
    assert 'pre_head.weight' in network.init_params(CONFIG)
    assert 'pre_head.weight' not in network.init_params(VIDEO)


def test_final_pose_is_predicted_from_the_image_alone(inputs: Inputs) -> None:
    images, state = inputs
    actions, final = network.forward(draw(), images, state, CONFIG)
    other_actions, other_final = network.forward(draw(), images, state + 1.0, CONFIG)
    assert final.shape == actions.shape == (1, 4, CONFIG.joints)
    assert torch.equal(final, other_final)
    assert (actions - other_actions).abs().max() > 1e-4


def test_predicted_final_pose_reaches_the_action(inputs: Inputs) -> None:
    params = draw()
    before, _ = network.forward(params, *inputs, CONFIG)
    moved = {**params, 'final.bias': params['final.bias'] + 1.0}
    after, _ = network.forward(moved, *inputs, CONFIG)
    assert (after - before).abs().max() > 1e-4


def test_context_reaches_the_action(inputs: Inputs) -> None:
    params = draw()
    before, _ = network.forward(params, *inputs, CONFIG)
    after, _ = network.forward({**params, 'context': params['context'] + 1.0}, *inputs, CONFIG)
    assert (after - before).abs().max() > 1e-4


# --- What an option changes, and what it does not ----------------------------------------------

FC = {'fc0.weight'}
HEADS = {f'{h}.weight' for h in ('head', 'pre_head')}
FINALS = {f'{h}.weight' for h in ('final', 'pre_final')}
FINAL_BIASES = {f'{h}.bias' for h in ('final', 'pre_final', 'head', 'pre_head')}
CONV1 = {'conv1.weight', 'conv1.bias', 'norm1.beta', 'temperature'}
SHAPES = {
    'filters': (CONFIG, {'filters': (3, 6)}, CONV1 | FINALS | FC),
    'kernels': (CONFIG, {'kernels': (3, 5)}, {'conv1.weight'}),
    'strides': (CONFIG, {'strides': (1, 2)}, set()),
    'hidden': (CONFIG, {'hidden': (7,)}, FC | {'fc0.bias'} | HEADS),
    'context': (CONFIG, {'context': 5}, {'context'} | FC),
    'image_context': (CONFIG, {'image_context': False}, {'image_context', 'conv0.weight'}),
    'image_height': (CONFIG, {'image_height': 10}, {'image_context'}),
    'joints': (CONFIG, {'joints': 3}, FC | HEADS | FINALS | FINAL_BIASES),
    'final_pose_weight': (CONFIG, {'final_pose_weight': 0.0}, set()),
    'loss_filters': (
        VIDEO,
        {'loss_filters': 3},
        {f'loss_{n}' for n in ('conv0.weight', 'conv0.bias', 'conv1.weight', 'conv1.bias')}
        | {'loss_out.weight'},
    ),
    'loss_kernel': (VIDEO, {'loss_kernel': 2}, {'loss_conv0.weight', 'loss_conv1.weight'}),
    'loss_layers': (VIDEO, {'loss_layers': 1}, {'loss_conv1.weight', 'loss_conv1.bias'}),
    'loss options without learned loss': (CONFIG, {'loss_filters': 3, 'loss_kernel': 2}, set()),
    'lstm_width': (
        replace(CONFIG, method='lstm'),
        {'lstm_width': 9},
        {f'encoder.{n}' for n in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')}
        | {'final.weight'}
        | FC,
    ),
    'lstm_width without lstm': (CONFIG, {'lstm_width': 9}, set()),
    'frozen': (CONFIG, {'frozen': ('conv',)}, set()),
    'shots': (CONFIG, {'shots': 5}, set()),
    'inner_steps': (CONFIG, {'inner_steps': 4}, set()),
    'frames': (CONFIG, {'frames': 9, 'trial_frames': 8, 'demo_frames': 7}, set()),
}


@pytest.mark.parametrize('option', SHAPES)
def test_option_changes_the_parameters_that_it_must_and_no_other(option: str) -> None:
    config, change, expected = SHAPES[option]
    before, after = (
        {name: tuple(tensor.shape) for name, tensor in drawn.items()}
        for drawn in (
            network.init_params(c) | init_encoder(c) for c in (config, replace(config, **change))
        )
    )
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == expected
