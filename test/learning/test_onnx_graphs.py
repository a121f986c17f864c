"""What is exported is what was trained."""

from __future__ import annotations

from dataclasses import asdict, replace
import getpass
from pathlib import Path
import socket

from helpers import make_demo
import numpy as np
import onnx
import onnxruntime
from policies import draw_checkpoint
import pytest
import torch

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Observation
from mil_ros.inference.bundle import Bundle
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.export import export_graphs
from mil_ros.learning.inner_step import inner_step, pre_update_loss
from mil_ros.learning.network import expand, Params
from mil_ros.learning.onnx_graphs import adapt_names, export_adapt
from mil_ros.learning.torch_policy import TorchPolicy

TOLERANCE = 1e-5
GRAPHS = ('policy.onnx', 'adapt.onnx')
SHIPPED = {
    'full': ('tiny_checkpoint', 'tiny_bundle'),
    'video with image context': ('tiny_video_checkpoint', 'tiny_video_bundle'),
}
# With those above, every two of modality, inner steps and image context meet in every
# combination. Tracing two steps takes long, so these policies are smaller still.
TWO_STEPS = {
    'inner_steps': 2,
    'shots': 2,
    'filters': (3,),
    'strides': (2,),
    'kernels': (3,),
    'loss_layers': 1,
}
TRACED = {
    'full in two steps with image context': {**TWO_STEPS, 'image_context': True},
    'video in two steps': {**TWO_STEPS, 'modality': 'video'},
}
Exported = tuple[Checkpoint, Bundle]
Traced = tuple[Checkpoint, Path]


@pytest.fixture(params=SHIPPED.values(), ids=SHIPPED)
def exported(request: pytest.FixtureRequest) -> Exported:
    """A checkpoint and its bundle."""
    checkpoint, bundle = map(request.getfixturevalue, request.param)
    return checkpoint, bundle


@pytest.fixture(
    scope='module',
    params=[
        *SHIPPED.values(),
        *(pytest.param(changes, marks=pytest.mark.slow) for changes in TRACED.values()),
    ],
    ids=[*SHIPPED, *TRACED],
)
def traced(
    request: pytest.FixtureRequest,
    tiny_robot: RobotDescription,
    tmp_path_factory: pytest.TempPathFactory,
) -> Traced:
    """A checkpoint and the graph of its inner steps."""
    if isinstance(request.param, tuple):
        checkpoint, bundle = map(request.getfixturevalue, request.param)
        return checkpoint, bundle.path / 'adapt.onnx'
    checkpoint = draw_checkpoint(tiny_robot, **request.param)
    path = tmp_path_factory.mktemp('traced') / 'adapt.onnx'
    export_adapt(
        checkpoint.params, checkpoint.step_sizes, checkpoint.normaliser, checkpoint.config, path
    )
    return checkpoint, path


def vary(step_sizes: Params) -> Params:
    """Return step sizes that differ from element to element."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: 0.2 * torch.rand(size.shape, generator=generator)
        for name, size in step_sizes.items()
    }


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])


def run_graph(
    session: onnxruntime.InferenceSession, feed: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    assert {value.name for value in session.get_inputs()} == set(feed)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feed)))


def draw_demos(checkpoint: Checkpoint, rng: np.random.Generator) -> list[Demo]:
    return [make_demo(rng, steps=6) for _ in range(checkpoint.config.shots)]


def test_policy_graph_equals_torch(exported: Exported, rng: np.random.Generator) -> None:
    checkpoint, bundle = exported
    demo = make_demo(rng, steps=8)
    used = {
        name: tensor.numpy()
        for name, tensor in checkpoint.params.items()
        if not name.startswith(('pre_', 'loss_'))
    }
    policy, graph = TorchPolicy(checkpoint), open_graph(bundle.path / 'policy.onnx')
    expected, got = [], []
    for image, positions in zip(demo.images, demo.joint_positions):
        expected.append(policy.act(Observation(image, positions.astype(np.float64))))
        feed = {'image': image[None], 'joint_positions': positions[None], **used}
        got.append(run_graph(graph, feed)['joint_velocities'][0])
    assert np.std(expected, axis=0).min() > 1e-3, 'acts alike whatever it sees'
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE)


def test_adapt_graph_equals_torch(traced: Traced, rng: np.random.Generator) -> None:
    checkpoint, path = traced
    config = replace(checkpoint.config, precision='float32')
    demos = draw_demos(checkpoint, rng)
    sizes = vary(checkpoint.step_sizes)
    batch = TorchPolicy(checkpoint)._to_batch(*demos)
    leaves = {name: p.clone().requires_grad_() for name, p in checkpoint.params.items()}
    params, losses = expand(leaves, 1), []
    for _ in range(config.inner_steps):
        params, loss = inner_step(params, sizes, batch, config)
        losses.append(float(loss.detach()))
    losses.append(float(pre_update_loss(params, batch, config).detach()))
    streams = ['images'] + ['joint_positions', 'joint_velocities'] * (config.modality == 'full')
    feed = {name: np.concatenate([getattr(d, name) for d in demos]) for name in streams}
    feed |= {name: checkpoint.params[name].numpy() for name in adapt_names(checkpoint.params)}
    feed |= {f'step_size.{name}': size.numpy() for name, size in sizes.items()}
    got = run_graph(open_graph(path), feed)
    assert float(got.pop('loss_before')) == pytest.approx(losses[0], rel=1e-4)
    assert float(got.pop('loss_after')) == pytest.approx(losses[-1], rel=1e-4)
    assert losses[-1] < 0.99 * losses[0]
    assert set(got) == {f'adapted.{name}' for name in sizes}
    for name in sizes:
        result = params[name][0].detach()
        change = (result - checkpoint.params[name]).abs().max()
        assert change > 1e-6, f'{name} has no gradient, so the test shows nothing'
        np.testing.assert_allclose(
            got[f'adapted.{name}'], result.numpy(), rtol=1e-5, atol=TOLERANCE, err_msg=name
        )


def test_graph_of_a_video_policy_asks_for_the_video_alone(traced: Traced) -> None:
    checkpoint, path = traced
    model = onnx.load(str(path))
    inputs = {value.name: value for value in model.graph.input}
    is_full = checkpoint.config.modality == 'full'
    for name in ('joint_positions', 'joint_velocities'):
        assert (name in inputs) == is_full
    frames = inputs['images'].type.tensor_type.shape.dim[0].dim_value
    assert frames == checkpoint.config.shots * checkpoint.config.demo_frames


def test_graphs_ask_for_no_parameter_that_they_do_not_use(exported: Exported) -> None:
    for name in GRAPHS:
        model = onnx.load(str(exported[1].path / name))
        used = {word for node in model.graph.node for word in node.input}
        assert {value.name for value in model.graph.input} <= used


@pytest.mark.parametrize('name', GRAPHS)
def test_graph_is_valid_and_of_the_chosen_opset(exported: Exported, name: str) -> None:
    model = onnx.load(str(exported[1].path / name))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')} == {
        18
    }


@pytest.mark.parametrize('name', [*GRAPHS, 'manifest.json', 'weights.safetensors'])
def test_exported_file_tells_nothing_of_the_machine(exported: Exported, name: str) -> None:
    content = (exported[1].path / name).read_bytes()
    private = ('site-packages', '.py', '/tmp/', str(Path.home()), str(Path.cwd()))
    for text in (*private, socket.gethostname()):
        assert text.encode() not in content, f'{name} contains {text!r}'
    if len(user := getpass.getuser()) > 4:
        assert user.encode() not in content


def test_manifest_says_what_goes_in_and_out(
    exported: Exported, tiny_robot: RobotDescription
) -> None:
    checkpoint, bundle = exported
    manifest, policy = bundle.manifest, bundle.manifest['policy']
    assert manifest['robot']['joint_names'] == list(tiny_robot.joint_names)
    assert manifest['robot']['sha256'] == tiny_robot.sha256
    assert manifest['training']['data'] == checkpoint.data
    assert policy['modality'] == checkpoint.config.modality
    assert policy['shots'] == checkpoint.config.shots
    assert policy['demo_frames'] == 6
    assert policy['inputs']['image'] == {'shape': [12, 16, 3], 'type': 'uint8', 'unit': 'RGB'}
    assert policy['inputs']['joint_positions']['unit'] == 'rad'
    assert policy['outputs']['joint_velocities']['unit'] == 'rad/s'
    assert (manifest['parent'], manifest['demo']) == (None, None)
    assert (manifest['training']['commit'], manifest['training']['steps']) == ('abc123', 5)
    assert set(manifest['files']) == {*GRAPHS, 'weights.safetensors'}


def test_manifest_says_how_the_policy_is_to_be_adapted(
    tiny_robot: RobotDescription, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ('export_policy', 'export_adapt'):  # the graphs do not matter here
        monkeypatch.setattr(f'mil_ros.learning.export.{name}', lambda *_: None)
    checkpoint = draw_checkpoint(tiny_robot, modality='video', shots=3, demo_frames=7)
    manifest, weights = export_graphs(checkpoint, tiny_robot, 'tiny', tmp_path, 'abc123')
    policy = manifest['policy']
    assert (policy['modality'], policy['shots'], policy['demo_frames']) == ('video', 3, 7)
    assert manifest['training']['config'] == asdict(checkpoint.config)
    names = {*checkpoint.params, *(f'step_size.{name}' for name in checkpoint.step_sizes)}
    assert set(weights) == names


@pytest.mark.parametrize('method', ['bc', 'contextual', 'lstm'])
def test_baseline_is_no_bundle(
    tiny_checkpoint: Checkpoint, tiny_robot: RobotDescription, tmp_path: Path, method: str
) -> None:
    baseline = replace(tiny_checkpoint, config=replace(tiny_checkpoint.config, method=method))
    message = (
        rf'^Checkpoint is of method {method}, a bundle adapts by a gradient step; expected method '
        r'mil\. Evaluate the checkpoint itself\.$'
    )
    with pytest.raises(ConfigError, match=message):
        export_graphs(baseline, tiny_robot, 'tiny', tmp_path / 'bundle', 'abc123')
    assert not (tmp_path / 'bundle').exists()
