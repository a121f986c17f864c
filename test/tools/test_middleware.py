"""The middleware's settings are there, and are what Fast DDS can read."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from mil_ros.tools.graph import make_environment

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
