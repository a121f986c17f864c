"""The parts of the network do what the paper says they do."""

from __future__ import annotations

import pytest
import torch

from mil_ros.learning import network
from mil_ros.learning.config import MilConfig

CONFIG = MilConfig(
    image_height=9,
    image_width=12,
    joints=4,
    filters=(3, 5),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(6,),
    context=2,
)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(4, 3, 9, 12, generator=generator)
    return images, torch.randn(4, 4, generator=generator)


def test_same_seed_gives_the_same_parameters_and_another_does_not() -> None:
    first, again = network.init_params(CONFIG), network.init_params(CONFIG)
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = network.init_params(MilConfig(**{**_fields(CONFIG), 'seed': 1}))
    assert not torch.equal(first['conv0.weight'], other['conv0.weight'])


@pytest.mark.parametrize(('row', 'column'), [(0, 0), (0, 10), (6, 0), (6, 10), (3, 5), (2, 7)])
def test_soft_argmax_of_a_peak_is_its_position(row: int, column: int) -> None:
    maps = torch.zeros(1, 2, 7, 11)
    maps[0, 0, row, column] = 60.0
    points = network._spatial_soft_argmax(maps)
    assert points.shape == (1, 4)  # x of each channel, then y
    x, flat_x, y, flat_y = points[0].tolist()
    assert x == pytest.approx(-1.0 + 2.0 * column / 10, abs=1e-6)  # right
    assert y == pytest.approx(-1.0 + 2.0 * row / 6, abs=1e-6)  # down
    assert (flat_x, flat_y) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_soft_argmax_of_two_equal_peaks_lies_between_them() -> None:
    maps = torch.zeros(1, 1, 5, 5)
    maps[0, 0, 0, 1] = maps[0, 0, 4, 4] = 60.0
    x, y = network._spatial_soft_argmax(maps)[0].tolist()
    assert (x, y) == pytest.approx(((-0.5 + 1.0) / 2, 0.0), abs=1e-6)


def test_layer_norm_is_joint_over_channels_rows_and_columns() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.5, 2.0, 8.0])[:, None, None, None]
    x = x + torch.arange(4.0)[:, None, None]  # channels differ, and must go on to differ
    got = network._layer_norm(x)
    for frame, result in zip(x, got):
        deviation = (frame.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(result, (frame - frame.mean()) / deviation)
    assert got.mean(dim=(2, 3)).abs().max() > 0.1


def test_frames_do_not_see_each_other(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, state = inputs
    params = network.init_params(CONFIG)
    together = network.forward(params, images, state, CONFIG)[0]
    alone = [network.forward(params, images[i, None], state[i, None], CONFIG)[0] for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone))
    assert (together[0] - together[1]).abs().max() > 1e-6


def test_image_context_of_zero_changes_nothing(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    params = network.init_params(CONFIG)
    assert not params['image_context'].any()
    without = MilConfig(**{**_fields(CONFIG), 'image_context': False})
    expected = network.forward(params, *inputs, without)[0]
    torch.testing.assert_close(network.forward(params, *inputs, CONFIG)[0], expected)
    params['image_context'] = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(1))
    changed = network.forward(params, *inputs, CONFIG)[0]
    assert (changed - expected).abs().max() > 1e-5


def test_image_context_is_three_more_channels_of_every_image(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    images, _ = inputs
    params = network.init_params(CONFIG)
    params['image_context'] = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(1))
    joined = dict(params)
    joined['conv0.weight'] = torch.cat(
        [params['conv0.weight'], params['conv0.context_weight']], dim=1
    )
    stacked = torch.cat([images, params['image_context'].expand(4, -1, -1, -1)], dim=1)
    without = MilConfig(**{**_fields(CONFIG), 'image_context': False})
    expected = network.features(joined, stacked, without)
    torch.testing.assert_close(network.features(params, images, CONFIG), expected)


def test_heads_are_different_functions(inputs: tuple[torch.Tensor, torch.Tensor]) -> None:
    params = network.init_params(CONFIG)
    first = network.forward(params, *inputs, CONFIG, prefix='pre_')[0]
    assert (first - network.forward(params, *inputs, CONFIG)[0]).abs().max() > 1e-4


def test_every_parameter_but_norm_offsets_and_action_head_is_adapted() -> None:
    params = network.init_params(CONFIG)
    kept = set(params) - set(network.adapted_names(params))
    assert kept == {'norm0.beta', 'norm1.beta'} | {
        f'{h}.{p}' for h in ('head', 'final') for p in ('weight', 'bias')
    }


def _fields(config: MilConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in config.__slots__}


def test_final_pose_is_predicted_from_the_image_alone(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    params = network.init_params(CONFIG)
    images, state = inputs
    actions, final = network.forward(params, images, state, CONFIG)
    other_actions, other_final = network.forward(params, images, state + 1.0, CONFIG)
    assert final.shape == actions.shape == (4, CONFIG.joints)
    torch.testing.assert_close(final, other_final)
    assert (actions - other_actions).abs().max() > 1e-4


def test_predicted_final_pose_reaches_the_action(
    inputs: tuple[torch.Tensor, torch.Tensor],
) -> None:
    params = network.init_params(CONFIG)
    before, _ = network.forward(params, *inputs, CONFIG)
    moved = {**params, 'final.bias': params['final.bias'] + 1.0}
    after, _ = network.forward(moved, *inputs, CONFIG)
    assert (after - before).abs().max() > 1e-4
