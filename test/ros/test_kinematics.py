"""The URDF's kinematics, in the robot file's order."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from seven_joints import HOME, make_urdf, NAMES, TOOL

from mil_ros.core.errors import ConfigError
from mil_ros.ros.kinematics import ToolKinematics

SHUFFLED = [4, 0, 6, 2, 5, 1, 3]


def make_kinematics(**options: str | bool) -> ToolKinematics:
    pytest.importorskip('pinocchio')
    return ToolKinematics(make_urdf(**options), NAMES, TOOL)


def difference(kinematics: ToolKinematics, positions: np.ndarray) -> np.ndarray:
    """Return the Jacobian by central differences, (3, J) in m/rad."""
    step = 1e-6
    columns = []
    for i in range(len(positions)):
        change = step * np.eye(len(positions))[i]
        ahead, behind = (kinematics.locate(positions + sign * change)[0] for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize('kind', ['revolute', 'continuous'])
def test_jacobian_is_the_change_of_the_position(kind: str, rng: np.random.Generator) -> None:
    kinematics = make_kinematics(kind=kind)
    for _ in range(20):
        positions = rng.uniform(-2.5, 2.5, 7)
        _, jacobian = kinematics.locate(positions)
        assert np.linalg.norm(jacobian, axis=0).max() > 0.1
        np.testing.assert_allclose(jacobian, difference(kinematics, positions), atol=1e-8)


def test_position_at_zero_is_the_sum_of_the_origins_of_a_straight_chain() -> None:
    pytest.importorskip('pinocchio')
    links = ''.join(f'<link name="{name}"/>' for name in ('base', 'upper', 'lower', 'tip'))
    limit = '<limit lower="-2" upper="2" velocity="1" effort="1"/>'
    text = f"""<robot name="straight">{links}
        <joint name="b" type="revolute"><parent link="upper"/><child link="lower"/>
            <origin xyz="0.5 0 0"/><axis xyz="0 0 1"/>{limit}</joint>
        <joint name="a" type="revolute"><parent link="base"/><child link="upper"/>
            <origin xyz="0 0.1 1"/><axis xyz="0 0 1"/>{limit}</joint>
        <joint name="c" type="fixed"><parent link="lower"/><child link="tip"/>
            <origin xyz="0.25 0 0"/></joint></robot>"""
    kinematics = ToolKinematics(text, ['a', 'b'], 'tip')
    np.testing.assert_allclose(kinematics.locate(np.zeros(2))[0], [0.75, 0.1, 1.0])
    bent, _ = kinematics.locate(np.array([np.pi / 2, -np.pi / 2]))
    np.testing.assert_allclose(bent, [0.25, 0.6, 1.0], atol=1e-12)
    assert kinematics.locate(np.zeros(2))[0][0] == pytest.approx(0.75)  # nothing is remembered


def test_joints_come_in_the_robot_files_order_whatever_the_urdf_has() -> None:
    position, jacobian = make_kinematics().locate(HOME)
    names = [NAMES[i] for i in SHUFFLED]
    for reverse in (False, True):
        kinematics = ToolKinematics(make_urdf(reverse=reverse), names, TOOL)
        shuffled_position, shuffled = kinematics.locate(HOME[SHUFFLED])
        np.testing.assert_allclose(shuffled_position, position)
        np.testing.assert_allclose(shuffled, jacobian[:, SHUFFLED])


def test_continuous_joint_takes_any_number_of_turns() -> None:
    kinematics = make_kinematics(kind='continuous')
    turned = HOME + np.eye(7)[6] * 4 * np.pi
    for once, again in zip(kinematics.locate(HOME), kinematics.locate(turned), strict=True):
        np.testing.assert_allclose(again, once, atol=1e-12)


def test_answers_are_not_overwritten_by_the_next_one() -> None:
    kinematics = make_kinematics()
    position, jacobian = kinematics.locate(HOME)
    before = position.copy(), jacobian.copy()
    kinematics.locate(HOME + 0.5)
    np.testing.assert_array_equal(position, before[0])
    np.testing.assert_array_equal(jacobian, before[1])


def test_missing_pinocchio_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'pinocchio', None)
    monkeypatch.setenv('ROS_DISTRO', 'kilted')
    with pytest.raises(
        ConfigError, match=r'need pinocchio.*install ros-kilted-pinocchio with apt or pin with pip'
    ):
        ToolKinematics(make_urdf(), NAMES, TOOL)


def test_link_that_is_not_there_is_named_with_the_nearest() -> None:
    pytest.importorskip('pinocchio')
    with pytest.raises(
        ConfigError, match=r"no link 'tol', expected one that it has \(tool\); correct the robot"
    ):
        ToolKinematics(make_urdf(), NAMES, 'tol')


@pytest.mark.parametrize('name', ['arm_joint8', 'tool_joint'])
def test_joint_that_is_not_there_or_is_fixed_is_named_with_the_nearest(name: str) -> None:
    pytest.importorskip('pinocchio')
    with pytest.raises(ConfigError, match=rf"no movable joint '{name}', expected .*arm_joint7"):
        ToolKinematics(make_urdf(), [*NAMES[:6], name], TOOL)


def test_urdf_that_pinocchio_cannot_read_is_refused() -> None:
    pytest.importorskip('pinocchio')
    with pytest.raises(ConfigError, match=r'^pinocchio cannot read the URDF .*liburdfdom-tools'):
        ToolKinematics('<robot name="arm"/>', NAMES, TOOL)
