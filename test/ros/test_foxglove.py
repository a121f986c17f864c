"""The layout for Foxglove shows what the nodes publish and calls what they serve."""

from __future__ import annotations

from collections.abc import Iterator
import gc
from importlib import import_module
import json
from pathlib import Path
import re
from typing import Any

from fake_source import FakeSource
import pytest
import rclpy
from rclpy.node import Node

from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.ros.adaptation_node import AdaptationNode
from mil_ros.ros.camera_node import CameraNode
from mil_ros.ros.control_node import ControlNode
from mil_ros.ros.guard_node import GuardNode
from mil_ros.ros.recorder_node import RecorderNode
from mil_ros.ros.sim_node import SimNode

pytestmark = pytest.mark.ros

LAYOUT: dict[str, Any] = json.loads((share_dir() / 'config/foxglove/mil_ros.json').read_text())
PANELS: dict[str, dict[str, Any]] = LAYOUT['configById']
PATH = re.compile(r'(?P<topic>(/\w+)+)(?P<fields>(\.\w+(\[\d+\])?)*)')


def panels_of(kind: str) -> dict[str, dict[str, Any]]:
    return {name: config for name, config in PANELS.items() if name.split('!')[0] == kind}


def leaves_of(tree: Any) -> list[str]:
    """Return the panels of a mosaic."""
    if isinstance(tree, str):
        return [tree]
    assert tree.keys() == {'direction', 'first', 'second', 'splitPercentage'}
    assert tree['direction'] in ('row', 'column')
    assert 0 < tree['splitPercentage'] < 100
    return leaves_of(tree['first']) + leaves_of(tree['second'])


@pytest.fixture(scope='module')
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Every node, made but not spun: what it offers stands in the graph all the same."""
    folder = tmp_path_factory.mktemp('nodes')
    rclpy.init(args=['--ros-args', '-p', 'robot:=sim_panda', '-p', f'directory:={folder}'])
    made: list[Node] = []
    try:
        for make in (GuardNode, RecorderNode, AdaptationNode, ControlNode, SimNode):
            made.append(make())
        made.append(CameraNode(lambda settings: FakeSource()))
        made[3].trigger_configure()
        yield made
    finally:
        for node in made:
            node.destroy_node()
        rclpy.shutdown()
        made.clear()
        del node
        gc.collect()  # a lifecycle node, which is in cycles, stays in the graph until then


@pytest.fixture(scope='module')
def topics(nodes: list[Node]) -> dict[str, str]:
    """Types of the topics that the nodes publish."""
    published: dict[str, str] = {}
    for node in nodes:
        found = nodes[0].get_publisher_names_and_types_by_node(node.get_name(), '/')
        published |= {topic: kinds[0] for topic, kinds in found}
    return published


def field_types(kind: str) -> dict[str, str]:
    package, group, name = kind.split('/')
    message = getattr(import_module(f'{package}.{group}'), name)
    return dict(message.get_fields_and_field_types())


def resolve(path: str, topics: dict[str, str]) -> tuple[str, str]:
    """Return the type of a topic and of what a message path of Foxglove leads to."""
    parsed = PATH.fullmatch(path)
    assert parsed is not None, f'{path!r} is no message path'
    assert parsed['topic'] in topics, f'nobody publishes {parsed["topic"]}: {sorted(topics)}'
    topic_kind = kind = topics[parsed['topic']]
    for step in parsed['fields'].split('.')[1:]:
        name, _, index = step.partition('[')
        kind = field_types(kind.replace('/', '/msg/') if kind.count('/') == 1 else kind)[name]
        if index:
            inner = re.fullmatch(r'sequence<(.+)>', kind)
            assert inner is not None, f'{path!r}: {name} is a {kind}'
            kind = inner[1]
    return topic_kind, kind


# --- The file --------------------------------------------------------------------------------


def test_layout_has_what_foxglove_imports() -> None:
    expected = {'configById', 'globalVariables', 'userNodes', 'playbackConfig', 'layout'}
    assert LAYOUT.keys() == expected
    assert LAYOUT['playbackConfig'] == {'speed': 1}


def test_every_panel_is_shown_once() -> None:
    assert sorted(leaves_of(LAYOUT['layout'])) == sorted(PANELS)


def test_panels_are_of_kinds_that_foxglove_knows() -> None:
    kinds = {name.split('!')[0] for name in PANELS}
    known = {'CallService', 'DiagnosticSummary', 'Image', 'Indicator', 'Plot', 'RawMessages'}
    assert kinds == known


# These drivers relay their joint states to the usual topic, which is good enough for the eye.
RELAYED = ('/franka/joint_states', '/xarm/joint_states')


@pytest.mark.parametrize('robot', sorted((share_dir() / 'config/robots').glob('*.yaml')))
def test_topics_are_those_of_every_shipped_arm(robot: Path) -> None:
    topics = load_robot(robot).topics
    assert PANELS['Image!camera']['imageMode']['imageTopic'] == topics.image
    joint_states = topics.joint_states
    if joint_states in RELAYED:
        joint_states = '/joint_states'
    for panel, topic in (('positions', joint_states), ('commands', topics.command)):
        for path in PANELS[f'Plot!{panel}']['paths']:
            assert path['value'].startswith(f'{topic}.')


# --- What it shows ---------------------------------------------------------------------------


@pytest.mark.parametrize('panel', panels_of('Plot'))
def test_plot_draws_each_joint_by_its_stamp(panel: str, topics: dict[str, str]) -> None:
    paths = PANELS[panel]['paths']
    for path in paths:
        topic_kind, kind = resolve(path['value'], topics)
        assert kind == 'double'
        assert path['enabled']
        assert path['timestampMethod'] == 'headerStamp'
        assert field_types(topic_kind)['header'] == 'std_msgs/Header'
    joints = [int(path['value'].rsplit('[', 1)[1].rstrip(']')) for path in paths]
    assert joints == list(range(len(load_robot('sim_panda').joints)))
    assert len({path['color'] for path in paths}) == len(joints)


def test_camera_is_shown_with_its_calibration(topics: dict[str, str]) -> None:
    mode = PANELS['Image!camera']['imageMode']
    assert topics[mode['imageTopic']] == 'sensor_msgs/msg/Image'
    assert topics[mode['calibrationTopic']] == 'sensor_msgs/msg/CameraInfo'


@pytest.mark.parametrize('panel', panels_of('RawMessages'))
def test_states_are_shown(panel: str, topics: dict[str, str]) -> None:
    assert topics[PANELS[panel]['topicPath']] == 'diagnostic_msgs/msg/DiagnosticStatus'


def test_all_states_are_shown() -> None:
    shown = {config['topicPath'] for config in panels_of('RawMessages').values()}
    assert shown == {'/guard/state', '/control/state', '/recorder/status', '/adaptation/report'}


def test_diagnostics_are_shown(topics: dict[str, str]) -> None:
    topic = PANELS['DiagnosticSummary!all']['topicToRender']
    assert topics[topic] == 'diagnostic_msgs/msg/DiagnosticArray'


def test_guard_lights_up_by_its_level(topics: dict[str, str]) -> None:
    from diagnostic_msgs.msg import DiagnosticStatus

    panel = PANELS['Indicator!guard']
    topic_kind, kind = resolve(panel['path'], topics)
    assert (topic_kind, kind) == ('diagnostic_msgs/msg/DiagnosticStatus', 'octet')
    levels = [DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR]
    assert [int(rule['rawValue']) for rule in panel['rules']] == [level[0] for level in levels]


# --- What it calls ---------------------------------------------------------------------------


@pytest.mark.parametrize('panel', panels_of('CallService'))
def test_button_calls_a_service_that_a_node_serves(panel: str, nodes: list[Node]) -> None:
    served: dict[str, str] = {}
    for node in nodes:
        found = nodes[0].get_service_names_and_types_by_node(node.get_name(), '/')
        served |= {service: kinds[0] for service, kinds in found}
    config = PANELS[panel]
    assert served[config['serviceName']] == 'std_srvs/srv/Trigger'
    assert json.loads(config['requestPayload']) == {}
    assert config['buttonText']


def test_the_whole_loop_has_its_buttons() -> None:
    called = {config['serviceName'] for config in panels_of('CallService').values()}
    assert called == {
        *(f'/recorder/{n}' for n in ('start', 'stop', 'discard', 'mark_success', 'mark_failure')),
        '/adaptation/adapt',
        *('/control/start', '/control/stop'),
        *('/guard/estop', '/guard/reset'),
    }


@pytest.mark.parametrize(
    ('path', 'message'),
    [
        ('/joint_states.position[]', 'is no message path'),
        ('/joints.position[0]', 'nobody publishes /joints'),
        ('/joint_states.header[0]', 'header is a std_msgs/Header'),
    ],
)
def test_wrong_path_would_be_found(topics: dict[str, str], path: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        resolve(path, topics)
    with pytest.raises(KeyError):
        resolve('/joint_states.angle[0]', topics)
    assert resolve('/joint_states.header.stamp.sec', topics)[1] == 'int32'
