"""``mil doctor``: its options, and the mistakes that a user can make with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from mil_ros.core.errors import BundleError, ConfigError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.inference.bundle import Bundle, load_bundle, MANIFEST

_MIN_S: Final = 1.0
_MAX_S: Final = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil doctor``."""
    parser.add_argument('--robot', default='sim_panda', help='robot file: a name or a .yaml')
    parser.add_argument('--bundle', type=Path, help='policy bundle that shall run on it')
    parser.add_argument('--seconds', type=float, default=3.0, help='how long to look')
    parser.add_argument('--json', type=Path, help='write the findings to this file')


def run(args: argparse.Namespace) -> int:
    """Look at the graph and show what was found; 1 if a check failed, else 0."""
    if not _MIN_S <= args.seconds <= _MAX_S:  # also refuses NaN
        raise ConfigError(
            f'Got --seconds {args.seconds:g}; expected {_MIN_S:g} to {_MAX_S:g}, long enough to '
            'hear of all nodes.'
        )
    robot, robot_fault = _read_robot(args.robot)
    bundle, bundle_fault = (None, '') if args.bundle is None else _read_bundle(args.bundle)
    try:
        import rclpy  # noqa: F401
    except ImportError as err:
        raise ConfigError(
            f'ROS 2 cannot be imported ({err}); expected its setup to be sourced, run '
            '`source /opt/ros/$ROS_DISTRO/setup.bash` first.'
        ) from err
    from mil_ros.tools.doctor.session import consult
    from mil_ros.tools.doctor.snapshot import Snapshot

    known = Snapshot(
        loaded=robot, robot_fault=robot_fault, bundle=bundle, bundle_fault=bundle_fault
    )
    name = Path(args.robot).stem if robot is None else robot.name
    return consult(name, known, args.seconds, args.json)


def _read_robot(name: str) -> tuple[RobotDescription | None, str]:
    """Return a robot, or what is wrong with its file; a file that is not there is a mistake."""
    try:
        return load_robot(name), ''
    except ConfigError as err:
        if not Path(name).is_file():
            raise
        return None, str(err)


def _read_bundle(path: Path) -> tuple[Bundle | None, str]:
    """Return a bundle, or what is wrong with it; one that is not there is a mistake."""
    try:
        return load_bundle(path), ''
    except BundleError as err:
        if not (path / MANIFEST).is_file():
            raise
        return None, str(err)
