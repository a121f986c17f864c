"""The nodes that decide, and the bundle that shall run: guard, deadman, control, policy."""

from __future__ import annotations

from typing import Final

from mil_ros.core.errors import BundleError
from mil_ros.inference.bundle import check_robot
from mil_ros.tools.doctor.checks.check import check
from mil_ros.tools.doctor.findings import (
    failed,
    Finding,
    from_sentence,
    ok,
    skipped,
    warning,
)
from mil_ros.tools.doctor.snapshot import (
    CONTROL,
    CONTROL_STATE,
    DEADMAN,
    GUARD,
    GUARD_STATE,
    list_names,
    Snapshot,
)

_START: Final = 'Start it: ros2 launch mil_ros bringup.launch.py.'
_DEADMAN_HZ: Final = 10.0  # slower, and the guard takes it for released
_TRANSITIONS: Final = {'unconfigured': 'configure', 'inactive': 'activate'}


@check('nodes', 'graph')
def guard(snapshot: Snapshot) -> Finding:
    """The guard is there and lets commands through."""
    if GUARD not in snapshot.nodes:
        return failed(f'no {GUARD}', 'the guard, without which nothing moves', _START)
    state = snapshot.states.get(GUARD_STATE)
    if state is None:
        return failed(
            f'{GUARD} says nothing on {GUARD_STATE}',
            'its state twice a second',
            'See its log, and restart it.',
        )
    if state.is_error:
        return failed(
            f'in fault: {state.message}',
            'no fault',
            'Remove the cause, then: ros2 service call /guard/reset std_srvs/srv/Trigger.',
        )
    if state.values.get('state') == 'waiting':
        return failed(
            f'waiting: {state.message}',
            'ready',
            'It lacks joint states or the status of Servo; see the checks of these.',
        )
    return ok(state.values.get('state', state.message))


@check('nodes', 'graph')
def deadman(snapshot: Snapshot) -> Finding:
    """Somebody has the deadman switch in hand, where the robot file asks for one."""
    if not snapshot.robot.guard.deadman:
        return skipped('the robot file asks for none (guard.deadman)')
    senders = snapshot.publishers(DEADMAN)
    seen = snapshot.deadman
    if not senders or seen is None:
        return failed(
            f'nobody publishes {DEADMAN}' if not senders else f'nothing comes on {DEADMAN}',
            f'std_msgs/msg/Bool, {_DEADMAN_HZ:g} times a second or more',
            'Start the node of the joystick or pedal that tells whether the switch is held.',
        )
    if seen.rate_hz < _DEADMAN_HZ:
        return failed(
            f'{DEADMAN} comes at {seen.rate_hz:.1f} Hz',
            f'{_DEADMAN_HZ:g} Hz or more',
            f'Have {list_names(e.node for e in senders)} repeat it; silence counts as released.',
        )
    return ok(f'{"held" if seen.is_held else "released"}, at {seen.rate_hz:.0f} Hz')


@check('nodes', 'graph')
def control(snapshot: Snapshot) -> Finding:
    """The control node is there and armed."""
    if CONTROL not in snapshot.nodes:
        return failed(f'no {CONTROL}', 'the control node, which runs the policy', _START)
    if not snapshot.lifecycle:
        return failed(
            f'{CONTROL} does not tell its lifecycle state',
            'active',
            'See its log, and restart it.',
        )
    if snapshot.lifecycle != 'active':
        transition = _TRANSITIONS.get(snapshot.lifecycle, 'configure')
        return warning(
            snapshot.lifecycle,
            'active',
            f'ros2 lifecycle set {CONTROL} {transition}.',
        )
    state = snapshot.states.get(CONTROL_STATE)
    values = state.values if state else {}
    how = 'dry run' if values.get('dry_run') == 'True' else 'the arm will move'
    return ok(f'active, {how}, policy {values.get("policy") or "none yet"}')


@check('policy', 'robot_file')
def bundle(snapshot: Snapshot) -> Finding:
    """The bundle is whole and was made for this robot."""
    if snapshot.bundle_fault:
        return from_sentence(snapshot.bundle_fault, 'Export the bundle again.')
    if snapshot.bundle is None:
        return skipped('give one with --bundle')
    try:
        check_robot(snapshot.bundle, snapshot.robot)
    except BundleError as err:
        return from_sentence(str(err), 'Use a bundle that was trained for this robot.')
    return ok(f'{snapshot.bundle.name} ({snapshot.bundle.sha256[:12]}) fits')
