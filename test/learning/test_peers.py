"""Our meta-gradient is that of other libraries on the same weights."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
import re
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from mil_ros.core.errors import ConfigError, MilError
from mil_ros.learning import peers
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, init_step_sizes, meta_loss
from mil_ros.learning.network import expand, forward, init_params, Params
from mil_ros.learning.peer_network import PeerNetwork
from mil_ros.learning.peers import PEERS, split_tasks

TASKS = 3
CLIP = 0.02  # cuts off some elements of each inner gradient
CONFIG = MilConfig(
    image_height=9,
    image_width=12,
    joints=4,
    filters=(3, 5, 4),
    strides=(2, 1, 1),
    kernels=(5, 3, 3),
    hidden=(8, 6),
    context=3,
    precision='float64',
    final_pose_weight=0.7,
)


@pytest.fixture(params=PEERS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if find_spec(found) is None:
        pytest.skip(f'{found} is not installed; make setup brings it')
    return found


def draw_batch(seed: int, frames: int, dtype: torch.dtype) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    options = {'generator': generator, 'dtype': dtype}
    images = torch.rand(TASKS, frames, CONFIG.image_height, CONFIG.image_width, 3, **options)
    return Batch(images, *torch.randn(3, TASKS, frames, CONFIG.joints, **options))


def draw_params(dtype: torch.dtype) -> Params:
    """Return parameters none of which is zero, so that each term of the gradient counts."""
    generator = torch.Generator().manual_seed(5)
    params = init_params(CONFIG)
    noise = {n: torch.randn(p.shape, generator=generator, dtype=dtype) for n, p in params.items()}
    return {n: (p.to(dtype) + 0.2 * noise[n]).requires_grad_() for n, p in params.items()}


def draw_step_sizes(params: Params) -> Params:
    """Return step sizes that differ from element to element."""
    generator = torch.Generator().manual_seed(6)
    sizes = {}
    for name, size in init_step_sizes(params, CONFIG).items():
        factor = 0.5 + torch.rand(size.shape, generator=generator, dtype=size.dtype)
        sizes[name] = (size.detach() * factor).requires_grad_()
    return sizes


def compute_ours(config: MilConfig, dtype: torch.dtype) -> tuple[Params, Params]:
    """Return parameters and step sizes that hold the gradient of the meta-objective."""
    params = draw_params(dtype)
    sizes = draw_step_sizes(params)
    demos, trials = draw_batch(1, 3, dtype), draw_batch(2, 4, dtype)
    meta_loss(params, sizes, demos, trials, config, 0).objective.mean().backward()
    return params, sizes


def compare(name: str, config: MilConfig, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
    """Return the gradient by each parameter and step size: the peer's, ours."""
    params, sizes = compute_ours(config, dtype)
    peer = PEERS[name](params, sizes, config)
    peer.backward(split_tasks(draw_batch(1, 3, dtype)), split_tasks(draw_batch(2, 4, dtype)))
    theirs = dict(peer.network.named_parameters())
    pairs = [(theirs[n].grad, params[n].grad) for n in params]
    pairs += [(peer.step_sizes[n].grad, sizes[n].grad) for n in sizes]
    # After the last inner step the heads of the pre-update loss are of no use.
    unused = [theirs for theirs, ours in pairs if ours is None]
    assert len(unused) == (4 if config.inner_steps == 1 else 0)
    assert all(gradient is None for gradient in unused)
    return [(theirs, ours) for theirs, ours in pairs if ours is not None]


@pytest.mark.parametrize('inner_steps', [1, 2])
@pytest.mark.parametrize('clip', [1e6, CLIP])
def test_meta_gradient_is_that_of_a_peer_to_the_last_digits(
    name: str, inner_steps: int, clip: float
) -> None:
    config = replace(CONFIG, inner_steps=inner_steps, gradient_clip=clip)
    for theirs, ours in compare(name, config, torch.float64):
        assert ours.abs().max() > 1e-5
        torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-13)


def test_meta_gradient_in_float32_is_that_of_a_peer(name: str) -> None:
    config = replace(CONFIG, precision='float32')
    for theirs, ours in compare(name, config, torch.float32):
        torch.testing.assert_close(theirs, ours, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize('change', [{'first_order_share': 1.0}, {'gradient_clip': CLIP}])
def test_second_order_and_clip_are_parts_of_what_is_compared(change: dict[str, float]) -> None:
    whole, _ = compute_ours(CONFIG, torch.float64)
    other, _ = compute_ours(replace(CONFIG, **change), torch.float64)
    for name in ('conv0.weight', 'conv2.weight', 'fc0.weight', 'context'):
        difference = (whole[name].grad - other[name].grad).abs().max()
        assert difference > 1e-3 * whole[name].grad.abs().max(), name


def test_network_of_the_peers_has_our_parameters_and_outputs() -> None:
    params = draw_params(torch.float64)
    network = PeerNetwork(CONFIG).double()
    network.load_state_dict(params)  # refuses a name or a shape that only one of them has
    batch = draw_batch(3, 2, torch.float64)
    for prefix in ('pre_', ''):
        ours = forward(expand(params, TASKS), batch.images, batch.state, CONFIG, prefix)
        for task, frames in enumerate(split_tasks(batch)):
            for got, expected in zip(network(frames.images, frames.state, prefix), ours):
                torch.testing.assert_close(got, expected[task])


def test_outer_step_moves_parameters_and_step_sizes(name: str) -> None:
    config = replace(CONFIG, inner_steps=2)  # with one, the heads before the update stay
    params = draw_params(torch.float64)
    sizes = draw_step_sizes(params)
    peer = PEERS[name](params, sizes, config)
    demos, trials = (split_tasks(draw_batch(seed, 3, torch.float64)) for seed in (1, 2))
    peer.train_step(demos, trials)
    for parameter, moved in peer.network.named_parameters():
        assert (params[parameter] != moved).any(), parameter
    for size, moved in zip(sizes.values(), peer.step_sizes.values(), strict=True):
        assert (size != moved).any()


def test_outer_step_forgets_the_gradient_of_the_one_before(name: str) -> None:
    params = draw_params(torch.float64)
    peer = PEERS[name](params, draw_step_sizes(params), replace(CONFIG, learning_rate=1e-30))
    demos, trials = (split_tasks(draw_batch(seed, 3, torch.float64)) for seed in (1, 2))
    gradients = []
    for _ in range(2):
        peer.train_step(demos, trials)
        gradients.append(peer.network.context.grad.clone())
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ('change', 'got'),
    [
        ({'modality': 'video'}, 'method=mil modality=video image_context=False'),
        ({'method': 'bc'}, 'method=bc modality=full image_context=False'),
        ({'image_context': True}, 'method=mil modality=full image_context=True'),
    ],
)
def test_configuration_that_peers_do_not_know_is_refused(
    name: str, change: dict[str, object], got: str
) -> None:
    config = replace(CONFIG, frames=5, demo_frames=5, **change)
    message = f'Got {got}; peers are compared with method=mil modality=full image_context=False'
    with pytest.raises(ConfigError, match=re.escape(message)):
        PEERS[name]({}, {}, config)


def test_missing_library_is_named_with_what_brings_it() -> None:
    message = r'^no_such_library is not installed; run `make setup`, which brings it\.$'
    with pytest.raises(MilError, match=message):
        peers.check_installed('no_such_library')


def test_root_of_learn2learn_is_left_alone() -> None:
    if find_spec('learn2learn') is None:
        pytest.skip('learn2learn is not installed; make setup brings it')
    code = (
        'import sys; from mil_ros.learning import peers; '
        'peers._import("learn2learn.utils").clone_module; '
        'print(sorted(m for m in sys.modules if m.partition(".")[0] in {"learn2learn", "gym"}))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout == "['learn2learn.utils']\n", done.stderr
