"""What the doctor sees of a real arm with which nothing is wrong; tests change one thing of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from rclpy.qos import qos_profile_sensor_data, QoSProfile

from mil_ros.bringup import nodes
from mil_ros.core.robot import load_robot, RobotDescription, Tool
from mil_ros.core.streams import StreamTimes
from mil_ros.ros.node import COMMAND, LATCHED, NEWEST
from mil_ros.tools.doctor.snapshot import (
    CAMERA_INFO,
    Controller,
    DEADMAN,
    Endpoint,
    IMAGE,
    ImageStream,
    JOINT_JOG,
    JOINT_STATE,
    JointStream,
    NodeState,
    PAUSE,
    Service,
    SERVO_STATUS,
    ServoReport,
    Snapshot,
    SWITCH,
    Switch,
    TEXT,
    Topic,
)

MS = 1_000_000
END_NS = 1_700_000_000_000 * MS
SECONDS = 3.0
RELIABLE = QoSProfile(depth=5)
_SIM = load_robot('sim_panda')
ROBOT = replace(
    _SIM,
    name='panda',
    camera=replace(_SIM.camera, width=640, height=480),
    joint_states=replace(_SIM.joint_states, max_age_s=0.05),
    guard=replace(_SIM.guard, deadman=True),
    tool=Tool(link='panda_hand', speed_m_s=0.25),
)
JOINTS, IMAGES = ROBOT.topics.joint_states, ROBOT.topics.image
DESCRIPTION = ROBOT.topics.robot_description
COMMANDS, STATUS = ROBOT.topics.command, ROBOT.topics.servo_status


def make_times(topic: str, rate_hz: float, delay_s: float = 0.002) -> StreamTimes:
    """Return a steady stream of three seconds, each message stamped some time before it came."""
    period_ns = round(1e9 / rate_hz)
    received = END_NS - np.arange(round(SECONDS * rate_hz))[::-1] * period_ns
    return StreamTimes(topic, received, received - round(1e9 * delay_s))


def with_stamps(times: StreamTimes, stamps_ns: Any) -> StreamTimes:
    """Return a stream with other stamps, (N,) or one for all."""
    return replace(times, stamps_ns=np.broadcast_to(stamps_ns, times.received_ns.shape))


def joint_stream(robot: RobotDescription = ROBOT, **changes: Any) -> JointStream:
    values: dict[str, Any] = {
        'names': robot.joint_names,
        'times': make_times(JOINTS, 100.0),
        'positions': robot.home_rad,
        'velocities': (0.0,) * len(robot.joints),
    }
    return JointStream(**values | changes)


def image_stream(**changes: Any) -> ImageStream:
    values: dict[str, Any] = {
        'times': make_times(IMAGES, 30.0),
        'digests': tuple(range(90)),
        'encoding': 'rgb8',
        'width': 640,
        'height': 480,
        'brightness': 110.0,
        'contrast': 40.0,
    }
    return ImageStream(**values | changes)


def one_way(kind: str, sender: str, qos: QoSProfile, *listeners: str) -> Topic:
    """Return a topic whose listeners ask for what our nodes do."""
    wish = COMMAND if kind == JOINT_JOG else NEWEST
    return Topic(
        (Endpoint(sender, kind, qos),),
        tuple(Endpoint(listener, kind, wish) for listener in listeners),
    )


def make_topics() -> dict[str, Topic]:
    return {
        JOINTS: one_way(JOINT_STATE, '/driver', RELIABLE, '/guard', '/control'),
        IMAGES: one_way(IMAGE, '/camera', qos_profile_sensor_data, '/control'),
        '/camera/camera_info': one_way(CAMERA_INFO, '/camera', qos_profile_sensor_data),
        DESCRIPTION: one_way(TEXT, '/robot_state_publisher', LATCHED, '/guard'),
        STATUS: one_way(SERVO_STATUS, '/servo_node', RELIABLE, '/guard'),
        COMMANDS: one_way(JOINT_JOG, '/guard', COMMAND, '/servo_node', '/recorder'),
        '/control/joint_jog': one_way(JOINT_JOG, '/control', COMMAND, '/guard'),
        DEADMAN: one_way('std_msgs/msg/Bool', '/pedal', COMMAND, '/guard'),
    }


def make_services() -> dict[str, Service]:
    return {
        ROBOT.topics.switch_command_type: Service((SWITCH,), ('/servo_node',)),
        ROBOT.topics.pause_servo: Service((PAUSE,), ('/servo_node',)),
    }


def make_controller(interface: str = 'position', state: str = 'active') -> Controller:
    return Controller('arm', state, tuple(f'{n}/{interface}' for n in ROBOT.joint_names))


def make_healthy(**changes: Any) -> Snapshot:
    ours = [f'/{spec.name}' for spec in nodes(simulated=False) if not spec.only_with]
    values: dict[str, Any] = {
        'loaded': ROBOT,
        'known_robots': {'fr3': tuple(f'fr3_joint{i}' for i in range(1, 8))},
        'environment': {'ROS_DOMAIN_ID': '7'},
        'nodes': (*ours, '/camera', '/driver', '/pedal', '/servo_node'),
        'topics': make_topics(),
        'services': make_services(),
        'joint_states': (joint_stream(),),
        'images': image_stream(),
        'camera_info': (640, 480, 500.0),
        'servo': ServoReport(0, ''),
        'sim_time': {'/guard': False, '/control': False},
        'states': {
            '/guard/state': NodeState(False, 'ready', {'state': 'ready'}),
            '/control/state': NodeState(False, 'idle', {'dry_run': 'True', 'policy': 'cup'}),
        },
        'lifecycle': 'active',
        'deadman': Switch(True, 20.0),
        'controllers': (make_controller(),),
        'seconds': SECONDS,
        'end_ns': END_NS,
    }
    return Snapshot(**values | changes)
