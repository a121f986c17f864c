"""The robot file: one description of an arm for every node, the trainer and the simulator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot_checks import check_robot
from mil_ros.core.types import AUTO


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """One joint as its maker rates it; the fractions in `Limits` apply on top.

    `jerk_rad_s3` may be left out: the change of acceleration is not limited then.
    """

    name: str
    lower_rad: float
    upper_rad: float
    velocity_rad_s: float
    acceleration_rad_s2: float
    jerk_rad_s3: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of the arm's rating is used, each fraction in (0, 1]."""

    velocity_fraction: float
    acceleration_fraction: float
    position_margin_rad: float
    jerk_fraction: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Where the arm and its camera are found."""

    joint_states: str
    image: str
    command: str
    servo_status: str
    switch_command_type: str
    pause_servo: str = '/servo_node/pause_servo'
    robot_description: str = '/robot_description'


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """The one fixed camera; `max_age_s` is how old a frame may be and still be acted on."""

    width: int
    height: int
    rate_hz: float
    max_age_s: float
    frame_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JointStates:
    """The joint state stream; `max_age_s` as for the camera."""

    rate_hz: float
    max_age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRate:
    """What the policy sees (image size) and how often it acts."""

    rate_hz: float
    image_width: int
    image_height: int
    max_run_s: float
    start_tolerance_rad: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """The command stream: rate, how long a silent source keeps its say, and the deadman switch.

    With `deadman`, the arm moves only while a fresh True comes on ``/teleop/deadman``. A person
    at a joystick has `source_timeout_s`; the policy, which repeats its command faster than it
    makes them, `policy_timeout_s`.
    """

    rate_hz: float
    source_timeout_s: float
    deadman: bool
    policy_timeout_s: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Limits at the tool, by the URDF's kinematics; a robot file may leave all of it out.

    Attributes:
        link: Of the URDF, whose origin is limited; empty for no limit.
        speed_m_s: Its highest speed; 0 for no cap.
        workspace_lower_m: Corner of the box that it must stay in, (3,) in the URDF's root frame;
            empty for no box.
        workspace_upper_m: The opposite corner.
    """

    link: str = ''
    speed_m_s: float = 0.0
    workspace_lower_m: tuple[float, ...] = ()
    workspace_upper_m: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveIt:
    """Where MoveIt's configuration of the arm is found; a robot file may leave all of it out.

    Attributes:
        group: Planning group of the arm; empty for an arm without MoveIt.
        config_package: Vendor's package with the MoveIt configuration.
        config_name: Robot name that MoveItConfigsBuilder is given.
    """

    group: str = ''
    config_package: str = ''
    config_name: str = ''


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionSettings:
    """What of an episode is the demonstrated action; a robot file may leave all of it out.

    Attributes:
        source: ``commanded`` for the velocities a teleoperator asked for, ``measured`` for those
            of the arm (hand guiding, a leader arm, a pendant), ``auto`` for the commands where
            any were recorded and the measurement where not.
        cutoff_hz: Measured velocities are low-pass filtered; half the policy's rate suits.
    """

    source: str = AUTO
    cutoff_hz: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RobotDescription:
    """A validated robot file.

    Attributes:
        name: Robot file name without suffix.
        joints: In the order used by every array of the package.
        home_rad: Start pose, one value per joint.
        sha256: Hash of the file's bytes, recorded in episodes and bundles.
    """

    name: str
    joints: tuple[Joint, ...]
    home_rad: tuple[float, ...]
    limits: Limits
    topics: Topics
    camera: Camera
    joint_states: JointStates
    policy: PolicyRate
    guard: GuardSettings
    action: ActionSettings = ActionSettings()
    tool: Tool = Tool()
    moveit: MoveIt = MoveIt()
    sha256: str = ''

    def __post_init__(self) -> None:
        check_robot(self)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joint names in order."""
        return tuple(joint.name for joint in self.joints)

    @property
    def velocity_limits(self) -> NDArray[np.float64]:
        """Speed limit in use per joint, (J,) in rad/s."""
        return np.array([j.velocity_rad_s for j in self.joints]) * self.limits.velocity_fraction

    @property
    def acceleration_limits(self) -> NDArray[np.float64]:
        """Acceleration limit in use per joint, (J,) in rad/s^2."""
        rated = np.array([j.acceleration_rad_s2 for j in self.joints])
        return rated * self.limits.acceleration_fraction

    @property
    def jerk_limits(self) -> NDArray[np.float64]:
        """Jerk limit in use per joint, (J,) in rad/s^3; infinite where there is none."""
        return np.array([j.jerk_rad_s3 for j in self.joints]) * self.limits.jerk_fraction

    @property
    def rated_velocities(self) -> NDArray[np.float64]:
        """Speed that the maker allows per joint, (J,) in rad/s; no command may ask for more."""
        return np.array([j.velocity_rad_s for j in self.joints])

    @property
    def lower_limits(self) -> NDArray[np.float64]:
        """Lowest allowed position per joint, margin included, (J,) in rad."""
        return np.array([j.lower_rad for j in self.joints]) + self.limits.position_margin_rad

    @property
    def upper_limits(self) -> NDArray[np.float64]:
        """Highest allowed position per joint, margin included, (J,) in rad."""
        return np.array([j.upper_rad for j in self.joints]) - self.limits.position_margin_rad

    @property
    def home(self) -> NDArray[np.float64]:
        """Start pose, (J,) in rad."""
        return np.array(self.home_rad)


def find_robot(name_or_path: str | Path) -> Path:
    """Return where a robot file is or would be, by shipped name or by path."""
    path = Path(name_or_path)
    if path.suffix == '.yaml':
        return path
    return share_dir() / 'config' / 'robots' / f'{name_or_path}.yaml'


def load_robot(name_or_path: str | Path) -> RobotDescription:
    """Read a robot file by shipped name (``sim_panda``) or by path.

    Raises:
        ConfigError: If it is missing, not YAML, has unknown or missing keys, or makes no sense.
    """
    path = find_robot(name_or_path)
    if not path.is_file():
        shipped = sorted(p.stem for p in (share_dir() / 'config' / 'robots').glob('*.yaml'))
        raise ConfigError(
            f'No robot file {str(name_or_path)!r}; expected a path to a .yaml file or one of '
            f'{", ".join(shipped)}.'
        )
    raw = path.read_bytes()
    try:
        document = yaml.safe_load(raw)
    except yaml.YAMLError as err:
        raise ConfigError(f'Robot file {path} is not valid YAML: {err}') from err
    where = path.name
    fields = _section(document, RobotDescription, where, skip=('name', 'sha256'))
    joints = fields.pop('joints')
    if not isinstance(joints, list) or not joints:
        raise ConfigError(f'{where}: joints is {joints!r}; expected a list of joint entries.')
    parsed: dict[str, Any] = {
        'joints': tuple(_build(Joint, j, f'{where}: joints[{i}]') for i, j in enumerate(joints)),
        'home_rad': _floats(fields.pop('home_rad'), f'{where}: home_rad'),
    }
    sections = {
        'limits': Limits,
        'topics': Topics,
        'camera': Camera,
        'joint_states': JointStates,
        'policy': PolicyRate,
        'guard': GuardSettings,
        'action': ActionSettings,
        'tool': Tool,
        'moveit': MoveIt,
    }
    for key in [key for key in sections if key in fields]:
        parsed[key] = _build(sections[key], fields[key], f'{where}: {key}')
    digest = hashlib.sha256(raw).hexdigest()
    return RobotDescription(name=path.stem, sha256=digest, **parsed)


def _section(
    document: object, kind: type, where: str, skip: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return `document` as a mapping of the fields of `kind`; those with a default may lack."""
    known = [f for f in dataclasses.fields(kind) if f.name not in skip]
    expected = {f.name for f in known}
    required = {f.name for f in known if f.default is dataclasses.MISSING}
    if not isinstance(document, dict):
        raise ConfigError(f'{where} is {document!r}; expected a mapping of {sorted(expected)}.')
    unknown, missing = set(document) - expected, required - set(document)
    if unknown or missing:
        raise ConfigError(
            f'{where} has unknown keys {sorted(map(str, unknown))} and lacks {sorted(missing)}; '
            f'expected exactly {sorted(expected)}.'
        )
    return dict(document)


def _build(kind: type, document: object, where: str) -> Any:
    """Build a flat dataclass from a mapping, converting and checking each value's type."""
    values = _section(document, kind, where)
    for field in dataclasses.fields(kind):
        if field.name not in values:
            continue
        value, wanted = values[field.name], str(field.type)
        is_bool = isinstance(value, bool)
        if wanted.startswith('tuple'):
            values[field.name] = _floats(value, f'{where}.{field.name}')
            continue
        accepted = {
            'float': isinstance(value, int | float) and not is_bool,
            'int': isinstance(value, int) and not is_bool,
            'bool': is_bool,
            'str': isinstance(value, str),
        }
        if not accepted[wanted]:
            raise ConfigError(f'{where}.{field.name} is {value!r}; expected a {wanted}.')
        values[field.name] = float(value) if wanted == 'float' else value
    return kind(**values)


def _floats(document: object, where: str) -> tuple[float, ...]:
    try:
        return tuple(float(v) for v in document)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise ConfigError(f'{where} is {document!r}; expected a list of numbers.') from None
