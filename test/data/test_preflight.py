"""What cannot be learned from is refused before it is recorded."""

from __future__ import annotations

import pytest
from serialised import make_image, make_joints, START_NS

from mil_ros.core.errors import OrderError
from mil_ros.core.robot import RobotDescription
from mil_ros.data.preflight import check_image, check_joints, check_newest_stamps
from mil_ros.data.preroll import Arrival

S = 1_000_000_000


def newest(image_stamp_ns: int, joint_stamp_ns: int) -> dict[str, Arrival]:
    """Two messages that came at the same moment."""
    return {
        '/camera': Arrival('/camera', make_image(image_stamp_ns), START_NS),
        '/joints': Arrival('/joints', make_joints(joint_stamp_ns, ('a',)), START_NS),
    }


def test_one_clock_is_fine() -> None:
    check_newest_stamps(newest(START_NS - S // 20, START_NS - S // 1000))


def test_another_clock_for_all_is_fine() -> None:
    check_newest_stamps(newest(1000 * S, 1000 * S))


def test_two_clocks_are_refused() -> None:
    with pytest.raises(
        OrderError,
        match=r'^Recording refused: /camera is stamped 3600\.000 s before it arrives and /joints',
    ):
        check_newest_stamps(newest(START_NS - 3600 * S, START_NS))


def test_zero_stamps_are_refused() -> None:
    with pytest.raises(
        OrderError, match=r'^Recording refused: /joints has 1 of 1 messages stamped zero; expected'
    ):
        check_newest_stamps(newest(START_NS, 0))


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8'])
def test_an_image_of_the_robot_file_is_fine(encoding: str, tiny_robot: RobotDescription) -> None:
    check_image('/camera', make_image(START_NS, encoding=encoding), tiny_robot.camera)


def test_an_unknown_encoding_is_refused(tiny_robot: RobotDescription) -> None:
    with pytest.raises(
        OrderError,
        match=r"^Recording refused: /camera: Image encoding 'thermal' cannot be turned into rgb8 ",
    ):
        check_image('/camera', make_image(START_NS, encoding='thermal'), tiny_robot.camera)


def test_an_image_of_another_size_is_refused(tiny_robot: RobotDescription) -> None:
    with pytest.raises(
        OrderError,
        match=r'^Recording refused: /camera brings images of 64x48, the robot file expects 32x24',
    ):
        check_image('/camera', make_image(START_NS, 48, 64), tiny_robot.camera)


def test_bytes_that_are_no_image_are_refused(tiny_robot: RobotDescription) -> None:
    with pytest.raises(
        OrderError,
        match=r'^Recording refused: /camera brings 10 bytes that are no sensor_msgs/msg/Image \(',
    ):
        check_image('/camera', b'\0\1\0\0' + bytes(6), tiny_robot.camera)


ARM, GRIPPER = make_joints(START_NS, ('c', 'a', 'b')), make_joints(START_NS, ('finger',))


@pytest.mark.parametrize('messages', [[], [ARM], [GRIPPER, ARM], [b'', GRIPPER, ARM]])
def test_joint_states_of_the_arm_may_come_among_others(messages: list[bytes]) -> None:
    check_joints('/joints', messages, ('a', 'b', 'c'))


def test_another_arm_is_refused() -> None:
    with pytest.raises(
        OrderError,
        match=r"^Recording refused: /joints has 1 values for joints \['finger'\], expected one "
        r"for each of \['a', 'b', 'c'\]; check the robot file\.$",
    ):
        check_joints('/joints', [GRIPPER, GRIPPER], ('a', 'b', 'c'))


def test_bytes_that_are_no_joint_state_are_refused() -> None:
    with pytest.raises(
        OrderError,
        match=r'^Recording refused: /joints brings 9 bytes that are no sensor_msgs/msg/JointState',
    ):
        check_joints('/joints', [b'\0\1\0\0' + bytes(5)], ('a',))
