"""The robot file: one description of an arm for every node, the trainer and the simulator."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import hashlib
import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir
from mil_ros.core.types import COMMANDED, MEASURED

AUTO: Final = 'auto'
_UNITS = {'hz': ' Hz', 's': ' s', 'rad': ' rad'}


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
        _check(self)

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


def _check(robot: RobotDescription) -> None:
    """Raise `ConfigError` where the values contradict each other."""
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
