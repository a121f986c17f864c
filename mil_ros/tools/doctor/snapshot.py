"""What was seen of a graph, frozen: all that the checks know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from rclpy.qos import QoSProfile

from mil_ros.core.robot import RobotDescription
from mil_ros.core.streams import StreamTimes
from mil_ros.inference.bundle import Bundle

JOINT_STATE = 'sensor_msgs/msg/JointState'
IMAGE = 'sensor_msgs/msg/Image'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
JOINT_JOG = 'control_msgs/msg/JointJog'
TEXT = 'std_msgs/msg/String'
SERVO_STATUS = 'moveit_msgs/msg/ServoStatus'
SWITCH = 'moveit_msgs/srv/ServoCommandType'
PAUSE = 'std_srvs/srv/SetBool'
CLOCK = '/clock'
DEADMAN = '/teleop/deadman'
GUARD, CONTROL = '/guard', '/control'
GUARD_STATE, CONTROL_STATE = '/guard/state', '/control/state'
JOGS = ('/teleop/joint_jog', '/planner/joint_jog', '/control/joint_jog')
LIST_CONTROLLERS = '/controller_manager/list_controllers'


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A publisher or a subscription: its node's full name, message type and QoS."""

    node: str
    kind: str
    qos: QoSProfile


@dataclass(frozen=True, slots=True)
class Topic:
    """Who publishes a topic and who listens."""

    publishers: tuple[Endpoint, ...] = ()
    subscriptions: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """The types of a service and the full names of the nodes that serve it."""

    kinds: tuple[str, ...]
    nodes: tuple[str, ...]


def no_times(topic: str = '') -> StreamTimes:
    """Return the times of a stream of which nothing came."""
    nothing = np.zeros(0, dtype=np.int64)
    return StreamTimes(topic, nothing, nothing)


@dataclass(frozen=True, slots=True)
class JointStream:
    """Joint states that name the same joints; several publishers may share the topic.

    Attributes:
        names: Joints, as the messages order them.
        times: When the messages came.
        positions: Of the newest message, in rad.
        velocities: Of the newest message, in rad/s.
        motion_rad: The widest range that a joint moved in.
        non_finite: Messages with a value that is no finite number.
    """

    names: tuple[str, ...]
    times: StreamTimes
    positions: tuple[float, ...]
    velocities: tuple[float, ...]
    motion_rad: float = 0.0
    non_finite: int = 0


@dataclass(frozen=True, slots=True)
class ImageStream:
    """The images that came.

    Attributes:
        times: When they came.
        digests: Of the pixels of each.
        encoding: Of the newest, as its other attributes.
        width: In pixels.
        height: In pixels.
        brightness: Mean of all pixels and channels, 0 to 255.
        contrast: Standard deviation of them.
        fault: Why it cannot be turned into RGB; empty if it can.
    """

    times: StreamTimes = field(default_factory=no_times)
    digests: tuple[int, ...] = ()
    encoding: str = ''
    width: int = 0
    height: int = 0
    brightness: float = 0.0
    contrast: float = 0.0
    fault: str = ''


@dataclass(frozen=True, slots=True)
class ServoReport:
    """The newest status of Servo."""

    code: int
    message: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """The newest state that a node of ours has published."""

    is_error: bool
    message: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller of ros2_control; `interfaces` are those that it claims, or would claim."""

    name: str
    state: str
    interfaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Switch:
    """The newest message of the deadman switch and how often they come."""

    is_held: bool
    rate_hz: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All of it. What was not seen is empty, None or absent.

    Attributes:
        loaded: The robot file; None if it makes no sense.
        robot_fault: Why not.
        known_robots: Joint names by shipped robot file.
        environment: What decides which graph is seen.
        missing_packages: Message packages that cannot be imported.
        nodes: Full names; a name that two nodes share is there twice.
        topics: Of all topics that the package uses and of those with the same types.
        services: By name.
        joint_states: By the joints that they name.
        images: Of the robot file's camera.
        camera_info: Width, height and first focal length of the newest camera_info.
        servo: Its newest status.
        servo_output: Topic that it sends to; empty if it does not tell.
        logs: Warnings and errors that were logged, each ``node: text``.
        clock_ticks: How many messages came on ``/clock``.
        sim_time: Which nodes follow ``/clock``, by node.
        states: Of guard and control, by topic.
        lifecycle: State of the control node; empty if it did not answer.
        deadman: What came from the deadman switch.
        controllers: None if no controller manager was asked.
        controllers_reason: Why not.
        bundle: The bundle that shall run.
        bundle_fault: Why it cannot be read.
        seconds: How long was looked.
        end_ns: When that was over, by the clock that messages are received by.
    """

    loaded: RobotDescription | None
    robot_fault: str = ''
    known_robots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    missing_packages: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    topics: Mapping[str, Topic] = field(default_factory=dict)
    services: Mapping[str, Service] = field(default_factory=dict)
    joint_states: tuple[JointStream, ...] = ()
    images: ImageStream = field(default_factory=ImageStream)
    camera_info: tuple[int, int, float] | None = None
    servo: ServoReport | None = None
    servo_output: str = ''
    logs: tuple[str, ...] = ()
    clock_ticks: int = 0
    sim_time: Mapping[str, bool] = field(default_factory=dict)
    states: Mapping[str, NodeState] = field(default_factory=dict)
    lifecycle: str = ''
    deadman: Switch | None = None
    controllers: tuple[Controller, ...] | None = None
    controllers_reason: str = ''
    bundle: Bundle | None = None
    bundle_fault: str = ''
    seconds: float = 0.0
    end_ns: int = 0

    @property
    def robot(self) -> RobotDescription:
        """The robot file, for checks that need a valid one."""
        assert self.loaded is not None, 'the check must need robot_file'
        return self.loaded

    @property
    def joints(self) -> JointStream:
        """The joint states that have most of the arm's joints."""
        expected = set(self.robot.joint_names)
        nothing = JointStream((), no_times(self.robot.topics.joint_states), (), ())
        return max(
            self.joint_states,
            key=lambda stream: len(expected & set(stream.names)),
            default=nothing,
        )

    def publishers(self, topic: str) -> tuple[Endpoint, ...]:
        """Return who publishes a topic."""
        return self.topics.get(topic, Topic()).publishers

    def subscriptions(self, topic: str) -> tuple[Endpoint, ...]:
        """Return who listens to a topic."""
        return self.topics.get(topic, Topic()).subscriptions


def camera_info_topic(robot: RobotDescription) -> str:
    """Return where the camera of a robot file says how it sees."""
    return robot.topics.image.rsplit('/', 1)[0] + '/camera_info'


def list_names(names: Iterable[str]) -> str:
    """Return names for a sentence, each once, in order."""
    return ', '.join(sorted(set(names)))
