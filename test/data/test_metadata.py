"""metadata.yaml as rosbag2 wants it, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import EpisodeError
from mil_ros.data.mcap_format import Channel
from mil_ros.data.metadata import (
    describe_bag,
    FILE_NAME,
    read_metadata,
    reserve_metadata,
    update_custom_data,
    write_metadata,
)

CHANNELS = (
    Channel('/a', 'std_msgs/msg/String', 'string data', 'RIHS01_1', '- history: 1\n  depth: 5'),
    Channel('/b', 'std_msgs/msg/String', 'string data'),
)


def describe(**custom: str) -> dict[str, Any]:
    return describe_bag('bag_0.mcap', CHANNELS, (7, 0), (1_000, 5_000), custom)


def test_metadata_come_back(tmp_path: Path) -> None:
    write_metadata(tmp_path, describe(task='reach', quality='{"verdict": "accept"}'))
    found = read_metadata(tmp_path)
    assert found['version'] == 8
    assert found['storage_identifier'] == 'mcap'
    assert found['relative_file_paths'] == ['bag_0.mcap']
    assert found['message_count'] == 7
    assert found['duration'] == {'nanoseconds': 4_000}
    assert found['starting_time'] == {'nanoseconds_since_epoch': 1_000}
    assert found['files'][0]['message_count'] == 7
    assert found['custom_data'] == {'task': 'reach', 'quality': '{"verdict": "accept"}'}
    (first, second) = found['topics_with_message_count']
    assert first['message_count'] == 7
    assert first['topic_metadata'] == {
        'name': '/a',
        'type': 'std_msgs/msg/String',
        'serialization_format': 'cdr',
        'offered_qos_profiles': '- history: 1\n  depth: 5',
        'type_description_hash': 'RIHS01_1',
    }
    assert second['message_count'] == 0


def test_file_holds_no_references_between_its_parts(tmp_path: Path) -> None:
    write_metadata(tmp_path, describe())
    text = (tmp_path / FILE_NAME).read_text()
    assert '&id' not in text
    assert 'custom_data: null' in text


def test_room_reserved_is_used_and_given_back(tmp_path: Path) -> None:
    reserve_metadata(tmp_path)
    (reserved,) = tmp_path.iterdir()
    assert reserved.stat().st_size > 10_000
    assert reserved.name != FILE_NAME
    inode = reserved.stat().st_ino
    write_metadata(tmp_path, describe(task='reach'))
    (file,) = tmp_path.iterdir()
    assert file.name == FILE_NAME
    assert file.stat().st_ino == inode
    assert file.stat().st_size < 5_000
    assert yaml.safe_load(file.read_text())


def test_outcome_is_added_to_what_is_known(tmp_path: Path) -> None:
    write_metadata(tmp_path, describe(task='reach', outcome='unknown'))
    before = read_metadata(tmp_path)
    update_custom_data(tmp_path, {'outcome': 'success'})
    after = read_metadata(tmp_path)
    assert after.pop('custom_data') == {'task': 'reach', 'outcome': 'success'}
    before.pop('custom_data')
    assert after == before


def test_old_metadata_stand_if_new_ones_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_metadata(tmp_path, describe(task='reach'))
    before = (tmp_path / FILE_NAME).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('mil_ros.data.metadata.os.fsync', fail)
    with pytest.raises(
        EpisodeError, match=r'Cannot write .*metadata\.yaml \(No space left on device\); the old'
    ):
        update_custom_data(tmp_path, {'outcome': 'success'})
    assert (tmp_path / FILE_NAME).read_bytes() == before


@pytest.mark.parametrize('text', ['', '[]', 'a: b', '{', 'rosbag2_bagfile_information: 3'])
def test_damaged_metadata_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(
        EpisodeError, match=r'metadata\.yaml cannot be read \(.*`mil inspect --repair .*` makes'
    ):
        read_metadata(tmp_path)


def test_missing_metadata_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'metadata\.yaml cannot be read \(FileNotFoundError'):
        read_metadata(tmp_path)
