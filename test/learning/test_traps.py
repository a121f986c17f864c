"""Where re-implementations of MIL went wrong: one test for each trap, named after it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from helpers import make_demo
import numpy as np
import pytest
from tiny import draw_batch, draw_params, draw_step_sizes, FULL, gradient_of, TASKS, VIDEO
import torch

from mil_ros.core.types import Observation
from mil_ros.data.dataset import Dataset, save_info, save_task
from mil_ros.learning import network
from mil_ros.learning.batches import Normaliser, sample_meta_batch
from mil_ros.learning.checkpoint import Checkpoint, load_checkpoint
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import (
    imitation_loss,
    init_step_sizes,
    inner_step,
    meta_loss,
    pre_update_loss,
)
from mil_ros.learning.network import adapted_names, expand
from mil_ros.learning.torch_policy import TorchPolicy
from mil_ros.learning.trainer import Trainer

SMALL = MilConfig(
    image_height=12,
    image_width=16,
    filters=(3,),
    strides=(2,),
    kernels=(3,),
    hidden=(8,),
    context=3,
    frames=4,
    meta_batch=2,
    steps=2,
)
BOTH = pytest.mark.parametrize('config', [FULL, VIDEO], ids=['full', 'video'])


def copy_scaled(dataset: Dataset, directory: Path, factor: float, shift: float = 0.0) -> Dataset:
    """Return a dataset whose positions are shifted and whose velocities are scaled."""
    save_info(directory, dataset.info)
    rng = np.random.default_rng(0)
    for index in range(len(dataset)):
        data = dataset.load(index)
        demos = [
            replace(
                make_demo(rng),
                images=data.images[k],
                joint_positions=data.joint_positions[k] + np.float32(shift),
                joint_velocities=data.joint_velocities[k] * np.float32(factor),
            )
            for k in range(dataset.info.demos)
        ]
        save_task(directory, index, demos)
    return Dataset(directory)


# --- 1. The scale of the loss is hand-coupled to the inner step size, and the clip to both ------


def test_inner_step_does_not_depend_on_the_unit_of_the_actions(
    dataset: Dataset, tmp_path: Path
) -> None:
    """The paper multiplies the loss by 50 or 100; here actions have a deviation of one."""
    scaled = copy_scaled(dataset, tmp_path, 64.0)
    batches = [
        sample_meta_batch(d, Normaliser.from_dataset(d), SMALL, 3)[0] for d in (dataset, scaled)
    ]
    torch.testing.assert_close(batches[0].actions, batches[1].actions)
    spread = batches[0].actions.square().mean().sqrt()
    assert 0.5 < float(spread) < 2.0


@BOTH
def test_first_inner_step_is_felt_with_the_initial_step_size(config: MilConfig) -> None:
    """With a plain squared error and the paper's step size nothing would happen."""
    params = draw_params(config)
    sizes = init_step_sizes(params, replace(config, step_size=MilConfig().step_size))
    shared = expand(params, TASKS)
    adapted, before = inner_step(shared, sizes, draw_batch(1), config)
    assert (pre_update_loss(adapted, draw_batch(1), config) < 0.95 * before).all()


def test_clip_is_inside_the_graph() -> None:
    """An element that is clipped is a constant of the meta-gradient."""
    params, demo, trial = draw_params(FULL), draw_batch(1), draw_batch(2)
    sizes = {n: size.detach() for n, size in draw_step_sizes(params, FULL).items()}
    config = replace(FULL, gradient_clip=1e-9)  # every element is clipped
    got = gradient_of(meta_loss(params, sizes, demo, trial, config).objective.sum(), params)
    constant = replace(config, first_order_share=1.0)
    first = meta_loss(params, sizes, demo, trial, constant, step=0).objective.sum()
    for name, expected in gradient_of(first, params).items():
        torch.testing.assert_close(got[name], expected, rtol=0, atol=1e-14)


# --- 2. Layer normalisation: joint, without gain; its offset is learned but not adapted ---------


def test_layer_norm_has_no_gain() -> None:
    names = [name for name in network.init_params(FULL) if name.startswith('norm')]
    assert names == ['norm0.beta']


def test_layer_norm_is_joint_over_channels_rows_and_columns() -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    x = x * torch.tensor([0.5, 2.0, 8.0])[:, None, None, None]
    x = x + torch.arange(4.0)[:, None, None]  # channels differ, and must go on to differ
    got = network.normalise(x.flatten(2).transpose(1, 2)[:, :, None])  # (T, H * W, B, C)
    got = got[:, :, 0].transpose(1, 2).reshape(x.shape)
    for frame, result in zip(x, got):
        deviation = (frame.var(unbiased=False) + 1e-5).sqrt()
        torch.testing.assert_close(result, (frame - frame.mean()) / deviation)
    assert got.mean(dim=(2, 3)).abs().max() > 0.1


@BOTH
def test_offset_of_layer_norm_is_meta_learned_and_not_adapted(config: MilConfig) -> None:
    params, demo, trial = draw_params(config), draw_batch(1), draw_batch(2)
    sizes = draw_step_sizes(params, config)
    shared = expand(params, TASKS)
    adapted, _ = inner_step(shared, sizes, demo, config)
    assert adapted['norm0.beta'] is shared['norm0.beta']
    objective = meta_loss(params, sizes, demo, trial, config).objective.sum()
    assert gradient_of(objective, params)['norm0.beta'].abs().max() > 1e-4


def test_normalisation_knows_one_frame_alone() -> None:
    """The frames of a demonstration resemble each other, which breaks batch normalisation."""
    params, images = expand(draw_params(FULL), TASKS), draw_batch(1).images
    points = network.features(params, images, FULL)
    others = torch.cat([images[:, :1], draw_batch(3).images[:, 1:]], dim=1)
    changed = network.features(params, others, FULL)
    torch.testing.assert_close(changed[:, 0], points[:, 0], rtol=1e-12, atol=0)
    assert (changed[:, 1:] - points[:, 1:]).abs().amin(dim=2).max() > 1e-6


# --- 3. Two heads, and contexts that are adapted ------------------------------------------------


@BOTH
def test_head_of_the_action_gets_no_inner_gradient(config: MilConfig) -> None:
    params = expand(draw_params(config), TASKS)
    loss = pre_update_loss(params, draw_batch(1), config).sum()
    gradient = gradient_of(loss, params)
    for name in ('head.weight', 'head.bias', 'final.weight', 'final.bias'):
        assert (gradient[name] == 0.0).all()
        assert name not in adapted_names(params, config)


def test_head_of_the_demonstration_gives_no_action() -> None:
    params, trial = expand(draw_params(FULL), TASKS), draw_batch(2)
    gradient = gradient_of(imitation_loss(params, trial, FULL)[0].sum(), params)
    for name in ('pre_head.weight', 'pre_head.bias', 'pre_final.weight', 'pre_final.bias'):
        assert (gradient[name] == 0.0).all()


@BOTH
def test_contexts_are_adapted(config: MilConfig) -> None:
    params = draw_params(config)
    shared = expand(params, TASKS)
    adapted, _ = inner_step(shared, draw_step_sizes(params, config), draw_batch(1), config)
    for name in ('context', 'image_context'):
        for task in range(TASKS):
            assert (adapted[name][task] - params[name]).abs().max() > 1e-6, name


# --- 4. The state is the arm's alone (see also test_rollout) ------------------------------------


def test_state_is_that_of_the_joints_and_tells_nothing_of_objects(
    dataset: Dataset, normaliser: Normaliser
) -> None:
    """The paper's state of pushing has twenty numbers; here it is one for each joint."""
    assert set(Observation.__slots__) == {'image', 'joint_positions'}
    joints = len(dataset.info.joint_names)
    for batch in sample_meta_batch(dataset, normaliser, SMALL, 0):
        assert batch.state.shape[2] == batch.actions.shape[2] == batch.final.shape[2] == joints


# --- 5. The demonstrated trial is not the one to judge by ---------------------------------------


def test_trial_is_never_the_demonstration(dataset: Dataset, normaliser: Normaliser) -> None:
    config = replace(SMALL, meta_batch=5, shots=3)
    for step in range(20):
        demo, trial = sample_meta_batch(dataset, normaliser, config, step)
        for shown, judged in zip(demo.final, trial.final):
            assert len(judged.unique(dim=0)) == 1
            assert not (shown == judged[0]).all(dim=1).any()


# --- 5. And the network of training is the network of testing -----------------------------------


def test_network_is_rebuilt_from_the_checkpoint_alone(
    dataset: Dataset, tmp_path: Path, rng: np.random.Generator
) -> None:
    """The paper's test script rebuilds the network from options that differ from training's."""
    config = replace(SMALL, filters=(5, 2), strides=(1, 2), kernels=(5, 3), hidden=(7, 6, 5))
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, config).run(path, lambda _: None)
    loaded = load_checkpoint(path)
    assert loaded.config == config
    demo = make_demo(rng)
    policy = TorchPolicy(loaded).adapt(demo)
    seen = Observation(demo.images[0], demo.joint_positions[0].astype(np.float64))
    assert np.isfinite(policy.act(seen)).all()


# --- 6. Validation and test are scaled by the statistics of training ----------------------------


def test_statistics_are_those_of_training_wherever_the_policy_goes(
    dataset: Dataset, tmp_path: Path, rng: np.random.Generator
) -> None:
    path = tmp_path / 'last.safetensors'
    trainer = Trainer(dataset, SMALL)
    trainer.run(path, lambda _: None)
    other = copy_scaled(dataset, tmp_path / 'other', 3.0, shift=1.0)
    assert (Normaliser.from_dataset(other).state_mean - trainer.normaliser.state_mean > 0.9).all()
    resumed = Trainer(other, SMALL)
    resumed.resume(path)
    for loaded in (load_checkpoint(path).normaliser, resumed.normaliser):
        for name in loaded.__slots__:
            assert torch.equal(getattr(loaded, name), getattr(trainer.normaliser, name))
    demo = make_demo(rng)
    seen = Observation(demo.images[0], demo.joint_positions[0].astype(np.float64))
    acted = [
        TorchPolicy(state).adapt(demo).act(seen)
        for state in (load_checkpoint(path), trainer.state())
    ]
    np.testing.assert_array_equal(*acted)


def test_statistics_are_inside_the_policy(
    tiny_checkpoint: Checkpoint, rng: np.random.Generator
) -> None:
    """A policy in other units acts alike: positions in, velocities out."""
    demo = make_demo(rng)
    seen = Observation(demo.images[0], demo.joint_positions[0].astype(np.float64))
    scales = tiny_checkpoint.normaliser
    doubled = Normaliser(scales.state_mean, scales.state_std, 2.0 * scales.action_std)
    plain = TorchPolicy(tiny_checkpoint)
    twice = TorchPolicy(replace(tiny_checkpoint, normaliser=doubled))
    np.testing.assert_allclose(twice.act(seen), 2.0 * plain.act(seen), rtol=1e-5)
    faster = replace(demo, joint_velocities=2.0 * demo.joint_velocities)
    adapted, also = plain.adapt(demo).act(seen), twice.adapt(faster).act(seen)
    np.testing.assert_allclose(also, 2.0 * adapted, rtol=1e-4, atol=1e-5)
    assert np.abs(adapted - plain.act(seen)).max() > 1e-3


# --- 7. Weights that are said to be loaded are loaded -------------------------------------------


def test_weights_that_are_taken_over_reach_the_loss(dataset: Dataset, tmp_path: Path) -> None:
    """The paper's code builds the operation that loads its first layer and never runs it."""
    path = tmp_path / 'last.safetensors'
    source = Trainer(dataset, replace(SMALL, learning_rate=0.05))
    source.run(path, lambda _: None)
    taker = Trainer(dataset, replace(SMALL, seed=4))
    demo, trial = sample_meta_batch(dataset, source.normaliser, SMALL, 9)
    losses = []
    for trainer in (source, taker):
        if trainer is taker:
            fresh = meta_loss(taker.params, taker.step_sizes, demo, trial, SMALL).objective
            assert trainer.start_from(path) > 0
        losses.append(meta_loss(trainer.params, trainer.step_sizes, demo, trial, SMALL).objective)
    assert torch.equal(losses[0], losses[1])
    assert not torch.equal(losses[0], fresh)


# --- 8. Success is decided by code that is run: see test_evaluate and test_families -------------


# --- 9. What the policy sees in training is what it sees on the robot ---------------------------


def test_frame_of_training_is_the_frame_of_the_robot_bit_for_bit(
    dataset: Dataset, normaliser: Normaliser, tiny_checkpoint: Checkpoint
) -> None:
    """The paper trains on frames of a GIF palette and tests on raw ones."""
    demo, _ = sample_meta_batch(dataset, normaliser, replace(SMALL, frames=9, trial_frames=9), 0)
    known = {
        frame.tobytes()
        for task in range(len(dataset))
        for shown in dataset.load(task).images
        for frame in shown
    }
    live = TorchPolicy(replace(tiny_checkpoint, normaliser=normaliser))
    for image in demo.images.flatten(0, 1):
        raw = (image * 255.0).round().to(torch.uint8)
        assert raw.numpy().tobytes() in known
        again = raw.float() / 255.0
        assert torch.equal(again, image)
    whole = dataset.load(0)
    first = make_demo(np.random.default_rng(0))
    shown = replace(
        first,
        images=np.array(whole.images[0]),
        joint_positions=whole.joint_positions[0],
        joint_velocities=whole.joint_velocities[0],
    )
    batch = live._to_batch(shown)
    expected = torch.from_numpy(np.array(whole.images[0])).float() / 255.0
    assert torch.equal(batch.images[0], expected)
