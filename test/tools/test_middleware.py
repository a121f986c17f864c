"""The middleware's settings are there, and are what Fast DDS can read."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mil_ros.bringup import MIDDLEWARE_VARIABLES, NETWORK, NODES, SHARED_MEMORY
from mil_ros.core.resources import share_dir
from mil_ros.tools.graph import isolate, keep_to_loopback, make_environment

NAMESPACE = '{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}'


def test_both_generations_of_fast_dds_are_told_of_the_same_file() -> None:
    environment = make_environment()
    assert set(environment) == {'FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'}
    assert len(set(environment.values())) == 1


def test_shared_memory_holds_several_images() -> None:
    path = Path(make_environment()['FASTRTPS_DEFAULT_PROFILES_FILE'])
    root = ElementTree.parse(path).getroot()
    (segment,) = root.iter(f'{NAMESPACE}segment_size')
    (message,) = root.iter(f'{NAMESPACE}maxMessageSize')
    full_hd = 1920 * 1080 * 3
    assert int(segment.text or 0) > 4 * full_hd
    assert int(message.text or 0) > full_hd
    (participant,) = root.iter(f'{NAMESPACE}participant')
    assert participant.get('is_default_profile') == 'true'


def test_nothing_that_moves_the_arm_shares_memory_with_what_may_be_killed() -> None:
    root = ElementTree.parse(share_dir() / NETWORK).getroot()
    assert [kind.text for kind in root.iter(f'{NAMESPACE}type')] == ['UDPv4']
    (builtin,) = root.iter(f'{NAMESPACE}useBuiltinTransports')
    assert builtin.text == 'false'
    (participant,) = root.iter(f'{NAMESPACE}participant')
    assert participant.get('is_default_profile') == 'true'
    sharing = {spec.name for spec in NODES if spec.middleware != NETWORK}
    assert sharing == {'camera', 'recorder'}


@pytest.mark.parametrize('file', [NETWORK, SHARED_MEMORY])
def test_a_graph_of_its_own_does_not_leave_the_machine(file: str) -> None:
    root = ElementTree.fromstring(keep_to_loopback((share_dir() / file).read_text()))
    (udp,) = (t for t in root.iter(f'{NAMESPACE}transport_descriptor') if t[1].text == 'UDPv4')
    assert [a.text for a in udp.iter(f'{NAMESPACE}address')] == ['127.0.0.1']
    (buffer,) = udp.iter(f'{NAMESPACE}receiveBufferSize')
    assert int(buffer.text or 0) >= 2 * 1920 * 1080 * 3, 'whole images must fit, or get lost'


@pytest.fixture
def _own_environment() -> Iterator[None]:
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.usefixtures('_own_environment')
def test_isolating_twice_is_as_good_as_once() -> None:
    for name in MIDDLEWARE_VARIABLES:
        os.environ.pop(name, None)
    for _ in range(2):
        isolate()
        assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET'
        path = Path(os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'])
        assert '127.0.0.1' in path.read_text()


@pytest.mark.usefixtures('_own_environment')
def test_settings_that_a_user_chose_stand_and_keep_to_the_machine() -> None:
    os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] = '/etc/fastdds.xml'
    isolate()
    assert os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert os.environ['FASTRTPS_DEFAULT_PROFILES_FILE'] == '/etc/fastdds.xml'
