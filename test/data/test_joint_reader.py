"""Joint states come in any order and company."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mil_ros.data.joint_reader import JointReader

NAMES = ('shoulder', 'elbow', 'wrist')


def make(names: list[str], position: Any, velocity: Any = (), at_s: float = 1.0) -> Any:
    stamp = SimpleNamespace(sec=int(at_s), nanosec=round(at_s % 1.0 * 1e9))
    header = SimpleNamespace(stamp=stamp)
    return SimpleNamespace(header=header, name=names, position=position, velocity=velocity)


@pytest.fixture
def reader() -> JointReader:
    return JointReader(NAMES)


def test_joints_are_put_in_order_and_others_left_out(reader: JointReader) -> None:
    names = ['finger', 'wrist', 'shoulder', 'elbow']
    message = make(names, [9.0, 3.0, 1.0, 2.0], [90.0, 30.0, 10.0, 20.0])
    np.testing.assert_array_equal(reader.positions(message), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(reader.velocities(message), [10.0, 20.0, 30.0])


def test_messages_of_others_on_the_same_topic_are_passed_over(reader: JointReader) -> None:
    arm = make(list(NAMES), [1.0, 2.0, 3.0], [0.0, 0.0, 0.0])
    gripper = make(['finger'], [0.5], [0.0])
    for _ in range(3):
        assert reader.positions(arm) is not None
        assert reader.positions(gripper) is None
        assert reader.velocities(gripper) is None


def test_a_message_with_too_few_values_is_passed_over(reader: JointReader) -> None:
    assert reader.positions(make(list(NAMES), [1.0, 2.0])) is None
    assert reader.velocities(make(list(NAMES), [1.0, 2.0, 3.0], [1.0])) is None


def test_velocities_that_a_driver_leaves_out_are_those_of_the_positions(
    reader: JointReader,
) -> None:
    assert reader.velocities(make(list(NAMES), [1.0, 2.0, 3.0], at_s=1.0)) is None
    again = make(list(NAMES), [1.1, 2.0, 2.9], at_s=1.0)
    assert reader.velocities(again) is None, 'nothing is known of a moment of its own'
    later = make(list(NAMES), [1.11, 2.0, 2.88], at_s=1.02)
    np.testing.assert_allclose(reader.velocities(later), [0.5, 0.0, -1.0])
