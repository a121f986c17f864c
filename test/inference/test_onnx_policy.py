"""One inner step on one demonstration, and a bundle that keeps what was learned."""

from __future__ import annotations

from dataclasses import replace
import json
from pathlib import Path
import shutil

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.errors import BundleError, DemoError
from mil_ros.core.types import Demo, Observation, Policy
from mil_ros.inference.bundle import Bundle, load_bundle, save_adapted, write_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.torch_policy import TorchPolicy

ABOUT = {'episode': '/episodes/cup_03', 'frames': 9, 'loss_before': 2.0, 'loss_after': 1.0}


@pytest.fixture
def policy(tiny_bundle: Bundle) -> OnnxPolicy:
    return OnnxPolicy(tiny_bundle)


@pytest.fixture
def demo(rng: np.random.Generator) -> Demo:
    return make_demo(rng, steps=15)


@pytest.fixture
def observations(rng: np.random.Generator) -> list[Observation]:
    other = make_demo(rng, steps=5)
    return [
        Observation(image, positions.astype(np.float64))
        for image, positions in zip(other.images, other.joint_positions)
    ]


def act_on(policy: Policy, observations: list[Observation]) -> np.ndarray:
    return np.stack([policy.act(observation) for observation in observations])


def test_adapted_policy_acts_as_torch_does(
    policy: OnnxPolicy,
    tiny_checkpoint: Checkpoint,
    demo: Demo,
    observations: list[Observation],
) -> None:
    expected = act_on(TorchPolicy(tiny_checkpoint).adapt(demo), observations)
    got = act_on(policy.adapt(demo), observations)
    assert np.abs(got - act_on(policy, observations)).max() > 1e-3
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_adapting_leaves_the_policy_itself_as_it_was(
    policy: OnnxPolicy, demo: Demo, observations: list[Observation]
) -> None:
    before = act_on(policy, observations)
    policy.adapt(demo)
    np.testing.assert_array_equal(act_on(policy, observations), before)


def test_adapting_again_gives_the_same_policy(
    policy: OnnxPolicy, demo: Demo, observations: list[Observation]
) -> None:
    first, again = policy.adapt(demo), policy.adapt(demo)
    np.testing.assert_array_equal(act_on(first, observations), act_on(again, observations))


def test_other_demonstration_gives_another_policy(
    policy: OnnxPolicy, demo: Demo, rng: np.random.Generator, observations: list[Observation]
) -> None:
    other = policy.adapt(make_demo(rng, steps=15))
    difference = act_on(policy.adapt(demo), observations) - act_on(other, observations)
    assert np.abs(difference).max() > 1e-3


def test_inner_step_lowers_the_loss_on_the_demonstration(policy: OnnxPolicy, demo: Demo) -> None:
    _, report = policy.adapt_and_report(demo)
    assert 0.0 < report.loss_after < report.loss_before


def test_step_scale_of_zero_is_the_policy_without_adaptation(
    policy: OnnxPolicy, demo: Demo, observations: list[Observation]
) -> None:
    same, report = policy.adapt_and_report(demo, step_scale=0.0)
    np.testing.assert_array_equal(act_on(same, observations), act_on(policy, observations))
    assert report.loss_before == pytest.approx(report.loss_after, rel=1e-6)


def test_shortest_demonstration_is_two_frames(
    policy: OnnxPolicy, rng: np.random.Generator
) -> None:
    assert np.isfinite(policy.adapt(make_demo(rng, steps=2)).parameters['fc0.weight']).all()


# --- Demonstrations that do not fit ----------------------------------------------------------


def test_images_of_another_size_are_refused(policy: OnnxPolicy, rng: np.random.Generator) -> None:
    message = r"Demo images are 20x12, the policy 'tiny' expects 16x12; record with the camera of"
    with pytest.raises(DemoError, match=message):
        policy.adapt(make_demo(rng, width=20))


def test_other_number_of_joints_is_refused(policy: OnnxPolicy, rng: np.random.Generator) -> None:
    message = r"Demo has 6 joints, the policy 'tiny' expects 7 \(panda_joint1, .*panda_joint7\)"
    with pytest.raises(DemoError, match=message):
        policy.adapt(make_demo(rng, joints=6))


def test_single_frame_is_refused(policy: OnnxPolicy, rng: np.random.Generator) -> None:
    with pytest.raises(
        DemoError, match=r'Demo has 1 frames, expected at least 2; record a longer'
    ):
        policy.adapt(make_demo(rng, steps=1))


def test_step_that_blows_up_is_refused(policy: OnnxPolicy, demo: Demo) -> None:
    message = r'The inner step gave non-finite numbers \(loss .*\), expected finite ones'
    with pytest.raises(DemoError, match=message):
        policy.adapt_and_report(demo, step_scale=np.inf)


def test_demonstration_whose_loss_is_no_number_is_refused(policy: OnnxPolicy, demo: Demo) -> None:
    wild = replace(demo, joint_velocities=demo.joint_velocities * np.float32(1e30))
    with pytest.raises(DemoError, match=r'(inf|nan)'):
        policy.adapt(wild)


def test_another_number_of_demonstrations_is_refused(policy: OnnxPolicy, demo: Demo) -> None:
    message = r'^Got 2 demonstrations, the policy adapts to 1; show the task once or use another'
    with pytest.raises(DemoError, match=message):
        policy.adapt(demo, demo)


# --- Video alone -----------------------------------------------------------------------------


@pytest.fixture
def video_policy(tiny_video_bundle: Bundle) -> OnnxPolicy:
    return OnnxPolicy(tiny_video_bundle)


def test_policy_says_what_it_adapts_to(policy: OnnxPolicy, video_policy: OnnxPolicy) -> None:
    assert (policy.modality, video_policy.modality) == ('full', 'video')


def test_video_policy_adapted_to_a_video_acts_as_torch_does(
    video_policy: OnnxPolicy,
    tiny_video_checkpoint: Checkpoint,
    demo: Demo,
    observations: list[Observation],
) -> None:
    video = Demo.from_video(demo.images)
    expected = act_on(TorchPolicy(tiny_video_checkpoint).adapt(video), observations)
    adapted, report = video_policy.adapt_and_report(video)
    got = act_on(adapted, observations)
    assert np.abs(got - act_on(video_policy, observations)).max() > 1e-4
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert 0.0 < report.loss_after < report.loss_before


def test_video_policy_reads_nothing_but_the_video(
    video_policy: OnnxPolicy, demo: Demo, observations: list[Observation]
) -> None:
    video = act_on(video_policy.adapt(Demo.from_video(demo.images)), observations)
    np.testing.assert_array_equal(act_on(video_policy.adapt(demo), observations), video)


def test_video_alone_is_refused_where_actions_are_learned_from(
    policy: OnnxPolicy, demo: Demo
) -> None:
    message = (
        r"^Demo is a video without joint states and actions, the policy 'tiny' adapts to all "
        r'three; record it with /recorder/start or use a policy trained for video alone\.$'
    )
    with pytest.raises(DemoError, match=message):
        policy.adapt(Demo.from_video(demo.images))


def test_video_of_another_size_is_refused(
    video_policy: OnnxPolicy, rng: np.random.Generator
) -> None:
    video = Demo.from_video(make_demo(rng, width=20).images)
    with pytest.raises(DemoError, match=r"^Demo images are 20x12, the policy 'tiny_video' expec"):
        video_policy.adapt(video)


# --- Adapted bundles -------------------------------------------------------------------------


@pytest.fixture
def adapted(tiny_bundle: Bundle, policy: OnnxPolicy, demo: Demo, tmp_path: Path) -> Bundle:
    path = tmp_path / 'tiny_cup_03'
    save_adapted(tiny_bundle, policy.adapt(demo).parameters, ABOUT, path)
    return load_bundle(path)


def test_adapted_bundle_acts_as_the_policy_that_was_saved(
    adapted: Bundle, policy: OnnxPolicy, demo: Demo, observations: list[Observation]
) -> None:
    expected = act_on(policy.adapt(demo), observations)
    np.testing.assert_array_equal(act_on(OnnxPolicy(adapted), observations), expected)


def test_adapted_bundle_names_its_parent_and_its_demonstration(
    adapted: Bundle, tiny_bundle: Bundle
) -> None:
    assert adapted.is_adapted
    assert adapted.name == 'tiny_cup_03'
    assert adapted.manifest['parent'] == {'name': 'tiny', 'sha256': tiny_bundle.sha256}
    assert adapted.manifest['demo'] == ABOUT
    for key in ('task', 'robot', 'policy', 'normalisation'):
        assert adapted.manifest[key] == tiny_bundle.manifest[key]


def test_adapted_bundle_has_a_hash_of_its_own_and_no_inner_step(
    adapted: Bundle, tiny_bundle: Bundle
) -> None:
    assert adapted.sha256 != tiny_bundle.sha256
    names = sorted(path.name for path in adapted.path.iterdir())
    assert names == ['manifest.json', 'policy.onnx', 'weights.safetensors']


def test_adapting_an_adapted_bundle_is_refused(adapted: Bundle, demo: Demo) -> None:
    message = r"Bundle 'tiny_cup_03' is already adapted; adapt its parent 'tiny' instead\."
    with pytest.raises(BundleError, match=message):
        OnnxPolicy(adapted).adapt(demo)


# --- Bundles that are whole and wrong --------------------------------------------------------


def remake(bundle: Bundle, path: Path, dropped: str = '') -> Bundle:
    """Return a copy with a valid manifest, less one parameter."""
    shutil.copytree(bundle.path, path, dirs_exist_ok=True)
    manifest = json.loads((path / 'manifest.json').read_text())
    weights = {name: array for name, array in bundle.weights.items() if name != dropped}
    del manifest['files'], manifest['format']
    write_bundle(path, manifest, weights)
    return load_bundle(path)


def test_lacking_parameter_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    bundle = remake(tiny_bundle, tmp_path, dropped='fc0.weight')
    with pytest.raises(BundleError, match=r"Bundle 'tiny' lacks the parameter 'fc0\.weight' that"):
        OnnxPolicy(bundle)


def test_lacking_step_size_is_named(tiny_bundle: Bundle, tmp_path: Path, demo: Demo) -> None:
    bundle = remake(tiny_bundle, tmp_path, dropped='step_size.fc0.weight')
    with pytest.raises(BundleError, match=r"lacks the parameter 'step_size\.fc0\.weight' that"):
        OnnxPolicy(bundle).adapt(demo)


def test_graph_that_is_none_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / 'policy.onnx').write_bytes(b'not a graph')
    shutil.copy(tiny_bundle.path / 'adapt.onnx', tmp_path)
    manifest = {k: v for k, v in tiny_bundle.manifest.items() if k not in ('files', 'format')}
    write_bundle(tmp_path, manifest, tiny_bundle.weights)
    message = r'policy\.onnx is not a graph that ONNX Runtime can open \(.*export it again\.'
    with pytest.raises(BundleError, match=message):
        OnnxPolicy(load_bundle(tmp_path))


def test_adapted_policies_share_the_graph_of_their_parent(
    policy: OnnxPolicy, demo: Demo, tmp_path: Path
) -> None:
    """Regressions pinned: a session per adapted bundle let the control node grow."""
    for name in ('first', 'second'):
        save_adapted(policy.bundle, policy.adapt(demo).parameters, {}, tmp_path / name)
        assert OnnxPolicy(load_bundle(tmp_path / name))._session is policy._session
