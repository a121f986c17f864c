"""The arm is where its joints put it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mil_ros.core.errors import MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.sim.families import get_family
from mil_ros.sim.simulation import Simulation

# Craig's (modified) Denavit-Hartenberg parameters of the Panda, from its maker
DH_A = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088)
DH_D = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0)
DH_ALPHA = (0.0, -np.pi / 2, np.pi / 2, np.pi / 2, -np.pi / 2, np.pi / 2, np.pi / 2)
TIP_M = 0.26
POSES = {
    'zero': np.zeros(7),
    'home': np.array([0.0, -0.28, 0.0, -2.32, 0.0, 2.04, 0.0]),
    'all different': np.array([0.7, -0.5, 0.3, -1.9, -0.8, 1.6, 1.2]),
    'other side': np.array([-1.4, 0.9, -0.6, -0.7, 1.5, 2.9, -2.1]),
}


def link7_by_dh(joint_positions: np.ndarray) -> np.ndarray:
    """Return the pose of link 7 in the base frame, (4, 4)."""
    pose = np.eye(4)
    for a, d, alpha, theta in zip(DH_A, DH_D, DH_ALPHA, joint_positions):
        ca, sa, ct, st = np.cos(alpha), np.sin(alpha), np.cos(theta), np.sin(theta)
        pose = pose @ np.array(
            [
                [ct, -st, 0.0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


def put(simulation: Simulation, joint_positions: np.ndarray) -> None:
    simulation.reset(joint_positions)
    simulation.refresh()


@pytest.mark.parametrize('pose', POSES)
def test_tip_is_where_the_kinematics_of_the_maker_put_it(
    simulation: Simulation, pose: str
) -> None:
    put(simulation, POSES[pose])
    expected = link7_by_dh(POSES[pose])
    tip = expected[:3, 3] + TIP_M * expected[:3, 2]
    np.testing.assert_allclose(simulation.tip, tip, atol=1e-9)
    np.testing.assert_allclose(simulation.tip_rotation, expected[:3, :3], atol=1e-9)


def test_jacobian_agrees_with_finite_differences(simulation: Simulation) -> None:
    pose, epsilon = POSES['all different'], 1e-6
    put(simulation, pose)
    jacobian, rotation = simulation.tip_jacobian(), simulation.tip_rotation
    assert jacobian.shape == (6, 7)
    for joint in range(7):
        put(simulation, pose + epsilon * np.eye(7)[joint])
        tip, turned = simulation.tip, simulation.tip_rotation
        put(simulation, pose - epsilon * np.eye(7)[joint])
        linear = (tip - simulation.tip) / (2 * epsilon)
        np.testing.assert_allclose(jacobian[:3, joint], linear, atol=1e-6)
        spin = (turned - simulation.tip_rotation) / (2 * epsilon) @ rotation.T
        angular = [spin[2, 1], spin[0, 2], spin[1, 0]]
        np.testing.assert_allclose(jacobian[3:, joint], angular, atol=1e-6)


def test_home_holds_the_tip_upright_above_the_table(simulation: Simulation) -> None:
    assert 0.2 < simulation.tip[2] < 0.4
    np.testing.assert_allclose(simulation.tip_rotation[:, 2], [0.0, 0.0, -1.0], atol=0.05)


def test_reset_puts_the_arm_at_rest_where_it_was_told(simulation: Simulation) -> None:
    simulation.step(np.full(7, 0.3), 0.5)
    assert np.abs(simulation.joint_velocities).min() > 0.05
    put(simulation, POSES['all different'])
    np.testing.assert_array_equal(simulation.joint_positions, POSES['all different'])
    np.testing.assert_array_equal(simulation.joint_velocities, np.zeros(7))
    assert simulation.time_s == 0.0


def test_arm_at_rest_stays_where_it_is(simulation: Simulation) -> None:
    simulation.step(np.zeros(7), 2.0)
    np.testing.assert_allclose(simulation.joint_positions, simulation.robot.home, atol=1e-3)


def test_arm_follows_joint_velocities(simulation: Simulation) -> None:
    velocities = np.array([0.3, -0.2, 0.25, 0.15, -0.3, 0.2, 0.4])
    simulation.step(velocities, 0.5)
    np.testing.assert_allclose(simulation.joint_velocities, velocities, atol=0.02)
    moved = simulation.joint_positions - simulation.robot.home
    np.testing.assert_allclose(moved, 0.5 * velocities, atol=0.02)


def test_same_commands_give_the_same_motion(simulation: Simulation) -> None:
    ends = []
    for _ in range(2):
        put(simulation, simulation.robot.home)
        for speed in (0.1, -0.4, 0.3):
            simulation.step(np.full(7, speed), 0.1)
        ends.append(simulation.joint_positions)
    np.testing.assert_array_equal(*ends)


def test_what_is_read_is_a_copy(simulation: Simulation) -> None:
    for name in ('joint_positions', 'joint_velocities', 'tip', 'tip_rotation'):
        before = getattr(simulation, name)
        getattr(simulation, name)[...] = 99.0
        np.testing.assert_array_equal(getattr(simulation, name), before)


def test_point_in_the_frame_of_a_body(simulation: Simulation) -> None:
    simulation.put('object0', np.array([0.5, 0.1, 0.03]), np.pi / 2)
    simulation.refresh()
    local = simulation.to_local('object0', np.array([0.5, 0.3, 0.05]))
    np.testing.assert_allclose(local, [0.2, 0.0, 0.02], atol=1e-9)


def test_each_picture_is_a_new_array(simulation: Simulation) -> None:
    first = simulation.render()
    kept = first.copy()
    simulation.step(np.full(7, 0.5), 0.5)
    second = simulation.render()
    assert first.shape == (24, 32, 3)
    assert first.flags['C_CONTIGUOUS']
    np.testing.assert_array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_a_picture_shows_the_moment_it_was_taken_at(simulation: Simulation) -> None:
    before = simulation.render()
    simulation.capture()
    simulation.step(np.full(7, 0.5), 0.5)
    np.testing.assert_array_equal(simulation.draw(), before)
    assert not np.array_equal(simulation.render(), before)


def test_camera_looks_at_the_table_from_above(simulation: Simulation) -> None:
    """The base is at the top of the picture, and the arm's left side at its right."""
    pictures = []
    for place in ([0.5, 0.0], [0.4, 0.0], [0.5, 0.15]):
        simulation.put('object0', np.array([*place, 0.03]), 0.0)
        simulation.put('object1', np.array([0.5, 2.0, 0.03]), 0.0)
        simulation.put('object2', np.array([0.5, -2.0, 0.03]), 0.0)
        simulation.refresh()
        pictures.append(simulation.render().astype(int))
    simulation.put('object0', np.array([0.5, 3.0, 0.03]), 0.0)
    simulation.refresh()
    empty = simulation.render().astype(int)
    centre, nearer, left = (
        np.argwhere(np.abs(p - empty).max(axis=2) > 15).mean(axis=0) for p in pictures
    )
    assert nearer[0] < centre[0] - 2
    assert left[1] > centre[1] + 2
    np.testing.assert_allclose([nearer[1], left[0]], [centre[1], centre[0]], atol=1.0)


def test_arm_with_other_joints_is_refused_in_a_sentence(
    load: Callable[[dict[str, Any]], RobotDescription], document: dict[str, Any]
) -> None:
    document['joints'][0]['name'] = 'shoulder_pan_joint'
    with pytest.raises(MilError, match=r'shoulder_pan_joint'):
        Simulation(load(document), get_family('reach'))
