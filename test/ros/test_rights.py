"""The policy grants what the nodes really have over DDS, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
import time
from typing import Any

import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from running import PATIENCE_S
from sros2_policy import COMMON, Endpoints, read_rights
from std_msgs.msg import String
import yaml

from mil_ros.bringup import NODES, NodeSpec
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.ros.node import LATCHED
from mil_ros.tools.client import GraphClient

pytestmark = pytest.mark.ros

SPECS = [spec for spec in NODES if not spec.is_simulation]
# Subscribed to under conditions that are not met here
CONDITIONAL = {
    '/clock',  # with use_sim_time
    '/tf_static',  # where tf2_msgs is installed and somebody publishes it
    *('/franka/joint_states', '/xarm/joint_states'),  # with the robot files of these arms
}
Graph = dict[str, Endpoints]


@pytest.fixture(scope='module')
def robot_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An arm with a deadman switch, to which the guard subscribes only then."""
    document = yaml.safe_load((share_dir() / 'config/robots/sim_panda.yaml').read_text())
    document['guard']['deadman'] = True
    path = tmp_path_factory.mktemp('robots') / 'arm.yaml'
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope='module')
def graph(robot_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """What each node has, by its name, once all that it may ever have is open."""
    parameters = {
        'robot': str(robot_file),
        'directory': str(tmp_path_factory.mktemp('written')),
        'source': 'synthetic',
        'joy_start_button': '0',
        'backend': 'joint_space',
        'dry_run': 'false',
    }
    words = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    rclpy.init(args=['--ros-args', *words], signal_handler_options=SignalHandlerOptions.NO)
    with ExitStack() as stack:
        stack.callback(rclpy.shutdown)
        probe = Node('probe')
        stack.callback(probe.destroy_node)
        description = probe.create_publisher(String, '/robot_description', LATCHED)
        nodes = [make(spec) for spec in SPECS]
        for node in nodes:
            stack.callback(node.destroy_node)
            OPENERS.get(node.get_name(), lambda *_: None)(node, stack)
        names = probe.get_node_names()
        assert len(names) == len(set(names)), f'{sorted(names)}: left over from another module?'
        found = {node.get_name(): read_graph(probe, node.get_name()) for node in nodes}
        probe.destroy_publisher(description)
    return found


def make(spec: NodeSpec) -> Any:
    """Return a node as its process would make it."""
    return getattr(import_module(spec.module), f'{spec.name.capitalize()}Node')()


def configure(node: Any, _: ExitStack) -> None:
    """Have the control node connect; it waits for the guard in doing so."""
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS


def spin_until_adapted(node: Node, _: ExitStack) -> None:
    """Have the recorder subscribe to what it finds published."""
    executor, end_s = SingleThreadedExecutor(), time.monotonic() + PATIENCE_S
    executor.add_node(node)
    while not any(s.topic_name == '/robot_description' for s in node.subscriptions):
        assert time.monotonic() < end_s, 'waited for the recorder to find a topic'
        executor.spin_once(0.1)
    executor.remove_node(node)


def begin_motion(node: Any, stack: ExitStack) -> None:
    """Have the planner listen to what it needs in a motion, by itself and with MoveIt."""
    moveit = import_module('mil_ros.ros.moveit_backend')
    joint_space = import_module('mil_ros.ros.joint_space')
    file = node.get_parameter('robot').value
    robot = load_robot(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moveit, 'check_available', lambda *_: None)
        moveit.MoveItBackend(node, robot, file)
    motion = joint_space.JointSpaceBackend(node, robot).go_home()
    motion.send(None)
    stack.callback(motion.close)


OPENERS: dict[str, Callable[[Any, ExitStack], None]] = {
    'control': configure,
    'planner': begin_motion,
    'recorder': spin_until_adapted,
}


def read_graph(probe: Node, name: str) -> Endpoints:
    found: dict[str, Callable[..., list[tuple[str, list[str]]]]] = {
        'publish': probe.get_publisher_names_and_types_by_node,
        'subscribe': probe.get_subscriber_names_and_types_by_node,
        'reply': probe.get_service_names_and_types_by_node,
        'request': probe.get_client_names_and_types_by_node,
    }
    return Endpoints(
        **{verb: frozenset(n for n, _ in get(name, '/')) for verb, get in found.items()}
    )


@pytest.mark.parametrize('name', [spec.name for spec in SPECS])
@pytest.mark.parametrize('verb', ['publish', 'subscribe', 'reply', 'request'])
def test_policy_grants_what_a_node_has_and_nothing_else(
    graph: Graph, name: str, verb: str
) -> None:
    granted, has = getattr(read_rights()[name], verb), getattr(graph[name], verb)
    assert has - granted == set(), f'/mil/{name} lacks the right to {verb}'
    assert granted - has - CONDITIONAL == set(), f'/mil/{name} may {verb} without need'


def test_operator_may_do_what_the_command_line_does(robot_file: Path) -> None:
    client = GraphClient(load_robot(robot_file), lambda: None)
    try:
        for spec in SPECS:
            client.meet(*(n for n in read_rights()[spec.name].reply if n.endswith('/start')))
        has = read_graph(client.node, client.node.get_name())
    finally:
        client.close()
    operator = read_rights()['operator']
    assert has.request, 'nothing is asked for'
    for verb in ('publish', 'subscribe', 'reply', 'request'):
        own = {n for n in getattr(has, verb) if not n.startswith('/sim/')}
        assert own <= getattr(operator, verb), verb
    assert has.publish >= COMMON


def test_operator_may_do_what_the_doctor_does(robot_file: Path) -> None:
    collector = pytest.importorskip('mil_ros.tools.doctor.collector')
    doctor = collector.Collector(load_robot(robot_file))
    try:
        has = read_graph(doctor.node, doctor.node.get_name())
    finally:
        doctor.close()
    assert '/joint_states' in has.subscribe, 'nothing is listened to'
    for verb in ('publish', 'subscribe', 'reply', 'request'):
        assert getattr(has, verb) <= getattr(read_rights()['operator'], verb), verb
