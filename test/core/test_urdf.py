"""A URDF that disagrees with the robot file is refused in one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re

import pytest
from seven_joints import make_urdf, NAMES

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.core.urdf import check_urdf, read_joints, UrdfJoint

PANDA = load_robot('sim_panda')


def write_urdf(robot: RobotDescription = PANDA, prefix: str = '', **changes: str) -> str:
    """Return a URDF that agrees with the robot file, but for what is changed of joint 3."""
    joints = []
    for i, joint in enumerate(robot.joints):
        said = {
            'type': 'revolute',
            'lower': str(joint.lower_rad),
            'upper': str(joint.upper_rad),
            'velocity': str(joint.velocity_rad_s),
            'inside': '',
        } | (changes if i == 2 else {})
        joints.append(
            f'<joint name="{prefix}{joint.name}" type="{said["type"]}">'
            f'<limit lower="{said["lower"]}" upper="{said["upper"]}" '
            f'velocity="{said["velocity"]}" effort="87"/>{said["inside"]}</joint>'
        )
    finger = '<joint name="panda_finger_joint1" type="prismatic"><limit velocity="1"/></joint>'
    return f'<robot name="panda">{finger}{"".join(joints)}</robot>'


def refuse(match: str, text: str, robot: RobotDescription = PANDA) -> None:
    """Check that the URDF is refused in one sentence."""
    with pytest.raises(ConfigError, match=match) as caught:
        check_urdf(robot, text)
    message = str(caught.value)
    assert message.endswith('.')
    assert '\n' not in message
    assert not re.search(r'\. [A-Z]', message)


@pytest.mark.parametrize('declaration', ['', '<?xml version="1.0" encoding="latin-1"?>\n'])
def test_urdf_of_the_arm_agrees(declaration: str) -> None:
    check_urdf(PANDA, declaration + write_urdf())


def test_robot_file_may_allow_less_than_the_urdf_and_round() -> None:
    check_urdf(PANDA, write_urdf(lower='-3.1', upper='3.1', velocity='3'))
    check_urdf(PANDA, write_urdf(lower='-2.897', upper='2.897', velocity='2.1749'))


def test_continuous_joint_has_no_position_limits() -> None:
    check_urdf(PANDA, write_urdf(type='continuous', lower='0', upper='0'))
    refuse(
        r"velocity_rad_s=2.175 for joint 'panda_joint3', expected at most 1 ",
        write_urdf(type='continuous', velocity='1.0'),
    )


def test_joints_are_read_with_their_limits() -> None:
    joints = read_joints(make_urdf(kind='continuous'))
    assert list(joints) == [*NAMES, 'tool_joint', 'finger_joint']
    assert joints['arm_joint2'] == UrdfJoint(
        name='arm_joint2', kind='revolute', lower=-2.9, upper=2.9, velocity=2.5
    )
    assert joints['arm_joint7'] == UrdfJoint(name='arm_joint7', kind='continuous', velocity=2.5)
    assert joints['finger_joint'].kind == 'prismatic'


def test_joint_elements_of_controllers_are_no_joints() -> None:
    control = '<ros2_control name="arm" type="system"><joint name="panda_joint1"/></ros2_control>'
    check_urdf(PANDA, write_urdf().replace('</robot>', f'{control}</robot>'))


def test_missing_joint_is_named_with_the_nearest() -> None:
    refuse(
        r"The URDF on /robot_description has no joint 'panda_joint1' but .*fr3_joint1.*, expected "
        r'the joint names of robot file sim_panda; choose the robot file of this arm',
        write_urdf().replace('panda_joint', 'fr3_joint'),
    )


def test_missing_joints_under_a_prefix_are_told_from_others() -> None:
    refuse(
        r"no joint 'panda_joint1' but 'left_panda_joint1', expected .*; write the prefix 'left_' "
        'before all of them',
        write_urdf(prefix='left_'),
    )


def test_one_name_that_ends_alike_is_no_prefix() -> None:
    text = write_urdf().replace('"panda_joint1"', '"left_panda_joint1"')
    refuse(r"no joint 'panda_joint1' but panda_joint7, .*choose the robot file", text)


def test_urdf_without_joints_is_refused() -> None:
    refuse(r"no joint 'panda_joint1' but it has none", '<robot name="rock"/>')


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'lower': '-2.5'}, r'lower_rad=-2.8973 for joint .* expected at least -2.5 as in the'),
        ({'upper': '2.5'}, r'upper_rad=2.8973 for joint .* expected at most 2.5 as in the'),
        ({'velocity': '2'}, r'velocity_rad_s=2.175 for joint .* expected at most 2 as in the'),
    ],
)
def test_robot_file_that_allows_more_is_refused(changes: dict[str, str], match: str) -> None:
    refuse(rf'^Robot file sim_panda has {match} URDF on /robot_desc', write_urdf(**changes))


@pytest.mark.parametrize('kind', ['fixed', 'prismatic', 'floating', 'planar', 'spherical'])
def test_joint_that_does_not_turn_cannot_be_jogged(kind: str) -> None:
    refuse(
        rf"^Joint 'panda_joint3' is {kind} in the URDF on /robot_description, expected one that "
        r'turns \(revolute or continuous\) and can be jogged; take it out of robot file',
        write_urdf(type=kind),
    )


def test_joint_without_type_cannot_be_jogged() -> None:
    refuse(r"Joint 'panda_joint3' is of no type", write_urdf(type=''))


def test_joint_that_follows_another_cannot_be_jogged() -> None:
    mimic = '<mimic joint="panda_joint1"/>'
    refuse(r"Joint 'panda_joint3' follows another joint", write_urdf(inside=mimic))


def test_topic_of_the_robot_file_is_named() -> None:
    topics = replace(PANDA.topics, robot_description='/left/robot_description')
    robot = replace(PANDA, topics=topics)
    refuse('on /left/robot_description has no joint', '<robot/>', robot)


@pytest.mark.parametrize(
    'text',
    ['', 'no XML', '<robot>', '<robot></robot', '<robot>\ud800</robot>', '<robot>\0</robot>'],
)
def test_text_that_is_no_xml_is_refused(text: str) -> None:
    refuse(r'^The URDF is not well-formed XML \(.+\), expected a complete document; check', text)


def test_other_documents_are_refused() -> None:
    refuse(r'^The URDF begins with <mujoco>, expected <robot>;', '<mujoco model="panda"/>')


def test_entities_are_refused_before_they_are_expanded(tmp_path: Path) -> None:
    secret = tmp_path / 'secret'
    secret.write_text('secret')
    bomb = ''.join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 10}">' for i in range(30))
    for inside in (bomb, f'<!ENTITY e30 SYSTEM "{secret.as_uri()}">'):
        text = f'<!DOCTYPE robot [<!ENTITY e0 "lol">{inside}]><robot>&e30;</robot>'
        refuse(r'^The URDF has a document type \(<!DOCTYPE\), .*expected none; remove it', text)


def test_entity_without_declaration_is_refused() -> None:
    refuse('not well-formed XML .*undefined entity', '<robot>&e30;</robot>')


@pytest.mark.parametrize('value', ['${pi}', '', 'nan'])
def test_limit_that_is_no_number_is_refused(value: str) -> None:
    refuse(
        rf"^The URDF has upper='{re.escape(value)}' for joint 'panda_joint3', expected a number",
        write_urdf(upper=value),
    )


def test_revolute_joint_without_limits_is_refused() -> None:
    refuse(r"no limits for revolute joint 'arm_joint1', expected an elem", make_urdf(limit=''))


def test_joint_that_is_there_twice_is_refused() -> None:
    text = write_urdf().replace('panda_joint2', 'panda_joint1')
    refuse(r"^The URDF has two joints 'panda_joint1', expected each name once", text)
