"""The way of a command: one sender, one listener, QoS that fits, and an active controller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rclpy.qos import qos_check_compatible, QoSCompatibility

from mil_ros.ros.sources import name_qos
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.findings import failed, Finding, ok, skipped, warning
from mil_ros.tools.doctor.snapshot import (
    Controller,
    DEADMAN,
    Endpoint,
    GUARD,
    JOGS,
    JOINT_JOG,
    LIST_CONTROLLERS,
    list_names,
    Service,
    Snapshot,
)


@check('command', 'graph')
def command_sender(snapshot: Snapshot) -> Finding:
    """Nobody but the guard commands Servo."""
    topic = snapshot.robot.topics.command
    senders = snapshot.publishers(topic)
    strangers = [endpoint.node for endpoint in senders if endpoint.node != GUARD]
    if strangers:
        return failed(
            f'{list_names(strangers)} publishes {topic}',
            f'{GUARD} alone',
            f'End {list_names(strangers)}, or have it send to {JOGS[0]}: the commands of two '
            'senders mix, and what bypasses the guard is not stopped by it.',
        )
    if not senders:
        return skipped(f'nobody publishes {topic}')
    return ok(f'{GUARD} alone on {topic}')


@check('command', 'servo_node')
def command_listener(snapshot: Snapshot) -> Finding:
    """Servo listens where the guard sends."""
    topics = snapshot.robot.topics
    servo = snapshot.services.get(topics.switch_command_type, Service((), ())).nodes
    foreign = {e.kind for e in snapshot.subscriptions(topics.command)} - {JOINT_JOG}
    if foreign:
        return failed(
            f'{topics.command} is listened to as {list_names(foreign)}',
            JOINT_JOG,
            'Correct topics.command of the robot file.',
        )
    if any(endpoint.node in servo for endpoint in snapshot.subscriptions(topics.command)):
        return ok(f'{list_names(servo)} on {topics.command}')
    others = [
        name
        for name, topic in sorted(snapshot.topics.items())
        if any(e.node in servo and e.kind == JOINT_JOG for e in topic.subscriptions)
    ]
    elsewhere = f', but listens to {list_names(others)}' if others else ''
    return failed(
        f'{list_names(servo)} does not listen to {topics.command}{elsewhere}',
        'Servo on the command topic of the robot file',
        f'Set topics.command to {others[0]} in the robot file.'
        if others
        else 'Correct topics.command, or joint_command_in_topic of Servo.',
    )


@check('command', 'graph')
def qos(snapshot: Snapshot) -> Finding:
    """Every publisher offers what the listeners of its topic ask for."""
    faults, pairs = [], 0
    for topic in _watched(snapshot):
        for sender, listener in _pairs(snapshot, topic):
            pairs += 1
            compatible, _ = qos_check_compatible(sender.qos, listener.qos)
            if compatible == QoSCompatibility.ERROR:
                faults.append(
                    f'{sender.node} offers {topic} {name_qos(sender.qos)}, {listener.node} asks '
                    f'for {name_qos(listener.qos)}'
                )
    if faults:
        return failed(
            f'{"; ".join(faults)}: nothing comes through',
            'an offer of at least what is asked for',
            'Give the publisher the QoS that is asked for.',
        )
    return ok(f'{pairs} pairs of publisher and listener fit')


def _watched(snapshot: Snapshot) -> list[str]:
    topics = snapshot.robot.topics
    ours = (topics.joint_states, topics.image, topics.servo_status, topics.command)
    return [*ours, *JOGS, DEADMAN]


def _pairs(snapshot: Snapshot, topic: str) -> Iterator[tuple[Endpoint, Endpoint]]:
    for sender in snapshot.publishers(topic):
        for listener in snapshot.subscriptions(topic):
            if sender.kind == listener.kind:
                yield sender, listener


@check('command', 'graph')
def controller(snapshot: Snapshot) -> Finding:
    """The controller that moves the joints, and that Servo sends to, is active."""
    if snapshot.controllers is None:
        return skipped(snapshot.controllers_reason)
    joints = snapshot.robot.joint_names
    able = [c for c in snapshot.controllers if all(_moves(c, joint) for joint in joints)]
    active = [c for c in able if c.state == 'active']
    states = {entry.name: entry.state for entry in snapshot.controllers}
    wanted = snapshot.servo_output.rpartition('/')[0].rpartition('/')[2]
    if wanted and states.get(wanted) != 'active':
        others = ' '.join(entry.name for entry in active)
        return failed(
            f'Servo sends to {snapshot.servo_output}, and {wanted} is '
            f'{states.get(wanted, "not loaded")}',
            f'{wanted} active',
            f'Activate it: ros2 control switch_controllers --activate {wanted}'
            + (f' --deactivate {others}.' if others else '.'),
        )
    if not active:
        return _find_idle(states, able)
    names = list_names(entry.name for entry in active)
    if all(interface.endswith('/velocity') for c in active for interface in c.interfaces):
        return warning(
            f'{names} takes velocities alone and keeps the last one when nothing comes',
            'a controller of positions',
            'Have Servo send positions (forward_position_controller or a joint trajectory '
            'controller): they hold when the sender dies.',
        )
    return ok(f'{names} is active')


def _find_idle(states: Mapping[str, str], able: Sequence[Controller]) -> Finding:
    """Say that no controller that could move the joints is active."""
    seen = ', '.join(f'{name} {state}' for name, state in states.items())
    remedy = (
        f'Activate one: ros2 control switch_controllers --activate {able[0].name}.'
        if able
        else "Load the arm's controller (ros2 control load_controller), or correct the names of "
        'its joints.'
    )
    return failed(
        f'no active one moves all joints ({seen or "none is loaded"})',
        f'one that is, by {LIST_CONTROLLERS}',
        remedy,
    )


def _moves(controller: Controller, joint: str) -> bool:
    return any(interface.rpartition('/')[0] == joint for interface in controller.interfaces)
