"""Which ROS distributions have the MoveIt Servo that this package talks to: Jazzy and newer."""

from __future__ import annotations

from collections.abc import Mapping
import os
from typing import Final

from mil_ros.core.errors import ConfigError

try:
    from moveit_msgs.msg import ServoStatus
    from moveit_msgs.srv import ServoCommandType
except ImportError:  # Humble has neither; whoever needs them calls `check_distro` first
    ServoStatus = ServoCommandType = None

__all__ = ['ServoCommandType', 'ServoStatus', 'check_distro']

_TOO_OLD: Final = ('foxy', 'galactic', 'humble')


def check_distro(environment: Mapping[str, str] | None = None) -> None:
    """Refuse a ROS distribution whose Servo would not understand the guard, nor the other way.

    Args:
        environment: Instead of the variables of this process.

    Raises:
        ConfigError: If it is too old or MoveIt's messages are not installed.
    """
    variables = os.environ if environment is None else environment
    distro = variables.get('ROS_DISTRO', '')
    if distro in _TOO_OLD:
        raise ConfigError(
            f'ROS_DISTRO is {distro!r}, whose MoveIt Servo is not switched to joint jogging by a '
            'service and numbers its status otherwise (4 there is a halt, here it is none); '
            'expected jazzy or newer.'
        )
    if ServoStatus is None:
        raise ConfigError(
            f'moveit_msgs has no ServoStatus (ROS_DISTRO is {distro!r}); expected the messages of '
            'MoveIt for jazzy or newer: install ros-jazzy-moveit-msgs.'
        )
