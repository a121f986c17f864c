"""Each check of the doctor says that all is well, and what is wrong, in words that help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy')

from healthy import (
    COMMANDS,
    DESCRIPTION,
    END_NS,
    image_stream,
    IMAGES,
    joint_stream,
    JOINTS,
    make_controller,
    make_healthy,
    make_services,
    make_times,
    make_topics,
    one_way,
    RELIABLE,
    ROBOT,
    STATUS,
    with_stamps,
)

from mil_ros.core.robot import Tool
from mil_ros.inference.bundle import Bundle, load_bundle
from mil_ros.ros.node import COMMAND, LATCHED, NEWEST
from mil_ros.tools.doctor.checks import CHECKS, examine
from mil_ros.tools.doctor.checks.servo import WORDS
from mil_ros.tools.doctor.findings import Finding, Verdict
from mil_ros.tools.doctor.snapshot import (
    Controller,
    DEADMAN,
    Endpoint,
    IMAGE,
    JOINT_JOG,
    JOINT_STATE,
    JointStream,
    no_times,
    NodeState,
    Service,
    ServoReport,
    Snapshot,
    SWITCH,
    Switch,
    Topic,
)

OK, WARNING, FAILED, SKIPPED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.SKIPPED
NAMES = [entry.name for entry in CHECKS]


def find(snapshot: Snapshot, name: str) -> Finding:
    return next(row.finding for row in examine(snapshot) if row.name == name)


def with_topic(name: str, topic: Topic | None) -> dict[str, Any]:
    """Return the topics with one changed, or gone."""
    changed = {k: v for k, v in make_topics().items() if k != name}
    return {'topics': changed if topic is None else {**changed, name: topic}}


def with_service(name: str, service: Service | None) -> dict[str, Any]:
    changed = {k: v for k, v in make_services().items() if k != name}
    return {'services': changed if service is None else {**changed, name: service}}


def with_joints(**changes: Any) -> dict[str, Any]:
    return {'joint_states': (joint_stream(**changes),)}


def at(joint: int, position: float) -> dict[str, Any]:
    """Return joint states with one joint at another position."""
    positions = list(ROBOT.home_rad)
    positions[joint] = position
    return with_joints(positions=tuple(positions))


def guard_state(is_error: bool, message: str, state: str) -> dict[str, Any]:
    return {'states': {'/guard/state': NodeState(is_error, message, {'state': state})}}


def stamped(make: Callable[..., Any], topic: str, rate_hz: float, delay_s: float) -> Any:
    return make(times=make_times(topic, rate_hz, delay_s))


@dataclass(frozen=True)
class Case:
    """A change to a healthy graph, and what one check must say of it."""

    check: str
    verdict: Verdict
    changes: dict[str, Any]
    found: str
    remedy: str = ''


FALLING = np.where(np.arange(300) == 200, END_NS - 10**10, make_times(JOINTS, 100.0).stamps_ns)
LEFT = tuple(f'left_{name}' for name in ROBOT.joint_names)
BARE = tuple(name.removeprefix('panda_') for name in ROBOT.joint_names)
FR3 = tuple(name.replace('panda', 'fr3') for name in ROBOT.joint_names)
UR = ('elbow_joint', 'wrist_joint')
GRIPPER = JointStream(('finger',), make_times(JOINTS, 50.0), (0.0,), (0.0,))
TWO_CAMERAS = Topic(
    (Endpoint('/camera', IMAGE, NEWEST), Endpoint('/video', IMAGE, NEWEST)),
)
INTRUDED = Topic(
    (Endpoint('/guard', JOINT_JOG, COMMAND), Endpoint('/joystick', JOINT_JOG, COMMAND)),
    (Endpoint('/servo_node', JOINT_JOG, COMMAND),),
)
SWITCHES, PAUSES = ROBOT.topics.switch_command_type, ROBOT.topics.pause_servo
CASES = [
    Case(
        'robot_file',
        FAILED,
        {'loaded': None, 'robot_fault': 'arm: home_rad has 6 values, expected 7, one for each.'},
        'arm: home_rad has 6 values',
        'Correct the robot file',
    ),
    Case(
        'robot_file',
        FAILED,
        {'loaded': replace(ROBOT, topics=replace(ROBOT.topics, image='my camera'))},
        "topics.image is 'my camera'",
        'Correct topics.image in the robot file',
    ),
    Case(
        'packages',
        FAILED,
        {'missing_packages': ('moveit_msgs',)},
        'moveit_msgs cannot be imported',
        r'sudo apt install ros-\$ROS_DISTRO-moveit-msgs',
    ),
    Case('graph', FAILED, {'nodes': ()}, 'no node within 3.0 s in ROS domain 7', 'ROS_DOMAIN_ID'),
    Case(
        'graph',
        FAILED,
        {'nodes': (), 'environment': {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}},
        'in ROS domain 0',
        'on another machine, unset ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST',
    ),
    Case(
        'graph',
        FAILED,
        {'nodes': (), 'environment': {'ROS_LOCALHOST_ONLY': '1'}},
        'no node',
        'unset ROS_LOCALHOST_ONLY=1',
    ),
    Case('nodes', FAILED, {'nodes': ('/guard', '/guard')}, '/guard runs more than once', 'End'),
    Case(
        'nodes',
        WARNING,
        {'nodes': ('/guard', '/recorder')},
        '^no /adaptation',
        'Start them to record, adapt',
    ),
    Case(
        'clock',
        FAILED,
        {'sim_time': {'/guard': True, '/control': False}},
        'use_sim_time is on for /guard, and nothing comes on /clock',
        'Set use_sim_time:=false',
    ),
    Case(
        'clock',
        FAILED,
        {'clock_ticks': 9, **with_topic('/clock', one_way('Clock', '/gazebo', RELIABLE))},
        '/gazebo publishes /clock, and use_sim_time is off for /control, /guard',
        'Set use_sim_time:=true on them, or end /gazebo',
    ),
    Case(
        'robot_description',
        FAILED,
        with_topic(DESCRIPTION, None),
        'nobody publishes /robot_description$',
        'Start robot_state_publisher',
    ),
    Case(
        'robot_description',
        SKIPPED,
        {'loaded': replace(ROBOT, tool=Tool())},
        'limits nothing at the tool',
    ),
    Case(
        'joint_states_topic',
        FAILED,
        with_topic(JOINTS, None),
        'nobody publishes /joint_states$',
        "Start the arm's driver",
    ),
    Case(
        'joint_states_topic',
        FAILED,
        {
            'topics': {
                **{k: v for k, v in make_topics().items() if k != JOINTS},
                '/arm/states': one_way(JOINT_STATE, '/driver', RELIABLE),
                '/ur/joint_states': one_way(JOINT_STATE, '/driver', RELIABLE),
            }
        },
        'nobody publishes /joint_states, but /ur/joint_states and /arm/states has its type',
        'Set topics.joint_states to /ur/joint_states in the robot file',
    ),
    Case(
        'joint_states_topic',
        FAILED,
        with_topic(JOINTS, one_way('std_msgs/msg/String', '/driver', RELIABLE)),
        '/driver publishes /joint_states as std_msgs/msg/String',
        'Correct topics.joint_states of the robot file',
    ),
    Case(
        'joint_states_topic',
        FAILED,
        {'joint_states': ()},
        'nothing came on /joint_states within 3.0 s, though /driver offers it',
        'Check that /driver runs, that the QoS fits',
    ),
    Case(
        'joint_states_rate',
        FAILED,
        with_joints(times=make_times(JOINTS, 30.0)),
        r'/joint_states comes at 30\.\d Hz',
        'or correct the rate in the robot file',
    ),
    Case(
        'joint_states_rate',
        WARNING,
        with_joints(times=make_times(JOINTS, 80.0)),
        r'/joint_states comes at 80\.\d Hz',
        'Check the load',
    ),
    Case(
        'joint_states_rate',
        WARNING,
        with_joints(
            times=with_stamps(
                make_times(JOINTS, 100.0),
                make_times(JOINTS, 100.0).stamps_ns - np.where(np.arange(300) < 150, 10**8, 0),
            )
        ),
        r'/joint_states comes at 100\.\d Hz, and once not for 0.110 s',
        'a run would end at such a gap',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        with_joints(times=with_stamps(make_times(JOINTS, 100.0), 0)),
        '/joint_states has 300 of 300 messages stamped zero',
        'Have its driver set it',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        with_joints(times=with_stamps(make_times(JOINTS, 100.0), FALLING)),
        'The stamps of /joint_states jump back 1 times, by up to 8',
        'Check for a second publisher',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        with_joints(times=with_stamps(make_times(JOINTS, 100.0), END_NS)),
        'all 300 messages of /joint_states bear the same stamp',
        'Restart its driver',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        {'joint_states': (stamped(joint_stream, JOINTS, 100.0, 3600.0),)},
        'stamped 3600.000 s before they come, always: it is the clock of another machine',
        r'Synchronise the clocks of the two machines \(chrony, PTP\)',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        {'joint_states': (stamped(joint_stream, JOINTS, 100.0, -0.02),)},
        'messages of /joint_states are stamped 0.020 s in the future$',
        'Synchronise the clocks',
    ),
    Case(
        'joint_states_stamps',
        FAILED,
        {'joint_states': (stamped(joint_stream, JOINTS, 100.0, 0.3),)},
        'messages of /joint_states are stamped 0.300 s before they come$',
        'shorten the queues of the driver',
    ),
    Case(
        'joint_names',
        FAILED,
        with_joints(names=LEFT),
        'no panda_joint1, .*, but left_panda_joint1, ',
        "begin with 'left_' instead of ''.*tf_prefix",
    ),
    Case(
        'joint_names',
        FAILED,
        with_joints(names=BARE),
        'but joint1, joint2',
        "begin with '' instead of 'panda_'",
    ),
    Case('joint_names', FAILED, with_joints(names=FR3), 'but fr3_joint1', 'Use --robot fr3, who'),
    Case(
        'joint_names',
        FAILED,
        with_joints(names=UR, positions=(0.0, 0.0), velocities=(0.0, 0.0)),
        'but elbow_joint, wrist_joint',
        'Use the robot file of this arm',
    ),
    Case(
        'joint_names',
        FAILED,
        with_joints(names=ROBOT.joint_names[:6]),
        '^no panda_joint7, but no others',
        'Use the robot file of this arm',
    ),
    Case(
        'joint_values',
        FAILED,
        with_joints(velocities=()),
        '^0 velocities for 7 joints',
        'Have the driver publish velocities',
    ),
    Case(
        'joint_values',
        FAILED,
        with_joints(positions=(0.0,)),
        '^1 positions for 7 joints',
        'Have the driver publish positions',
    ),
    Case(
        'joint_values',
        FAILED,
        with_joints(non_finite=2),
        '2 of 300 messages with a value that is no finite number',
        'Restart the driver',
    ),
    Case(
        'joint_limits',
        FAILED,
        at(0, 3.1),
        r'panda_joint1 at 3.100 rad \(-2.8973 to 2.8973\)',
        'Move the arm back',
    ),
    Case(
        'joint_limits',
        WARNING,
        at(0, 2.85),
        r'panda_joint1 at 2.850 rad \(-2.7773 to 2.7773\)',
        'Move the arm away from the limit',
    ),
    Case(
        'start_pose',
        FAILED,
        at(1, 0.5),
        'panda_joint2 is 0.78 rad from the start pose',
        '/planner/go_home',
    ),
    Case(
        'image_topic',
        FAILED,
        with_topic(IMAGES, one_way('sensor_msgs/msg/CompressedImage', '/camera', NEWEST)),
        '/camera publishes /camera/image_raw as sensor_msgs/msg/CompressedImage',
        'Correct topics.image',
    ),
    Case(
        'image_topic',
        FAILED,
        with_topic(IMAGES, TWO_CAMERAS),
        '2 publishers on /camera/image_raw: /camera, /video',
        'End all but one',
    ),
    Case(
        'image_topic',
        FAILED,
        {'images': image_stream(times=no_times(IMAGES))},
        'nothing came on /camera/image_raw',
        'Check that /camera runs',
    ),
    Case(
        'image_rate',
        FAILED,
        {'images': image_stream(times=make_times(IMAGES, 10.0))},
        r'/camera/image_raw comes at 10\.\d Hz',
        'Check the load',
    ),
    Case(
        'image_stamps',
        FAILED,
        {'images': stamped(image_stream, IMAGES, 30.0, -7200.0)},
        'stamped 7200.000 s in the future, always: it is the clock of another machine',
        'Synchronise the clocks',
    ),
    Case(
        'image_format',
        FAILED,
        {'images': image_stream(width=320, height=240)},
        '^images of 320x240$',
        'Set the camera to that size',
    ),
    Case(
        'image_format',
        FAILED,
        {
            'images': image_stream(
                fault="Image encoding 'x' cannot be turned into rgb8 (odd); expected rgb8, bgr8."
            )
        },
        r"Image encoding 'x' cannot be turned into rgb8 \(odd\)$",
        'Set the camera to rgb8',
    ),
    Case(
        'image_light',
        FAILED,
        {'images': image_stream(brightness=2.0, contrast=1.0)},
        'dark: mean 2 of 255, spread 1',
        'Take off the lens cap',
    ),
    Case(
        'image_light',
        FAILED,
        {'images': image_stream(brightness=253.0)},
        'glaring: mean 253 of 255',
        'Shorten the exposure',
    ),
    Case(
        'image_light',
        WARNING,
        {'images': image_stream(contrast=0.5)},
        'all of one colour',
        'covers the lens',
    ),
    Case(
        'image_frozen',
        FAILED,
        {'images': image_stream(digests=(5,) * 90)},
        '90 images alike to the last bit, though their stamps go on',
        'Restart /camera',
    ),
    Case(
        'image_frozen',
        SKIPPED,
        {'images': image_stream(digests=(5,) * 90), 'clock_ticks': 1, 'sim_time': {'/sim': True}},
        'as a simulated camera sees an arm at rest',
    ),
    Case(
        'image_frozen',
        FAILED,
        {
            'images': image_stream(digests=(5,) * 90),
            'clock_ticks': 1,
            'sim_time': {'/sim': True},
            **with_joints(motion_rad=0.2),
        },
        'alike to the last bit',
        'Restart /camera',
    ),
    Case(
        'image_frozen',
        SKIPPED,
        {'images': image_stream(digests=(5, 5))},
        '2 images are too few',
    ),
    Case(
        'camera_info',
        WARNING,
        {'camera_info': None},
        'nothing came on /camera/camera_info',
        'Have the driver publish it',
    ),
    Case(
        'camera_info',
        WARNING,
        {'camera_info': (320, 240, 1.0)},
        'camera_info says 320x240, the images have 640x480',
        'Calibrate the camera',
    ),
    Case(
        'servo_node',
        FAILED,
        with_service(SWITCHES, None),
        'no service /servo_node/switch_command_type$',
        'Start servo_node once joint states come',
    ),
    Case(
        'servo_node',
        FAILED,
        {'services': {'/arm/servo/switch': Service((SWITCH,), ('/arm/servo',))}},
        'no service /servo_node/switch_command_type, but /arm/servo/switch',
        'Set topics.switch_command_type to /arm/servo/switch',
    ),
    Case(
        'servo_node',
        FAILED,
        {'services': {'/servo_node/start_servo': Service(('std_srvs/srv/Trigger',), ())}},
        '/servo_node serves start_servo: it is Servo of ROS 2 Humble',
        r'Run MoveIt 2\.12 or newer',
    ),
    Case(
        'servo_node',
        FAILED,
        with_service(SWITCHES, Service((SWITCH,), ('/servo_node', '/sim'))),
        '2 nodes serve /servo_node/switch_command_type: /servo_node, /sim',
        'End all but one',
    ),
    Case(
        'servo_node',
        WARNING,
        with_service(PAUSES, None),
        'no service /servo_node/pause_servo',
        'Correct topics.pause_servo',
    ),
    Case(
        'servo_status',
        FAILED,
        {'servo': None},
        'Servo is there and silent on /servo_node/status: it is paused',
        r'ros2 service call /servo_node/pause_servo std_srvs/srv/SetBool "\{data: false\}"',
    ),
    Case(
        'servo_status',
        FAILED,
        with_topic(STATUS, one_way('std_msgs/msg/Int8', '/servo_node', RELIABLE)),
        '/servo_node publishes /servo_node/status as std_msgs/msg/Int8',
        'Correct topics.servo_status',
    ),
    Case(
        'servo_status',
        FAILED,
        {'servo': ServoReport(2, 'near')},
        r'^HALT_FOR_SINGULARITY \(near\)$',
        'out of the singularity by planning',
    ),
    Case('servo_status', FAILED, {'servo': ServoReport(5, '')}, '^HALT_FOR_COLL', 'away from wh'),
    Case('servo_status', FAILED, {'servo': ServoReport(-1, '')}, '^INVALID$', 'wrong joint name'),
    Case('servo_status', WARNING, {'servo': ServoReport(4, '')}, '^DECELERATE_FOR_C', 'scene'),
    Case(
        'servo_command_type',
        FAILED,
        {'logs': ('guard: Servo refused joint jogging, expected it to accept it.',)},
        r'^not switched \(guard: Servo refused joint jogging',
        r'switch_command_type moveit_msgs/srv/ServoCommandType "\{command_type: 0\}"',
    ),
    Case(
        'servo_command_type',
        FAILED,
        {'nodes': ('/servo_node',)},
        'nobody switches Servo, since the guard is not there',
        'Start the guard',
    ),
    Case(
        'servo_log',
        WARNING,
        {'logs': ('servo_node.servo: Halting', 'other: x', 'servo_node: Very close to a limit')},
        '2 warnings, the newest: servo_node: Very close to a limit',
        'See the log of Servo',
    ),
    Case(
        'command_sender',
        FAILED,
        with_topic(COMMANDS, INTRUDED),
        '^/joystick publishes /servo_node/delta_joint_cmds',
        'End /joystick, or have it send to /teleop/joint_jog',
    ),
    Case(
        'command_sender',
        SKIPPED,
        with_topic(COMMANDS, None),
        'nobody publishes /servo_node/delta_joint_cmds',
    ),
    Case(
        'command_listener',
        FAILED,
        with_topic(COMMANDS, one_way(JOINT_JOG, '/guard', COMMAND, '/recorder')),
        '/servo_node does not listen to /servo_node/delta_joint_cmds$',
        'Correct topics.command',
    ),
    Case(
        'command_listener',
        FAILED,
        {
            'topics': {
                **with_topic(COMMANDS, None)['topics'],
                '/arm/jog': one_way(JOINT_JOG, '/x', COMMAND, '/servo_node'),
            }
        },
        'delta_joint_cmds, but listens to /arm/jog',
        'Set topics.command to /arm/jog',
    ),
    Case(
        'command_listener',
        FAILED,
        with_topic(COMMANDS, one_way('geometry_msgs/msg/Twist', '/guard', COMMAND, '/base')),
        'is listened to as geometry_msgs/msg/Twist',
        'Correct topics.command',
    ),
    Case(
        'qos',
        FAILED,
        with_topic('/teleop/joint_jog', one_way(JOINT_JOG, '/joystick', NEWEST, '/guard')),
        '/joystick offers /teleop/joint_jog BEST_EFFORT, VOLATILE, /guard asks for RELIABLE, VOL',
        'Give the publisher the QoS that is asked for',
    ),
    Case(
        'qos',
        FAILED,
        with_topic(
            COMMANDS,
            Topic(
                (Endpoint('/guard', JOINT_JOG, COMMAND),),
                (Endpoint('/servo_node', JOINT_JOG, LATCHED),),
            ),
        ),
        '/servo_node asks for RELIABLE, TRANSIENT_LOCAL: nothing comes through',
        'Give the publisher',
    ),
    Case(
        'controller',
        FAILED,
        {'controllers': (make_controller(state='inactive'),)},
        r'no active one moves all joints \(arm inactive\)',
        'ros2 control switch_controllers --activate arm',
    ),
    Case(
        'controller',
        FAILED,
        {'controllers': (Controller('broadcaster', 'active', ()),)},
        r'\(broadcaster active\)',
        "Load the arm's controller",
    ),
    Case(
        'controller',
        FAILED,
        {'servo_output': '/forward_position_controller/commands'},
        'Servo sends to /forward_position_controller/commands, and forward_position_controller is '
        'not loaded',
        r'--activate forward_position_controller --deactivate arm\.$',
    ),
    Case('controller', FAILED, {'controllers': ()}, 'none is loaded', "Load the arm's"),
    Case(
        'controller',
        WARNING,
        {'controllers': (make_controller('velocity'),)},
        'arm takes velocities alone and keeps the last one',
        'Have Servo send positions',
    ),
    Case(
        'controller',
        SKIPPED,
        {'controllers': None, 'controllers_reason': 'controller_manager_msgs is not installed'},
        'controller_manager_msgs is not installed',
    ),
    Case('guard', FAILED, {'nodes': ('/control',)}, 'no /guard', 'ros2 launch mil_ros bringup'),
    Case('guard', FAILED, {'states': {}}, '/guard says nothing on /guard/state', 'See its log'),
    Case(
        'guard',
        FAILED,
        guard_state(True, 'Emergency stop was called on ~/estop.', 'fault'),
        'in fault: Emergency stop was called on ~/estop.',
        '/guard/reset',
    ),
    Case(
        'guard',
        FAILED,
        guard_state(False, 'waiting', 'waiting'),
        '^waiting: waiting',
        'It lacks joint states or the status of Servo',
    ),
    Case(
        'deadman',
        FAILED,
        with_topic(DEADMAN, None),
        'nobody publishes /teleop/deadman',
        'Start the node of the joystick or pedal',
    ),
    Case('deadman', FAILED, {'deadman': None}, 'nothing comes on /teleop/deadman', 'Start the'),
    Case(
        'deadman',
        FAILED,
        {'deadman': Switch(True, 2.0)},
        '/teleop/deadman comes at 2.0 Hz',
        'Have /pedal repeat it',
    ),
    Case(
        'deadman',
        SKIPPED,
        {'loaded': replace(ROBOT, guard=replace(ROBOT.guard, deadman=False))},
        'the robot file asks for none',
    ),
    Case('control', FAILED, {'nodes': ('/guard',)}, 'no /control', 'ros2 launch'),
    Case('control', FAILED, {'lifecycle': ''}, 'does not tell its lifecycle state', 'See its log'),
    Case(
        'control',
        WARNING,
        {'lifecycle': 'unconfigured'},
        '^unconfigured$',
        'ros2 lifecycle set /control configure',
    ),
    Case(
        'control',
        WARNING,
        {'lifecycle': 'inactive'},
        '^inactive$',
        'ros2 lifecycle set /control activate',
    ),
    Case(
        'bundle',
        FAILED,
        {'bundle_fault': 'Bundle file x is damaged: SHA-256 is a, expected b; copy it again.'},
        'Bundle file x is damaged: SHA-256 is a',
        'Copy it again',
    ),
    Case('bundle', SKIPPED, {}, 'give one with --bundle'),
]


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.check}-{case.found[:30]}')
def test_a_fault_is_found_and_a_remedy_named(case: Case) -> None:
    finding = find(make_healthy(**case.changes), case.check)
    assert finding.verdict is case.verdict, finding
    assert re.search(case.found, finding.found), finding.found
    assert re.search(case.remedy, finding.remedy), finding.remedy
    if case.verdict in (FAILED, WARNING):
        assert finding.remedy.endswith('.')
        assert finding.remedy[0].isupper() or finding.remedy.startswith('ros2 ')
    else:
        assert finding.remedy == finding.expected == ''


def test_every_check_has_a_fault_here() -> None:
    wrong = {case.check for case in CASES if case.verdict is FAILED}
    assert set(NAMES) - wrong == {'servo_log', 'camera_info'}, 'these two only warn'


@pytest.mark.parametrize('name', [name for name in NAMES if name != 'bundle'])
def test_a_healthy_arm_passes(name: str) -> None:
    finding = find(make_healthy(), name)
    assert finding.verdict is OK, finding
    assert finding.found


def test_needs_come_first_and_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for i, entry in enumerate(CHECKS):
        assert set(entry.needs) <= set(NAMES[:i]), entry.name
        assert entry.judge.__doc__, entry.name


def test_what_lacks_its_need_is_skipped_with_the_reason() -> None:
    rows = {row.name: row.finding for row in examine(make_healthy(nodes=()))}
    assert rows['joint_states_topic'].found == 'needs graph'
    assert rows['start_pose'].found == 'needs joint_values'
    assert rows['start_pose'].verdict is SKIPPED


def test_nothing_but_the_robot_file_is_judged_without_one() -> None:
    rows = examine(Snapshot(loaded=None, robot_fault='arm: joints repeat, expected unique ones.'))
    assert [row.name for row in rows if row.finding.verdict is FAILED] == ['robot_file']
    assert {row.finding.verdict for row in rows[1:]} == {SKIPPED}


def test_joints_of_a_gripper_on_the_same_topic_do_no_harm() -> None:
    snapshot = make_healthy(joint_states=(GRIPPER, joint_stream()))
    assert find(snapshot, 'joint_names').verdict is OK
    assert find(snapshot, 'joint_states_rate').verdict is OK


def test_other_joints_in_the_same_message_are_told() -> None:
    names = (*ROBOT.joint_names, 'finger')
    changes = with_joints(
        names=names, positions=(*ROBOT.home_rad, 0.04), velocities=(0.0,) * len(names)
    )
    assert find(make_healthy(**changes), 'joint_names').found == 'all 7, besides finger'
    assert find(make_healthy(**changes), 'start_pose').verdict is OK


def test_order_of_joints_does_not_matter() -> None:
    changes = with_joints(names=ROBOT.joint_names[::-1], positions=ROBOT.home_rad[::-1])
    assert find(make_healthy(**changes), 'start_pose').verdict is OK


def test_simulated_time_of_all_is_fine() -> None:
    snapshot = make_healthy(
        sim_time={'/guard': True},
        clock_ticks=9,
        **with_topic('/clock', one_way('Clock', '/gazebo', RELIABLE)),
    )
    assert find(snapshot, 'clock') == Finding(OK, 'simulated time of /gazebo')


def test_a_deadman_that_is_released_is_no_fault_before_motion() -> None:
    finding = find(make_healthy(deadman=Switch(False, 20.0)), 'deadman')
    assert finding == Finding(OK, 'released, at 20 Hz')


def test_uncalibrated_camera_is_told() -> None:
    finding = find(make_healthy(camera_info=(640, 480, 0.0)), 'camera_info')
    assert finding == Finding(OK, '640x480, not calibrated')


def test_the_controller_that_servo_commands_is_the_one_that_counts() -> None:
    finding = find(make_healthy(servo_output='/arm/commands'), 'controller')
    assert finding == Finding(OK, 'arm is active')


def test_words_of_servo_are_those_of_its_message() -> None:
    assert WORDS[6] == 'JOINT_BOUND'
    assert WORDS[-1] == 'INVALID'
    assert len(WORDS) == 8


@pytest.fixture
def reach() -> Bundle:
    return load_bundle(Path('models/reach'))


def test_a_bundle_that_fits_passes(reach: Bundle, robot: Any) -> None:
    finding = find(make_healthy(loaded=robot, bundle=reach), 'bundle')
    assert finding.verdict is OK
    assert re.fullmatch(r'reach \([0-9a-f]{12}\) fits', finding.found)


def test_a_bundle_for_another_robot_fails(reach: Bundle) -> None:
    other = replace(reach, manifest={**reach.manifest, 'robot': {'name': 'x', 'joint_names': []}})
    finding = find(make_healthy(bundle=other), 'bundle')
    assert finding.verdict is FAILED
    assert "made for robot 'x' and does not fit 'panda': it has joints [] inst" in finding.found
    assert finding.remedy.startswith("Use a bundle trained for 'panda' or start with robot:=x")
