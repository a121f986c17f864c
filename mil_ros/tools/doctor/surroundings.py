"""Who is in the graph, as discovery tells: nodes, the ends of topics, and services."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from rclpy.node import Node
from rclpy.topic_endpoint_info import TopicEndpointInfo

from mil_ros.core.robot import RobotDescription
from mil_ros.tools.doctor.snapshot import (
    camera_info_topic,
    CLOCK,
    CONTROL,
    DEADMAN,
    Endpoint,
    GUARD,
    IMAGE,
    JOGS,
    JOINT_JOG,
    JOINT_STATE,
    Service,
    SERVO_STATUS,
    Topic,
)

NAME: Final = 'mil_doctor'
_KINDS: Final = {JOINT_STATE, IMAGE, SERVO_STATUS, JOINT_JOG}


def find_nodes(node: Node) -> tuple[str, ...]:
    """Return the full names of all nodes but this one and those of tools, which are hidden."""
    names = [name for name, _, _ in _nodes(node) if name.rpartition('/')[2][:1] != '_']
    return tuple(sorted(name for name in names if name != f'/{NAME}'))


def find_topics(node: Node, robot: RobotDescription) -> dict[str, Topic]:
    """Return who publishes and listens to the topics of a robot and to those of the same types."""
    topics = robot.topics
    wanted = {topics.joint_states, topics.image, topics.servo_status, topics.command}
    wanted |= {topics.robot_description, camera_info_topic(robot), DEADMAN, CLOCK, *JOGS}
    alike = {name for name, kinds in node.get_topic_names_and_types() if _KINDS & set(kinds)}
    return {
        topic: Topic(
            _endpoints(node.get_publishers_info_by_topic(topic)),
            _endpoints(node.get_subscriptions_info_by_topic(topic)),
        )
        for topic in wanted | alike
    }


def find_timekeepers(node: Node, robot: RobotDescription) -> set[str]:
    """Return the full names of the nodes whose clock matters: those that stamp or judge stamps."""
    topics = robot.topics
    stamped = (topics.joint_states, topics.image, topics.servo_status, topics.command)
    found = (_endpoints(node.get_publishers_info_by_topic(topic)) for topic in stamped)
    return {GUARD, CONTROL} | {endpoint.node for ends in found for endpoint in ends}


def find_services(node: Node) -> dict[str, Service]:
    """Return all services, their types and who serves them."""
    servers: dict[str, list[str]] = defaultdict(list)
    for full_name, name, space in _nodes(node):
        with suppress(Exception):  # it has gone meanwhile; the error's class is not public
            for service, _ in node.get_service_names_and_types_by_node(name, space):
                servers[service].append(full_name)
    return {
        service: Service(tuple(kinds), tuple(servers[service]))
        for service, kinds in node.get_service_names_and_types()
    }


def _nodes(node: Node) -> list[tuple[str, str, str]]:
    """Return full name, name and namespace of each."""
    pairs = node.get_node_names_and_namespaces()
    return [(f'{space.rstrip("/")}/{name}', name, space) for name, space in pairs]


def _endpoints(infos: Iterable[TopicEndpointInfo]) -> tuple[Endpoint, ...]:
    found = [
        Endpoint(
            f'{info.node_namespace.rstrip("/")}/{info.node_name}',
            info.topic_type,
            info.qos_profile,
        )
        for info in infos
        if info.node_name != NAME
    ]
    return tuple(sorted(found, key=lambda endpoint: endpoint.node))
