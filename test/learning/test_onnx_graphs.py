"""What is exported is what was trained."""

from __future__ import annotations

import getpass
from pathlib import Path
import socket

from helpers import make_demo
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mil_ros.core.robot import RobotDescription
from mil_ros.inference.bundle import Bundle
from mil_ros.learning.checkpoint import Checkpoint
from mil_ros.learning.inner_step import inner_step, pre_update_loss
from mil_ros.learning.network import adapted_names, forward

TOLERANCE = 1e-5
GRAPHS = ('policy.onnx', 'adapt.onnx')


def run_graph(path: Path, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feed)))


def test_policy_graph_equals_torch(
    tiny_bundle: Bundle, tiny_checkpoint: Checkpoint, rng: np.random.Generator
) -> None:
    demo = make_demo(rng, steps=8)
    config, normaliser = tiny_checkpoint.config, tiny_checkpoint.normaliser
    params = {n: w for n, w in tiny_bundle.weights.items() if not n.startswith('step_size.')}
    used = {n: w for n, w in params.items() if not n.startswith('pre_')}
    batch = normaliser.demo_to_batch(demo)
    with torch.no_grad():
        actions, _ = forward(tiny_checkpoint.params, batch.images, batch.state, config)
    expected = (actions * normaliser.action_std).numpy()
    assert expected.std(axis=0).min() > 1e-3, 'acts alike whatever it sees'
    for step in range(8):
        feed = {
            'image': demo.images[step, None],
            'joint_positions': demo.joint_positions[step, None],
            **used,
        }
        got = run_graph(tiny_bundle.path / 'policy.onnx', feed)['joint_velocities']
        np.testing.assert_allclose(got[0], expected[step], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('size', [0.05, 0.5])
def test_adapt_graph_equals_torch(
    tiny_bundle: Bundle, tiny_checkpoint: Checkpoint, rng: np.random.Generator, size: float
) -> None:
    demo = make_demo(rng, steps=6)
    config = tiny_checkpoint.config
    params = {n: t.clone().requires_grad_() for n, t in tiny_checkpoint.params.items()}
    sizes = {
        n: torch.from_numpy(rng.uniform(0.0, size, params[n].shape).astype(np.float32))
        for n in adapted_names(params)
    }
    batch = tiny_checkpoint.normaliser.demo_to_batch(demo)
    expected, before = inner_step(params, sizes, batch, config)
    after = pre_update_loss(expected, batch, config)
    feed = {
        'images': demo.images,
        'joint_positions': demo.joint_positions,
        'joint_velocities': demo.joint_velocities,
        **{
            n: t.detach().numpy() for n, t in params.items() if not n.startswith(('head', 'final'))
        },
        **{f'step_size.{n}': t.numpy() for n, t in sizes.items()},
    }
    got = run_graph(tiny_bundle.path / 'adapt.onnx', feed)
    assert float(got.pop('loss_before')) == pytest.approx(float(before.detach()), rel=1e-5)
    assert float(got.pop('loss_after')) == pytest.approx(float(after.detach()), rel=1e-4)
    assert set(got) == {f'adapted.{name}' for name in sizes}
    for name in sizes:
        change = (expected[name] - params[name]).detach().abs().max()
        assert change > 1e-5, f'{name} has no gradient, so the test shows nothing'
        result = expected[name].detach().numpy()
        np.testing.assert_allclose(got[f'adapted.{name}'], result, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize('name', GRAPHS)
def test_graph_is_valid_and_of_the_chosen_opset(tiny_bundle: Bundle, name: str) -> None:
    model = onnx.load(str(tiny_bundle.path / name))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.version for entry in model.opset_import if entry.domain in ('', 'ai.onnx')} == {
        18
    }


@pytest.mark.parametrize('name', [*GRAPHS, 'manifest.json', 'weights.safetensors'])
def test_exported_file_tells_nothing_of_the_machine(tiny_bundle: Bundle, name: str) -> None:
    content = (tiny_bundle.path / name).read_bytes()
    private = ('site-packages', '.py', '/tmp/', str(Path.home()), str(Path.cwd()))
    for text in (*private, socket.gethostname()):
        assert text.encode() not in content, f'{name} contains {text!r}'
    if len(user := getpass.getuser()) > 4:
        assert user.encode() not in content


def test_manifest_says_what_goes_in_and_out(
    tiny_bundle: Bundle, tiny_checkpoint: Checkpoint, tiny_robot: RobotDescription
) -> None:
    manifest = tiny_bundle.manifest
    assert manifest['robot']['joint_names'] == list(tiny_robot.joint_names)
    assert manifest['robot']['sha256'] == tiny_robot.sha256
    assert manifest['training']['data'] == tiny_checkpoint.data
    inputs = manifest['policy']['inputs']
    assert inputs['image'] == {'shape': [12, 16, 3], 'type': 'uint8', 'unit': 'RGB'}
    assert inputs['joint_positions']['unit'] == 'rad'
    assert manifest['policy']['outputs']['joint_velocities']['unit'] == 'rad/s'
    assert (manifest['parent'], manifest['demo']) == (None, None)
    assert (manifest['training']['commit'], manifest['training']['steps']) == ('abc123', 5)
    assert set(manifest['files']) == {*GRAPHS, 'weights.safetensors'}
