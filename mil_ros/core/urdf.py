"""What a URDF says of the joints, and whether the robot file agrees.

The text comes over the network, from whoever publishes ``/robot_description``: it is parsed
without document type, so that no entity is expanded and no file is fetched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
import difflib
import math
from xml.etree import ElementTree

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import Joint, RobotDescription

_TURNING = ('revolute', 'continuous')
_ROUNDING = 1e-3  # rad or rad/s by which a robot file may round up
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UrdfJoint:
    """One joint of a URDF; limits that it does not state are infinite.

    Attributes:
        kind: ``revolute``, ``continuous``, ``prismatic``, ``fixed``, ``floating`` or ``planar``.
        lower: In rad, or m if prismatic.
        upper: Likewise.
        velocity: In rad/s, or m/s if prismatic.
        is_mimic: Whether it only follows another joint.
    """

    name: str
    kind: str
    lower: float = -math.inf
    upper: float = math.inf
    velocity: float = math.inf
    is_mimic: bool = False


def read_joints(text: str) -> dict[str, UrdfJoint]:
    """Return the joints of a URDF by name.

    Raises:
        ConfigError: If it is no URDF, or a joint is incomplete or there twice.
    """
    if '<!DOCTYPE' in text:
        raise ConfigError(
            'The URDF has a document type (<!DOCTYPE), which could make its reader expand '
            'entities or open files, expected none; remove it.'
        )
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as err:
        raise ConfigError(
            f'The URDF is not well-formed XML ({err}), expected a complete document; check it '
            'with check_urdf of liburdfdom-tools.'
        ) from None
    if root.tag != 'robot':
        raise ConfigError(
            f'The URDF begins with <{root.tag}>, expected <robot>; publish a URDF as '
            'robot_state_publisher does.'
        )
    joints: dict[str, UrdfJoint] = {}
    for element in root.findall('joint'):
        joint = _read_joint(element)
        if joint.name in joints:
            raise ConfigError(
                f'The URDF has two joints {joint.name!r}, expected each name once; correct it.'
            )
        joints[joint.name] = joint
    return joints


def check_urdf(robot: RobotDescription, text: str) -> None:
    """Compare a robot file with the URDF of the arm that runs.

    Raises:
        ConfigError: If a joint is missing or cannot be jogged, or if the robot file allows more
            than the URDF.
    """
    known = read_joints(text)
    for joint in robot.joints:
        if joint.name not in known:
            raise ConfigError(_explain_missing(robot, joint.name, known))
        _check_kind(robot, known[joint.name])
        _check_limits(robot, joint, known[joint.name])


def name_near(name: str, known: Collection[str]) -> str:
    """Return those names that are most like one that was not found, for a message."""
    near = difflib.get_close_matches(name, known, n=_SHOWN, cutoff=0.5) or list(known)
    more = '' if len(near) <= _SHOWN else ', ...'
    return ', '.join(near[:_SHOWN]) + more if near else 'it has none'


def _read_joint(element: ElementTree.Element) -> UrdfJoint:
    name, kind = element.get('name', ''), element.get('type', '')
    limit = element.find('limit')
    if kind == 'revolute' and limit is None:
        raise ConfigError(
            f'The URDF has no limits for revolute joint {name!r}, expected an element <limit>; '
            'add it, or make the joint continuous.'
        )
    limits: dict[str, float] = {}
    # By the URDF's specification, what a limit does not say of the position is zero
    for key, default in (('lower', '0'), ('upper', '0'), ('velocity', 'inf')):
        if limit is not None and not (kind == 'continuous' and key != 'velocity'):
            limits[key] = _read_number(name, key, limit.get(key, default))
    is_mimic = element.find('mimic') is not None
    return UrdfJoint(name=name, kind=kind, is_mimic=is_mimic, **limits)


def _read_number(name: str, key: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if math.isnan(number):
        raise ConfigError(
            f'The URDF has {key}={value!r} for joint {name!r}, expected a number; publish it as '
            'xacro writes it.'
        )
    return number


def _explain_missing(robot: RobotDescription, name: str, known: Collection[str]) -> str:
    """Say which joint is not there, and whether all are there under a prefix."""
    got = f'The URDF on {robot.topics.robot_description} has no joint {name!r}'
    for other in sorted(known):
        prefix = other.removesuffix(name)
        if prefix != other and all(prefix + each in known for each in robot.joint_names):
            return (
                f'{got} but {other!r}, expected the joint names of robot file {robot.name}; '
                f'write the prefix {prefix!r} before all of them there, or start the driver '
                'without it.'
            )
    return (
        f'{got} but {name_near(name, known)}, expected the joint names of robot file '
        f'{robot.name}; choose the robot file of this arm, or correct its names.'
    )


def _check_kind(robot: RobotDescription, joint: UrdfJoint) -> None:
    if joint.is_mimic or joint.kind not in _TURNING:
        kind = 'follows another joint' if joint.is_mimic else f'is {joint.kind or "of no type"}'
        raise ConfigError(
            f'Joint {joint.name!r} {kind} in the URDF on {robot.topics.robot_description}, '
            f'expected one that turns ({" or ".join(_TURNING)}) and can be jogged; take it out '
            f'of robot file {robot.name}.'
        )


def _check_limits(robot: RobotDescription, joint: Joint, allowed: UrdfJoint) -> None:
    rated = {
        'lower_rad': (-joint.lower_rad, -allowed.lower, allowed.lower, 'at least'),
        'upper_rad': (joint.upper_rad, allowed.upper, allowed.upper, 'at most'),
        'velocity_rad_s': (joint.velocity_rad_s, allowed.velocity, allowed.velocity, 'at most'),
    }
    for key, (value, most, shown, word) in rated.items():
        if value > most + _ROUNDING:
            raise ConfigError(
                f'Robot file {robot.name} has {key}={getattr(joint, key):g} for joint '
                f'{joint.name!r}, expected {word} {shown:g} as in the URDF on '
                f'{robot.topics.robot_description}; correct the robot file.'
            )
