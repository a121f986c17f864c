"""The topics that are recorded: subscriptions that fit whatever their publishers offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
import importlib
import time
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    qos_check_compatible,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
import yaml

from mil_ros.core.errors import EpisodeError
from mil_ros.core.meter import StreamMeter
from mil_ros.core.streams import Expectation
from mil_ros.data.definitions import describe_type

_LARGE = (
    'sensor_msgs/msg/Image',
    'sensor_msgs/msg/CompressedImage',
    'sensor_msgs/msg/PointCloud2',
)
_DEPTH = 1000  # messages; two seconds of a fast joint state stream
_LARGE_DEPTH = 120  # two seconds of a fast camera
_ABSENT_S = 1.0  # a stall that is shorter may pass; the verdict will tell


class Source:
    """One topic.

    A subscription that asks for more than a publisher offers gets nothing, and one that asks for
    less may lose messages and gets no latched ones. So it asks for just what all of them offer,
    and is made anew when that changes.
    """

    def __init__(
        self,
        node: Node,
        topic: str,
        kind: str,
        expected: Expectation | None,
        on_message: Callable[[Source, bytes], None],
    ) -> None:
        """Subscribe to a topic that need not exist yet.

        Args:
            node: Whose subscription it is.
            topic: Its name.
            kind: Its type, such as ``sensor_msgs/msg/Image``.
            expected: What it must be like; None if it need not come at all.
            on_message: Is called with each message as it came.

        Raises:
            EpisodeError: If the type is not installed.
        """
        self.topic, self.kind, self.expected = topic, kind, expected
        self.meter = StreamMeter(expected)
        self.lost = 0
        self._node, self._on_message = node, on_message
        self._message = _load_type(kind)
        self._qos = QoSProfile(depth=_depth(kind), reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscription: Subscription = self._subscribe()
        self.adapt()

    @property
    def is_latched(self) -> bool:
        """Whether its publishers keep messages for those who come late."""
        return bool(self._qos.durability == DurabilityPolicy.TRANSIENT_LOCAL)

    def adapt(self) -> bool:
        """Ask for what all publishers offer; return whether that was something new."""
        offers = [info.qos_profile for info in self._publishers()]
        if not offers:
            return False
        qos = QoSProfile(
            depth=_depth(self.kind),
            reliability=ReliabilityPolicy.RELIABLE
            if all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
            else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
            else DurabilityPolicy.VOLATILE,
        )
        if qos == self._qos:
            return False
        self._qos = qos
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._subscribe()
        return True

    def find_fault(self) -> str:
        """Return why messages of a publisher cannot come; empty if they can."""
        infos = self._publishers()
        foreign = sorted({info.topic_type for info in infos} - {self.kind})
        if foreign:
            return (
                f'{self.topic} is published as {", ".join(foreign)}, expected {self.kind}; '
                'correct the topics of the robot file or the publisher.'
            )
        for info in infos:
            compatible, _ = qos_check_compatible(info.qos_profile, self._qos)
            if compatible == QoSCompatibility.ERROR:
                return (
                    f'{self.topic}: node {info.node_name!r} offers {name_qos(info.qos_profile)}, '
                    f'expected {name_qos(self._qos)} as its other publishers do; nothing comes '
                    'from it. Give all publishers of a topic the same QoS.'
                )
        return ''

    def find_absence(self) -> str:
        """Return why a required topic is not there; empty if it is."""
        if self.expected is None:
            return ''
        age_s = time.monotonic() - self.meter.last_s
        publishers = len(self._publishers())
        wish = f'expected {self.kind} {self.expected.rate_hz:g} times a second'
        if not publishers:
            return (
                f'nobody publishes {self.topic}, {wish}; start the camera or the driver, or '
                'correct the topics of the robot file.'
            )
        if age_s > max(_ABSENT_S, 3.0 / self.expected.rate_hz):
            since = f'for {age_s:.1f} s' if self.meter.count else 'yet'
            return (
                f'nothing came on {self.topic} {since} from its {publishers} publishers, {wish}; '
                'check that they run.'
            )
        return ''

    def describe_offers(self) -> str:
        """Return what the publishers offer as rosbag2 notes it, YAML with numbers."""
        offers = [_to_numbers(info.qos_profile) for info in self._publishers()]
        return yaml.safe_dump(offers, sort_keys=False).strip() if offers else ''

    def _publishers(self) -> Sequence[TopicEndpointInfo]:
        found: Sequence[TopicEndpointInfo] = self._node.get_publishers_info_by_topic(self.topic)
        return found

    def _subscribe(self) -> Subscription:
        return self._node.create_subscription(
            self._message,
            self.topic,
            partial(self._on_message, self),
            self._qos,
            raw=True,
            event_callbacks=SubscriptionEventCallbacks(
                message_lost=self._on_lost,
                use_default_callbacks=False,  # a mismatch is reported by `find_fault`
            ),
        )

    def _on_lost(self, event: Any) -> None:
        self.lost += event.total_count_change


def find_kind(node: Node, topic: str) -> str:
    """Return the type of a topic that somebody publishes; empty if nobody does."""
    infos = node.get_publishers_info_by_topic(topic)
    return str(infos[0].topic_type) if infos else ''


def _load_type(kind: str) -> Any:
    describe_type(kind)
    package, group, name = kind.split('/')
    try:
        return getattr(importlib.import_module(f'{package}.{group}'), name)
    except (ImportError, AttributeError) as err:
        raise EpisodeError(
            f'Message type {kind!r} is not installed ({err}); expected the package {package}. '
            'Source the workspace that has it.'
        ) from err


def _depth(kind: str) -> int:
    return _LARGE_DEPTH if kind in _LARGE else _DEPTH


def name_qos(qos: QoSProfile) -> str:
    """Return the two policies that decide whether anything comes."""
    return f'{qos.reliability.name}, {qos.durability.name}'


def _to_numbers(qos: QoSProfile) -> dict[str, Any]:
    def to_numbers(duration: Any) -> dict[str, int]:
        sec, nsec = divmod(duration.nanoseconds, 1_000_000_000)
        return {'sec': sec, 'nsec': nsec}

    return {
        'history': int(qos.history),
        'depth': int(qos.depth),
        'reliability': int(qos.reliability),
        'durability': int(qos.durability),
        'deadline': to_numbers(qos.deadline),
        'lifespan': to_numbers(qos.lifespan),
        'liveliness': int(qos.liveliness),
        'liveliness_lease_duration': to_numbers(qos.liveliness_lease_duration),
        'avoid_ros_namespace_conventions': bool(qos.avoid_ros_namespace_conventions),
    }
