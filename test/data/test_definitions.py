"""The definition of a type goes into the bag, wherever the type comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mil_ros.core.errors import EpisodeError
from mil_ros.data.definitions import begins_with_header, describe_type


@pytest.mark.parametrize(
    ('kind', 'has_header'),
    [
        ('sensor_msgs/msg/Image', True),
        ('control_msgs/msg/JointJog', True),
        ('std_msgs/msg/String', False),
        ('tf2_msgs/msg/TFMessage', False),
    ],
)
def test_known_types_are_described(kind: str, has_header: bool) -> None:
    known = describe_type(kind)
    assert known.has_header == has_header
    assert known.digest.startswith('RIHS01_')
    assert len(known.digest) == 71
    assert ('MSG: std_msgs/Header' in known.definition) == (has_header or 'tf2' in kind)


def test_type_of_another_package_is_read_from_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = tmp_path / 'share' / 'gripper_msgs' / 'msg'
    share.mkdir(parents=True)
    (share / 'Grip.msg').write_text('# how\nstd_msgs/Header header\nFinger[2] fingers\n')
    (share / 'Finger.msg').write_text('float64 width\n')
    monkeypatch.setenv('AMENT_PREFIX_PATH', f'/nowhere:{tmp_path}')
    known = describe_type('gripper_msgs/msg/Grip')
    assert known.has_header
    assert 'MSG: gripper_msgs/Finger\nfloat64 width' in known.definition


@pytest.mark.parametrize('kind', ['vendor_msgs/msg/Secret', 'nonsense'])
def test_unknown_type_is_named(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('AMENT_PREFIX_PATH', '')
    with pytest.raises(
        EpisodeError,
        match=rf"No definition of message type '{kind}' \(.*Source the workspace that has it\.",
    ):
        describe_type(kind)


@pytest.mark.parametrize(
    ('definition', 'expected'),
    [
        ('std_msgs/Header header\nfloat64 x', True),
        ('# This is an image.\n\n  std_msgs/Header header # when\nuint32 x', True),
        ('Header header', True),
        ('float64 x\nstd_msgs/Header header', False),
        ('# only a comment', False),
        ('', False),
    ],
)
def test_header_is_found_in_the_text_of_any_writer(definition: str, expected: bool) -> None:
    assert begins_with_header(definition) == expected
