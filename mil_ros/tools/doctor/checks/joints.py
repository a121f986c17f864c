"""The joint states: there, in time, of this arm, and at a pose to start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile

import numpy as np

from mil_ros.core.errors import DemoError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.streams import Expectation
from mil_ros.core.types import Vector
from mil_ros.data.messages import joints_in_order
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.checks.streams import find_rate, find_stamps, find_stream
from mil_ros.tools.doctor.findings import failed, Finding, ok, warning
from mil_ros.tools.doctor.snapshot import JOINT_STATE, list_names, Snapshot


@check('joints', 'graph')
def joint_states_topic(snapshot: Snapshot) -> Finding:
    """Somebody publishes joint states."""
    starter = "the arm's driver and its joint_state_broadcaster"
    return find_stream(snapshot, 'joint_states', JOINT_STATE, starter, snapshot.joints.times)


@check('joints', 'joint_states_topic')
def joint_states_rate(snapshot: Snapshot) -> Finding:
    """They come often enough."""
    stream = snapshot.robot.joint_states
    return find_rate(
        snapshot, snapshot.joints.times, Expectation(stream.rate_hz, stream.max_age_s)
    )


@check('joints', 'joint_states_topic')
def joint_states_stamps(snapshot: Snapshot) -> Finding:
    """Their stamps are of this machine's clock, and recent."""
    return find_stamps(snapshot.joints.times, snapshot.robot.joint_states.max_age_s)


@check('joints', 'joint_states_topic')
def joint_names(snapshot: Snapshot) -> Finding:
    """They name every joint of the robot file."""
    seen, expected = snapshot.joints, snapshot.robot.joint_names
    missing = [name for name in expected if name not in seen.names]
    more = [name for name in seen.names if name not in expected]
    if not missing:
        return ok(f'all {len(expected)}' + (f', besides {list_names(more)}' if more else ''))
    return failed(
        f'no {", ".join(missing)}, but {", ".join(more) or "no others"}',
        f'the {len(expected)} joints of the robot file',
        _find_name_remedy(snapshot.robot, seen.names, snapshot.known_robots),
    )


def _find_name_remedy(
    robot: RobotDescription, seen: Sequence[str], known: Mapping[str, tuple[str, ...]]
) -> str:
    """Return what to do about joints that are called otherwise."""
    fitting = [name for name, joints in known.items() if set(joints) <= set(seen)]
    if fitting:
        return f'Use --robot {fitting[0]}, whose joints these are.'
    change = _find_prefix(robot.joint_names, seen)
    if change is None:
        return 'Use the robot file of this arm, or correct its joint names.'
    ours, theirs = change
    return (
        f"The names begin with {theirs!r} instead of {ours!r}: correct the driver's prefix "
        '(tf_prefix, arm_id) or the joint names of the robot file.'
    )


def _find_prefix(expected: Sequence[str], seen: Sequence[str]) -> tuple[str, str] | None:
    """Return two prefixes if exchanging them makes the names of one arm those of another."""
    for name in seen:
        pairs = zip(reversed(expected[0]), reversed(name))
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        ours, theirs = expected[0][:-common], name[:-common]
        if common and all(
            e.startswith(ours) and theirs + e[len(ours) :] in seen for e in expected
        ):
            return ours, theirs
    return None


@check('joints', 'joint_names')
def joint_values(snapshot: Snapshot) -> Finding:
    """Positions and velocities are there, and numbers."""
    seen, names = snapshot.joints, snapshot.robot.joint_names
    for what, values in (('positions', seen.positions), ('velocities', seen.velocities)):
        try:
            joints_in_order(list(seen.names), values, names, what)
        except DemoError:
            return failed(
                f'{len(values)} {what} for {len(seen.names)} joints',
                'one for each joint',
                f'Have the driver publish {what} (joint_state_broadcaster does where the hardware '
                'offers that state interface).',
            )
    if seen.non_finite:
        return failed(
            f'{seen.non_finite} of {len(seen.times.received_ns)} messages with a value that is '
            'no finite number',
            'finite positions and velocities',
            'Restart the driver; check encoders and calibration.',
        )
    return ok('positions and velocities, finite')


@check('joints', 'joint_values')
def joint_limits(snapshot: Snapshot) -> Finding:
    """Every joint is inside its limits."""
    robot, positions = snapshot.robot, _positions(snapshot)
    outside, near = [], []
    for joint, position in zip(robot.joints, positions, strict=True):
        text = f'{joint.name} at {position:.3f} rad'
        margin = robot.limits.position_margin_rad
        if not joint.lower_rad <= position <= joint.upper_rad:
            outside.append(f'{text} ({joint.lower_rad:g} to {joint.upper_rad:g})')
        elif not joint.lower_rad + margin <= position <= joint.upper_rad - margin:
            near.append(f'{text} ({joint.lower_rad + margin:g} to {joint.upper_rad - margin:g})')
    if outside:
        return failed(
            ', '.join(outside),
            'positions inside the limits',
            "Move the arm back by the driver's own means, or correct the limits and the zero "
            'positions.',
        )
    if near:
        return warning(
            ', '.join(near),
            'positions inside the limits less the margin',
            'Move the arm away from the limit; the guard lets it go no further that way.',
        )
    return ok('inside the limits')


@check('joints', 'joint_values')
def start_pose(snapshot: Snapshot) -> Finding:
    """The arm is near the pose that a run starts from."""
    robot = snapshot.robot
    away = np.abs(_positions(snapshot) - robot.home)
    worst, tolerance = int(away.argmax()), robot.policy.start_tolerance_rad
    if away[worst] > tolerance:
        return failed(
            f'{robot.joint_names[worst]} is {away[worst]:.2f} rad from the start pose',
            f'at most {tolerance:g} rad',
            'Move the arm home: ros2 service call /planner/go_home std_srvs/srv/Trigger.',
        )
    return ok(f'{away[worst]:.2f} rad from it at most')


def _positions(snapshot: Snapshot) -> Vector:
    seen, names = snapshot.joints, snapshot.robot.joint_names
    return joints_in_order(list(seen.names), seen.positions, names, 'positions')
