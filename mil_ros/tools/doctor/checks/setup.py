"""Robot file, environment, who is there, and whose time it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
import re
from typing import Final

from mil_ros.bringup import nodes as bringup_nodes
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.checks.streams import find_topic
from mil_ros.tools.doctor.findings import failed, Finding, from_sentence, ok, skipped, warning
from mil_ros.tools.doctor.snapshot import CLOCK, CONTROL, GUARD, list_names, Snapshot, TEXT

_TOPIC: Final = re.compile(r'(/[A-Za-z_][A-Za-z0-9_]*)+')
_NEAR: Final = ('LOCALHOST', 'OFF')


@check('setup')
def robot_file(snapshot: Snapshot) -> Finding:
    """The robot file makes sense, names of topics included."""
    if snapshot.robot_fault:
        return from_sentence(snapshot.robot_fault, 'Correct the robot file.')
    robot = snapshot.robot
    for key, topic in asdict(robot.topics).items():
        if not _TOPIC.fullmatch(topic):
            return failed(
                f'topics.{key} is {topic!r}',
                'a full name such as /joint_states',
                f'Correct topics.{key} in the robot file.',
            )
    return ok(
        f'{robot.name}: {len(robot.joints)} joints, camera {robot.camera.width}x'
        f'{robot.camera.height}, policy at {robot.policy.rate_hz:g} Hz'
    )


@check('setup', 'robot_file')
def packages(snapshot: Snapshot) -> Finding:
    """The message packages that Servo needs are installed."""
    if snapshot.missing_packages:
        names = ' '.join(
            f'ros-$ROS_DISTRO-{name.replace("_", "-")}' for name in snapshot.missing_packages
        )
        return failed(
            f'{list_names(snapshot.missing_packages)} cannot be imported',
            'the interfaces of MoveIt Servo',
            f'Install them (sudo apt install {names}) and source the workspace again.',
        )
    return ok('control_msgs, moveit_msgs')


@check('setup', 'robot_file')
def graph(snapshot: Snapshot) -> Finding:
    """Anybody is there at all."""
    domain = snapshot.environment.get('ROS_DOMAIN_ID', '0')
    if snapshot.nodes:
        return ok(f'{len(set(snapshot.nodes))} nodes in ROS domain {domain}')
    remedy = (
        'Start the arm (ros2 launch mil_ros bringup.launch.py, or sim.launch.py), or set '
        f'ROS_DOMAIN_ID, here {domain}, and RMW_IMPLEMENTATION to those of the arm'
    )
    reach = snapshot.environment.get('ROS_AUTOMATIC_DISCOVERY_RANGE', '')
    if reach in _NEAR:
        remedy += f'; if it is on another machine, unset ROS_AUTOMATIC_DISCOVERY_RANGE={reach}'
    if snapshot.environment.get('ROS_LOCALHOST_ONLY', '0') == '1':
        remedy += '; if it is on another machine, unset ROS_LOCALHOST_ONLY=1'
    return failed(
        f'no node within {snapshot.seconds:.1f} s in ROS domain {domain}',
        'the nodes of an arm or of the simulator',
        f'{remedy}.',
    )


@check('setup', 'graph')
def nodes(snapshot: Snapshot) -> Finding:
    """Every node of ours is there, and none twice."""
    twice = [name for name, count in Counter(snapshot.nodes).items() if count > 1]
    if twice:
        return failed(
            f'{list_names(twice)} runs more than once',
            'every name once',
            'End all but one; a graph that was started before may still run.',
        )
    simulated = bringup_nodes(simulated=True)
    always = {f'/{s.name}' for s in bringup_nodes(simulated=False) if s in simulated}
    checked_below = {GUARD, CONTROL}
    absent = always - checked_below - set(snapshot.nodes)
    if absent:
        return warning(
            f'no {list_names(absent)}',
            'all nodes of bringup.launch.py',
            'Start them to record, adapt and plan (ros2 launch mil_ros bringup.launch.py).',
        )
    return ok(list_names(snapshot.nodes))


@check('setup', 'graph')
def clock(snapshot: Snapshot) -> Finding:
    """All nodes take their time from one clock."""
    senders = list_names(e.node for e in snapshot.publishers(CLOCK))
    followers = [node for node, follows in snapshot.sim_time.items() if follows]
    others = [node for node, follows in snapshot.sim_time.items() if not follows]
    if followers and not snapshot.clock_ticks:
        return failed(
            f'use_sim_time is on for {list_names(followers)}, and nothing comes on {CLOCK}',
            'the wall clock on a real arm',
            'Set use_sim_time:=false on them, or start the simulator that publishes the time.',
        )
    if senders and others:
        return failed(
            f'{senders} publishes {CLOCK}, and use_sim_time is off for {list_names(others)}',
            'one clock for all nodes',
            f'Set use_sim_time:=true on them, or end {senders} on a real arm.',
        )
    return ok(f'simulated time of {senders}' if followers else 'wall clock')


@check('setup', 'graph')
def robot_description(snapshot: Snapshot) -> Finding:
    """The URDF is published, where the guard needs it for limits at the tool."""
    robot, topic = snapshot.robot, snapshot.robot.topics.robot_description
    if not robot.tool.link:
        return skipped('the robot file limits nothing at the tool (tool.link)')
    starter = 'robot_state_publisher, from whose URDF the guard knows where the tool is'
    return find_topic(snapshot, 'robot_description', topic, TEXT, starter)
