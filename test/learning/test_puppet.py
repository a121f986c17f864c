"""The policy that marks command, loaded and run as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('onnx')

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Observation, Vector
from mil_ros.inference.bundle import check_robot, load_bundle, write_bundle
from mil_ros.inference.onnx_policy import OnnxPolicy
from mil_ros.learning.puppet import export_puppet
from mil_ros.sim.faults import MARK_PIXELS

VELOCITIES = np.array([0.5, 0.0, -0.25, 0.0, 0.0, 0.0, 1.0])
STOPS_RAD = np.full(7, 2.0)


@pytest.fixture
def policy(robot: RobotDescription, tmp_path: Path) -> OnnxPolicy:
    written = export_puppet(robot, VELOCITIES, STOPS_RAD, 8.0, tmp_path)
    write_bundle(tmp_path, *written)
    bundle = load_bundle(tmp_path)
    check_robot(bundle, robot)
    return OnnxPolicy(bundle)


def act(policy: OnnxPolicy, pixel: tuple[int, int, int], positions: Vector) -> Vector:
    size = policy.bundle.manifest['policy']
    image = np.full((size['image_height'], size['image_width'], 3), 120, np.uint8)
    image[0, 0] = pixel
    return policy.act(Observation(image, positions))


@pytest.mark.parametrize(
    ('pixel', 'expected'),
    [
        ((120, 120, 120), VELOCITIES),
        ((255, 255, 255), VELOCITIES),
        ((0, 0, 0), VELOCITIES),
        ((255, 100, 0), VELOCITIES),
        ((255, 0, 0), np.full(7, np.nan)),
        ((0, 255, 0), VELOCITIES[:-1]),
        ((0, 0, 255), 8.0 * VELOCITIES),
    ],
)
def test_only_a_pure_mark_makes_it_fail(
    policy: OnnxPolicy, pixel: tuple[int, int, int], expected: Vector
) -> None:
    np.testing.assert_allclose(act(policy, pixel, np.zeros(7)), expected)


def test_it_rests_once_a_joint_has_passed_its_stop(policy: OnnxPolicy) -> None:
    positions = np.zeros(7)
    positions[6] = 2.1
    np.testing.assert_array_equal(act(policy, (120, 120, 120), positions), np.zeros(7))


def test_a_mark_in_the_camera_image_reaches_the_policys_pixel(robot: RobotDescription) -> None:
    shrink = robot.camera.width / robot.policy.image_width
    assert 2 * shrink <= MARK_PIXELS
