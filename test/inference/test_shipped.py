"""The bundles in ``models/`` are whole, small, and fit the robot that they name."""

from __future__ import annotations

from pathlib import Path

from helpers import make_demo
import numpy as np
import pytest

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.core.types import Demo, Observation
from mil_ros.inference.bundle import check_robot, load_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy

SHIPPED = sorted(path for path in (share_dir() / 'models').iterdir() if path.is_dir())
EACH = pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.name)
MOST_BYTES = 5_000_000


def test_every_family_has_a_bundle() -> None:
    assert {path.name for path in SHIPPED} >= {'reach', 'push', 'place'}


@EACH
def test_bundle_is_at_most_5_mb(path: Path) -> None:
    assert sum(file.stat().st_size for file in path.iterdir()) <= MOST_BYTES


@EACH
def test_bundle_is_whole_and_fits_its_robot(path: Path) -> None:
    bundle = load_bundle(path)
    assert bundle.name == path.name
    check_robot(bundle, load_robot(bundle.manifest['robot']['name']))


@EACH
def test_manifest_says_what_it_was_trained_for_and_how_well_it_does(path: Path) -> None:
    manifest = load_bundle(path).manifest
    family, _, modality = path.name.partition('-')
    assert manifest['task'] == manifest['training']['data']['task'] == family
    assert manifest['policy']['modality'] == (modality or 'full')
    assert manifest['training']['data']['split'] == 'train'
    assert 'adapted' in manifest['results']
    for figures in manifest['results'].values():
        assert figures['split'] == 'test'
        assert figures['trials'] >= 444


@EACH
def test_bundle_adapts_and_acts(path: Path) -> None:
    policy, rng = OnnxPolicy(load_bundle(path)), np.random.default_rng(4)
    demo = make_demo(rng, steps=20, height=60, width=80)
    demo.joint_positions[:] += load_robot('sim_panda').home.astype(np.float32)
    shown = Demo.from_video(demo.images) if policy.modality == 'video' else demo
    adapted = policy.adapt(*[shown] * policy.bundle.manifest['policy']['shots'])
    seen = Observation(demo.images[3], demo.joint_positions[3].astype(np.float64))
    before, after = policy.act(seen), adapted.act(seen)
    assert np.isfinite(after).all()
    assert np.abs(after - before).max() > 1e-3
