"""What the values of a robot file must keep to."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from mil_ros.core.errors import ConfigError
from mil_ros.core.types import AUTO, COMMANDED, MEASURED

if TYPE_CHECKING:
    from mil_ros.core.robot import RobotDescription

_UNITS = {'hz': ' Hz', 's': ' s', 'rad': ' rad'}


def check_robot(robot: RobotDescription) -> None:
    """Refuse values that contradict each other or make no sense.

    Raises:
        ConfigError: For the first that is found.
    """
    _check_joints(robot)
    _check_numbers(robot)
    _check_home(robot)
    _check_action(robot)
    _check_tool(robot)
    _check_moveit(robot)


def _check_joints(robot: RobotDescription) -> None:
    names = robot.joint_names
    if len(set(names)) != len(names):
        raise ConfigError(f'{robot.name}: joint names {list(names)} repeat; each must be unique.')
    for joint in robot.joints:
        if not joint.lower_rad < joint.upper_rad:
            raise ConfigError(
                f'{robot.name}: {joint.name} has lower_rad={joint.lower_rad} and '
                f'upper_rad={joint.upper_rad}; expected lower below upper.'
            )
        if not (0 < joint.velocity_rad_s < math.inf and 0 < joint.acceleration_rad_s2 < math.inf):
            raise ConfigError(
                f'{robot.name}: {joint.name} has velocity {joint.velocity_rad_s} rad/s and '
                f'acceleration {joint.acceleration_rad_s2} rad/s^2; expected both above 0 and '
                'finite.'
            )
        if not joint.jerk_rad_s3 > 0:
            raise ConfigError(
                f'{robot.name}: {joint.name} has jerk_rad_s3={joint.jerk_rad_s3}; expected it '
                'above 0, or leave it out for no limit.'
            )


def _check_home(robot: RobotDescription) -> None:
    names = robot.joint_names
    if len(robot.home_rad) != len(names):
        raise ConfigError(
            f'{robot.name}: home_rad has {len(robot.home_rad)} values, expected {len(names)}, '
            'one for each joint.'
        )
    inside = (robot.lower_limits < robot.home) & (robot.home < robot.upper_limits)
    for name, ok, value in zip(names, inside, robot.home_rad, strict=True):
        if not ok:
            raise ConfigError(
                f'{robot.name}: home_rad of {name} is {value}; expected it inside the position '
                'limits less the margin.'
            )


def _check_numbers(robot: RobotDescription) -> None:
    """Check every number of the sections against its range."""
    camera, policy = robot.camera, robot.policy
    ranges = {
        'limits.velocity_fraction': (robot.limits.velocity_fraction, 0.0, 1.0),
        'limits.acceleration_fraction': (robot.limits.acceleration_fraction, 0.0, 1.0),
        'camera.width': (camera.width, 0, 10_000),
        'camera.height': (camera.height, 0, 10_000),
        'camera.rate_hz': (camera.rate_hz, 0.0, 1000.0),
        'camera.max_age_s': (camera.max_age_s, 0.0, 10.0),
        'joint_states.rate_hz': (robot.joint_states.rate_hz, 0.0, 10_000.0),
        'joint_states.max_age_s': (robot.joint_states.max_age_s, 0.0, 10.0),
        'policy.rate_hz': (policy.rate_hz, 0.0, 1000.0),
        'policy.image_width': (policy.image_width, 0, camera.width),
        'policy.image_height': (policy.image_height, 0, camera.height),
        'policy.max_run_s': (policy.max_run_s, 0.0, 3600.0),
        'policy.start_tolerance_rad': (policy.start_tolerance_rad, 0.0, 10.0),
        'guard.rate_hz': (robot.guard.rate_hz, 0.0, 1000.0),
        'guard.source_timeout_s': (robot.guard.source_timeout_s, 0.0, 1.0),
        'guard.policy_timeout_s': (robot.guard.policy_timeout_s, 0.0, 1.0),
        'limits.jerk_fraction': (robot.limits.jerk_fraction, 0.0, 1.0),
    }
    for key, (value, above, most) in ranges.items():
        if not above < value <= most:  # also refuses NaN
            unit = _UNITS.get(key.rsplit('_', 1)[-1], '')
            raise ConfigError(
                f'{robot.name}: {key} is {value}; expected ({above:g}, {most:g}]{unit}.'
            )
    margin = robot.limits.position_margin_rad
    if not 0.0 <= margin < math.inf:
        raise ConfigError(
            f'{robot.name}: limits.position_margin_rad is {margin}; expected 0 or more rad.'
        )


def _check_action(robot: RobotDescription) -> None:
    action, known = robot.action, (AUTO, COMMANDED, MEASURED)
    if action.source not in known:
        raise ConfigError(
            f'{robot.name}: action.source is {action.source!r}; expected one of '
            f'{", ".join(known)}.'
        )
    nyquist_hz = robot.joint_states.rate_hz / 2.0
    if action.source != COMMANDED and not 0.0 < action.cutoff_hz < nyquist_hz:
        raise ConfigError(
            f'{robot.name}: action.cutoff_hz is {action.cutoff_hz}; expected above 0 and below '
            f'half of joint_states.rate_hz, {nyquist_hz:g} Hz.'
        )


def _check_tool(robot: RobotDescription) -> None:
    tool, name = robot.tool, robot.name
    if not 0.0 <= tool.speed_m_s < math.inf:
        raise ConfigError(f'{name}: tool.speed_m_s is {tool.speed_m_s}; expected 0 or more m/s.')
    low, high = tool.workspace_lower_m, tool.workspace_upper_m
    if len(low) != len(high) or len(low) not in (0, 3):
        raise ConfigError(
            f'{name}: tool.workspace_lower_m has {len(low)} values and workspace_upper_m '
            f'{len(high)}; expected 3 each (x, y, z in m), or none.'
        )
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise ConfigError(
            f'{name}: tool.workspace_lower_m is {list(low)} and workspace_upper_m {list(high)}; '
            'expected every value of the first below that of the second.'
        )
    if not tool.link and (tool.speed_m_s or low):
        raise ConfigError(
            f'{name}: tool has limits but no link; expected the name of a link of the URDF.'
        )


def _check_moveit(robot: RobotDescription) -> None:
    named = dataclasses.asdict(robot.moveit)
    missing = sorted(key for key, value in named.items() if not value)
    if missing and len(missing) < len(named):
        raise ConfigError(
            f'{robot.name}: moveit lacks {", ".join(missing)}; expected all of '
            f'{", ".join(sorted(named))}, or no section moveit for an arm without MoveIt.'
        )
