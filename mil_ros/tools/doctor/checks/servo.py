"""MoveIt Servo: there, of this ROS distribution, awake and willing."""

from __future__ import annotations

import re
from typing import Final

from mil_ros.core.watches import SERVO_STOP_CODES
from mil_ros.data.messages import SERVO_STATUS as SERVO_STATUS_TEXT
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.checks.streams import find_topic
from mil_ros.tools.doctor.findings import failed, Finding, ok, warning
from mil_ros.tools.doctor.snapshot import (
    GUARD,
    list_names,
    PAUSE,
    Service,
    SERVO_STATUS,
    Snapshot,
    SWITCH,
)

WORDS: Final = {int(code): name for name, code in re.findall(r'(\w+)=(-?\d+)', SERVO_STATUS_TEXT)}
_NO_WARNING: Final = 0
_HUMBLE: Final = ('start_servo', 'unpause_servo', 'reset_servo_status')
_REFUSALS: Final = ('refused joint jogging', 'Command type has not been set')
_START: Final = 'Start servo_node once joint states come (without them it ends after 5 s).'


@check('servo', 'graph')
def servo_node(snapshot: Snapshot) -> Finding:
    """Servo is there and speaks the messages of Jazzy."""
    topics = snapshot.robot.topics
    space = topics.switch_command_type.rpartition('/')[0]
    old = [name for name in _HUMBLE if f'{space}/{name}' in snapshot.services]
    if old:
        return failed(
            f'{space} serves {old[0]}: it is Servo of ROS 2 Humble, with other services and '
            'status codes',
            'Servo of Jazzy or newer',
            'Run MoveIt 2.12 or newer (ROS 2 Jazzy); mil_ros does not drive the Servo of Humble.',
        )
    switch = snapshot.services.get(topics.switch_command_type, Service((), ()))
    if SWITCH not in switch.kinds:
        others = sorted(n for n, s in snapshot.services.items() if SWITCH in s.kinds)
        remedy = (
            f'Set topics.switch_command_type to {others[0]} in the robot file.'
            if others
            else _START
        )
        found = f'no service {topics.switch_command_type}'
        return failed(found + (f', but {others[0]}' if others else ''), SWITCH, remedy)
    if len(switch.nodes) > 1:
        return failed(
            f'{len(switch.nodes)} nodes serve {topics.switch_command_type}: '
            f'{list_names(switch.nodes)}',
            'one Servo',
            'End all but one.',
        )
    pause = snapshot.services.get(topics.pause_servo, Service((), ()))
    if PAUSE not in pause.kinds:
        return warning(
            f'no service {topics.pause_servo}',
            PAUSE,
            'Correct topics.pause_servo in the robot file; the planner pauses Servo by it.',
        )
    return ok(list_names(switch.nodes))


@check('servo', 'servo_node')
def servo_status(snapshot: Snapshot) -> Finding:
    """Servo runs, is not paused, and sees no reason to stop."""
    topics = snapshot.robot.topics
    topic = find_topic(snapshot, 'servo_status', topics.servo_status, SERVO_STATUS, 'servo_node')
    if topic.remedy:
        return topic
    if snapshot.servo is None:
        return failed(
            f'Servo is there and silent on {topics.servo_status}: it is paused',
            'a status in each of its periods',
            f'Wake it: ros2 service call {topics.pause_servo} {PAUSE} "{{data: false}}".',
        )
    code, message = snapshot.servo.code, snapshot.servo.message
    word = WORDS.get(code, f'code {code}')
    found = f'{word} ({message})' if message else word
    if code == _NO_WARNING:
        return ok(found)
    judge = failed if code in SERVO_STOP_CODES else warning
    return judge(found, WORDS[_NO_WARNING], _find_status_remedy(word))


def _find_status_remedy(word: str) -> str:
    if 'SINGULARITY' in word:
        return 'Move the arm out of the singularity by planning, with Servo paused.'
    if 'COLLISION' in word:
        return 'Move the arm away from what it nearly touches, and check the planning scene.'
    if 'JOINT_BOUND' in word:
        return 'Move the joint away from its limit by planning, with Servo paused.'
    return 'See the log of Servo: a command has a wrong joint name, size or number.'


@check('servo', 'servo_node')
def servo_command_type(snapshot: Snapshot) -> Finding:
    """Servo takes joint jogs; whether it does is known by its refusals alone."""
    call = f'{snapshot.robot.topics.switch_command_type} {SWITCH} "{{command_type: 0}}"'
    refusals = [log for log in snapshot.logs if any(text in log for text in _REFUSALS)]
    if refusals:
        return failed(
            f'not switched ({refusals[-1]})',
            'JOINT_JOG',
            f'Switch it, and see its log should it refuse: ros2 service call {call}.',
        )
    if GUARD not in snapshot.nodes:
        return failed(
            'nobody switches Servo, since the guard is not there',
            'JOINT_JOG',
            f'Start the guard, which does it, or: ros2 service call {call}.',
        )
    return ok('JOINT_JOG, asked for by the guard and not refused')


@check('servo', 'servo_node')
def servo_log(snapshot: Snapshot) -> Finding:
    """Servo logs no warnings."""
    said = [log for log in snapshot.logs if 'servo' in log.partition(':')[0].lower()]
    if said:
        return warning(
            f'{len(said)} warnings, the newest: {said[-1]}',
            'none',
            'See the log of Servo.',
        )
    return ok('no warnings')
