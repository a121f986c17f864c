"""Parameters of the recorder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from mil_ros.core.buttons import Buttons
from mil_ros.core.errors import ConfigError
from mil_ros.data.mcap_format import COMPRESSORS
from mil_ros.data.recorder import Settings
from mil_ros.ros.parameters import parameter

_LATCHED_TOPICS = ['/robot_description', '/tf_static']
_BUTTONS = ('start', 'stop', 'discard')


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderParameters:
    """What is fixed while the node runs."""

    robot: str = parameter('robot file: a shipped name or a path', 'sim_panda')
    directory: str = parameter('folder that episodes go into', str(Path.home() / 'mil_episodes'))
    preroll_s: float = parameter('time before a start that belongs to it, s', 0.5, 0.0, 5.0)
    queue_mb: int = parameter('how much may wait for the disk, MB', 256, 16, 8192)
    min_free_mb: int = parameter('what must be free on the disk, MB', 500, 0, 1_000_000)
    compression: str = parameter('of chunks: lz4, zstd or empty', '')
    joy_topic: str = parameter('sensor_msgs/Joy of the buttons', '/joy')
    joy_start_button: int = parameter('button that starts, -1 for none', -1, -1, 63)
    joy_stop_button: int = parameter('button that stops, -1 for none', -1, -1, 63)
    joy_discard_button: int = parameter('button that discards, -1 for none', -1, -1, 63)

    def __post_init__(self) -> None:
        if self.compression not in ('', *COMPRESSORS):
            raise ConfigError(
                f'Parameter compression is {self.compression!r}; expected one of '
                f'{["", *COMPRESSORS]}.'
            )

    @property
    def settings(self) -> Settings:
        """Where and how to record."""
        return Settings(
            directory=Path(self.directory).expanduser(),
            preroll_s=self.preroll_s,
            queue_mb=self.queue_mb,
            min_free_mb=self.min_free_mb,
            compression=self.compression,
        )

    def make_buttons(self) -> Buttons:
        """Return the buttons of the joystick.

        Raises:
            ConfigError: If two actions share one.
        """
        return Buttons({verb: getattr(self, f'joy_{verb}_button') for verb in _BUTTONS})


def declare_labels(node: Node) -> None:
    """Declare what is read at each start: ``task`` and ``operator``."""
    for name, description in (('task', 'what is demonstrated'), ('operator', 'who demonstrates')):
        node.declare_parameter(name, '', ParameterDescriptor(description=description))


def declare_topics(node: Node) -> set[str]:
    """Declare and return the topics to record beside those of the robot file.

    Raises:
        ConfigError: If they are no list of names.
    """
    about = ParameterDescriptor(description='topics to record as well', read_only=True)
    try:
        return set(node.declare_parameter('topics', _LATCHED_TOPICS, about).value) - {''}
    except InvalidParameterTypeException as err:
        raise ConfigError(
            f"Parameter topics cannot be used ({err}); expected a list such as ['/tf_static']."
        ) from err
