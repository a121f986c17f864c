"""What is read from and written as bytes is what rclpy would have read and written."""

from __future__ import annotations

from control_msgs.msg import JointJog
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import JointState

from mil_ros.core.robot import load_robot
from mil_ros.data.fast_joints import FastJoints
from mil_ros.ros.jog_bytes import JogBytes

STAMP_NS = 1_795_896_785_082_521_691


def make_state(names: list[str], frame: str = '', *, velocities: bool = True) -> JointState:
    rng = np.random.default_rng(len(names))
    state = JointState(name=names, position=rng.normal(size=len(names)).tolist())
    state.header.frame_id = frame
    state.header.stamp.sec, state.header.stamp.nanosec = divmod(STAMP_NS, 1_000_000_000)
    if velocities:
        state.velocity = rng.normal(size=len(names)).tolist()
        state.effort = rng.normal(size=len(names)).tolist()
    return state


@pytest.mark.parametrize('frame', ['', 'x', 'base', 'base_link'])
@pytest.mark.parametrize('more', [[], ['finger'], ['finger_joint1', 'ab', 'abc', 'abcd']])
def test_joint_states_are_read_as_rclpy_does(frame: str, more: list[str]) -> None:
    names = ('shoulder', 'elbow', 'wrist_1')
    reader = FastJoints(names)
    for order in ([*more, *names], [*names[::-1], *more]):
        state = make_state(order, frame)
        for _ in range(2):  # the second is read by what was learned of the first
            sample = reader.read(serialize_message(state))
            assert sample is not None
            assert sample.stamp_ns == STAMP_NS
            by_name = dict(zip(state.name, zip(state.position, state.velocity)))
            assert sample.velocities is not None
            found = zip(sample.positions, sample.velocities)
            assert list(found) == [by_name[name] for name in names]
            state.position = (np.array(state.position) + 1.0).tolist()


def test_messages_that_are_not_ours_are_passed_over() -> None:
    reader = FastJoints(('a', 'b'))
    assert reader.read(serialize_message(make_state(['finger']))) is None
    assert reader.read(serialize_message(make_state([]))) is None
    assert reader.read(serialize_message(make_state(['a', 'b']))) is not None


def test_velocities_that_are_left_out_are_derived() -> None:
    reader, state = FastJoints(('a', 'b')), make_state(['b', 'a'], velocities=False)
    first = reader.read(serialize_message(state))
    assert first is not None
    assert first.velocities is None
    state.header.stamp.nanosec += 10_000_000
    state.position = (np.array(state.position) + np.array([0.01, 0.02])).tolist()
    second = reader.read(serialize_message(state))
    assert second is not None
    np.testing.assert_allclose(second.velocities, [2.0, 1.0])


def test_what_was_cut_off_is_passed_over() -> None:
    whole = serialize_message(make_state(['a', 'b'], 'base'))
    reader = FastJoints(('a', 'b'))
    for size in range(len(whole) - 8 * 2 - 8):  # the efforts at the end are nobody's concern
        assert reader.read(whole[:size]) is None
    assert reader.read(b'\x00\x00' + whole[2:]) is None, 'big endian'


def test_commands_are_written_as_rclpy_does() -> None:
    robot = load_robot('sim_panda')
    jog = JogBytes(robot.joint_names)
    for velocities in (np.linspace(-1.0, 1.0, 7), np.zeros(7)):
        expected = JointJog(joint_names=list(robot.joint_names), velocities=velocities.tolist())
        stamp = expected.header.stamp
        stamp.sec, stamp.nanosec = divmod(STAMP_NS, 1_000_000_000)
        assert deserialize_message(jog.write(STAMP_NS, velocities), JointJog) == expected
