"""The reference policy adapts as training does, and acts in the units of the arm."""

from __future__ import annotations

from dataclasses import replace

from helpers import make_demo
import numpy as np
import pytest
import torch

from mil_ros.core.errors import ConfigError, DemoError
from mil_ros.core.types import Demo, Observation
from mil_ros.learning.baselines import init_encoder
from mil_ros.learning.batches import final_pose
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.inner_step import Batch, init_step_sizes, inner_step
from mil_ros.learning.network import expand, forward, init_params
from mil_ros.learning.torch_policy import TorchPolicy

VARIANTS = {
    'full': {},
    'two steps': {'inner_steps': 2},
    'two shots': {'shots': 2},
    'video': {'modality': 'video'},
    'video, two steps, two shots': {'modality': 'video', 'inner_steps': 2, 'shots': 2},
}
BASELINES = {
    'contextual': {'method': 'contextual'},
    'lstm': {'method': 'lstm'},
    'lstm on video': {'method': 'lstm', 'modality': 'video'},
}


def make(tiny_checkpoint: Checkpoint, **changes: object) -> Checkpoint:
    """Return a checkpoint of another configuration, strong enough for a demo to matter."""
    config = replace(tiny_checkpoint.config, frames=6, lstm_width=5, step_size=0.3, **changes)
    generator = torch.Generator().manual_seed(1)
    params = init_params(config) | init_encoder(config)
    for name, tensor in params.items():
        tensor += 0.1 * torch.rand(tensor.shape, generator=generator)
        if 'head' in name:
            tensor *= 2.0
    sizes = init_step_sizes(params, config) if config.method == 'mil' else {}
    return replace(tiny_checkpoint, config=config, params=params, step_sizes=sizes)


@pytest.fixture
def demos(rng: np.random.Generator) -> list[Demo]:
    return [make_demo(rng, steps=13), make_demo(rng, steps=9)]


@pytest.fixture
def observations(rng: np.random.Generator) -> list[Observation]:
    other = make_demo(rng, steps=5)
    return [
        Observation(image, positions.astype(np.float64))
        for image, positions in zip(other.images, other.joint_positions)
    ]


def act_on(policy: TorchPolicy, observations: list[Observation]) -> np.ndarray:
    return np.stack([policy.act(observation) for observation in observations])


def to_batch(checkpoint: Checkpoint, *demos: Demo) -> Batch:
    """Return demonstrations as the network sees them, one after the other."""
    ends = [np.broadcast_to(final_pose(d.joint_positions), d.joint_positions.shape) for d in demos]
    streams = [
        [d.images for d in demos],
        [d.joint_positions for d in demos],
        [d.joint_velocities for d in demos],
        ends,
    ]
    tensors = [torch.from_numpy(np.concatenate(stream)[None]) for stream in streams]
    return checkpoint.normaliser.to_batch(*tensors)


@pytest.mark.parametrize('changes', VARIANTS.values(), ids=VARIANTS)
def test_adapts_by_the_inner_steps_of_training(
    tiny_checkpoint: Checkpoint,
    demos: list[Demo],
    observations: list[Observation],
    changes: dict[str, object],
) -> None:
    checkpoint = make(tiny_checkpoint, **changes)
    config = replace(checkpoint.config, precision='float32')
    shown = demos[: config.shots]
    batch = to_batch(checkpoint, *(demo.subsample(config.demo_frames) for demo in shown))
    leaves = {name: p.clone().requires_grad_() for name, p in checkpoint.params.items()}
    params = expand(leaves, 1)
    for _ in range(config.inner_steps):
        params, _ = inner_step(params, checkpoint.step_sizes, batch, config)
    frames = Demo(
        np.stack([o.image for o in observations]),
        np.stack([o.joint_positions for o in observations]).astype(np.float32),
        np.zeros((5, 7), dtype=np.float32),
    )
    seen = to_batch(checkpoint, frames)
    with torch.no_grad():
        actions, _ = forward(params, seen.images, seen.state, config)
    expected = (actions[0] * checkpoint.normaliser.action_std).numpy()
    policy = TorchPolicy(checkpoint)
    got = act_on(policy.adapt(*shown), observations)
    assert np.abs(got - act_on(policy, observations)).max() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('changes', BASELINES.values(), ids=BASELINES)
def test_baseline_knows_the_demonstration_after_it_was_shown(
    tiny_checkpoint: Checkpoint,
    demos: list[Demo],
    observations: list[Observation],
    changes: dict[str, object],
) -> None:
    policy = TorchPolicy(make(tiny_checkpoint, **changes))
    one, other = (act_on(policy.adapt(demo), observations) for demo in demos)
    assert np.abs(one - other).max() > 1e-4
    np.testing.assert_array_equal(act_on(policy.adapt(demos[0]), observations), one)


def test_behaviour_cloning_acts_alike_whatever_was_shown(
    tiny_checkpoint: Checkpoint, demos: list[Demo], observations: list[Observation]
) -> None:
    policy = TorchPolicy(make(tiny_checkpoint, method='bc'))
    expected = act_on(policy, observations)
    assert expected.std(axis=0).min() > 1e-3
    for demo in demos:
        np.testing.assert_array_equal(act_on(policy.adapt(demo), observations), expected)


@pytest.mark.parametrize('changes', [{'modality': 'video'}, BASELINES['lstm on video']])
def test_modality_video_needs_the_frames_alone(
    tiny_checkpoint: Checkpoint,
    demos: list[Demo],
    observations: list[Observation],
    changes: dict[str, object],
) -> None:
    policy = TorchPolicy(make(tiny_checkpoint, **changes))
    whole = act_on(policy.adapt(demos[0]), observations)
    video = act_on(policy.adapt(Demo.from_video(demos[0].images)), observations)
    np.testing.assert_array_equal(video, whole)
    backwards = Demo.from_video(demos[0].images[::-1])
    assert np.abs(act_on(policy.adapt(backwards), observations) - whole).max() > 1e-5


def test_adapting_leaves_the_policy_itself_as_it_was(
    tiny_checkpoint: Checkpoint, demos: list[Demo], observations: list[Observation]
) -> None:
    for policy in (
        TorchPolicy(make(tiny_checkpoint)),
        TorchPolicy(make(tiny_checkpoint, method='bc'), finetune_steps=2),
        TorchPolicy(make(tiny_checkpoint, modality='video', inner_steps=2)),
    ):
        before = act_on(policy, observations)
        policy.adapt(demos[0])
        np.testing.assert_array_equal(act_on(policy, observations), before)


# --- Options -----------------------------------------------------------------------------------


def test_step_scale_of_zero_is_the_policy_without_adaptation(
    tiny_checkpoint: Checkpoint, demos: list[Demo], observations: list[Observation]
) -> None:
    policy = TorchPolicy(make(tiny_checkpoint), step_scale=0.0)
    expected = act_on(policy, observations)
    np.testing.assert_array_equal(act_on(policy.adapt(demos[0]), observations), expected)


def test_step_scale_is_a_factor_on_every_step_size(
    tiny_checkpoint: Checkpoint, demos: list[Demo], observations: list[Observation]
) -> None:
    checkpoint = make(tiny_checkpoint)
    doubled = {name: 2.0 * size for name, size in checkpoint.step_sizes.items()}
    by_scale = TorchPolicy(checkpoint, step_scale=2.0).adapt(demos[0])
    by_size = TorchPolicy(replace(checkpoint, step_sizes=doubled)).adapt(demos[0])
    np.testing.assert_array_equal(act_on(by_scale, observations), act_on(by_size, observations))


@pytest.mark.parametrize('modality', ['full', 'video'])
def test_inner_steps_may_be_other_than_those_of_training(
    tiny_checkpoint: Checkpoint,
    demos: list[Demo],
    observations: list[Observation],
    modality: str,
) -> None:
    one = make(tiny_checkpoint, modality=modality)
    three = make(tiny_checkpoint, modality=modality, inner_steps=3)
    asked = act_on(TorchPolicy(one, inner_steps=3).adapt(demos[0]), observations)
    trained = act_on(TorchPolicy(three).adapt(demos[0]), observations)
    np.testing.assert_array_equal(asked, trained)
    assert np.abs(asked - act_on(TorchPolicy(one).adapt(demos[0]), observations)).max() > 1e-4


def test_finetuning_brings_the_actions_near_those_of_the_demonstration(
    tiny_checkpoint: Checkpoint, demos: list[Demo]
) -> None:
    checkpoint = make(tiny_checkpoint, method='bc')
    demo = demos[0].subsample(6)
    seen = [
        Observation(image, positions.astype(np.float64))
        for image, positions in zip(demo.images, demo.joint_positions)
    ]
    errors = []
    for steps in (0, 20, 60):
        policy = TorchPolicy(checkpoint, finetune_steps=steps, finetune_rate=0.01).adapt(demo)
        errors.append(np.square(act_on(policy, seen) - demo.joint_velocities).mean())
    assert errors[0] > 1.2 * errors[1] > 1.2 * 1.2 * errors[2]


# --- What does not fit -------------------------------------------------------------------------


def test_finetuning_without_actions_is_refused(tiny_checkpoint: Checkpoint) -> None:
    message = (
        r'^Got finetune steps for a policy of modality video; fine-tuning needs the '
        r'demonstrated actions, expected modality full\.$'
    )
    with pytest.raises(ConfigError, match=message):
        TorchPolicy(make(tiny_checkpoint, method='bc', modality='video'), finetune_steps=3)


@pytest.mark.parametrize(
    ('trained', 'shown', 'fix'),
    [(1, 2, 'once'), (1, 0, 'once'), (2, 1, '2 times')],
)
def test_another_number_of_demonstrations_is_refused(
    tiny_checkpoint: Checkpoint, demos: list[Demo], trained: int, shown: int, fix: str
) -> None:
    message = (
        rf'^Got {shown} demonstrations, the policy adapts to {trained}; show the task {fix} or '
        r'use another policy\.$'
    )
    with pytest.raises(DemoError, match=message):
        TorchPolicy(make(tiny_checkpoint, shots=trained)).adapt(*demos[:shown])


@pytest.mark.parametrize('method', ['mil', 'contextual', 'lstm'])
def test_finetuning_what_reads_the_demonstration_itself_is_refused(
    tiny_checkpoint: Checkpoint, method: str
) -> None:
    message = (
        rf'^Got finetune steps for a policy of method {method}, which reads the demonstration in '
        r'a way of its own; expected one trained with method=bc\.$'
    )
    with pytest.raises(ConfigError, match=message):
        TorchPolicy(make(tiny_checkpoint, method=method), finetune_steps=3)


def test_video_alone_is_refused_where_actions_are_learned_from(
    tiny_checkpoint: Checkpoint, demos: list[Demo]
) -> None:
    message = (
        r'^Demo is a video without joint states and actions, the policy adapts to all three; '
        r'record it with /recorder/start or use a policy of modality video\.$'
    )
    with pytest.raises(DemoError, match=message):
        TorchPolicy(make(tiny_checkpoint)).adapt(Demo.from_video(demos[0].images))
