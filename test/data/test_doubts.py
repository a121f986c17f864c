"""What speaks against an episode is said, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mil_ros.core.errors import EpisodeError
from mil_ros.data.doubts import find_doubts
from mil_ros.data.metadata import describe_bag, write_metadata

QUALITY = json.dumps({'verdict': 'reject', 'reasons': ['/camera stalled.', 'It is short.']})
REJECTED = 'The recorder rejected this episode: /camera stalled.'
FAILED = 'This episode is marked as a failure; show the task again.'


@pytest.mark.parametrize(
    ('about', 'doubts'),
    [
        ({}, []),
        ({'modality': 'video'}, []),
        ({'verdict': 'accept', 'outcome': 'success'}, []),
        ({'verdict': 'warn', 'quality': QUALITY, 'outcome': 'unknown'}, []),
        ({'verdict': 'reject', 'quality': QUALITY}, [REJECTED]),
        (
            {'verdict': 'reject', 'repaired': 'cut off at byte 9'},
            ['The recorder rejected this episode: It was cut off and repaired.'],
        ),
        ({'verdict': 'accept', 'outcome': 'failure'}, [FAILED]),
        ({'verdict': 'reject', 'quality': QUALITY, 'outcome': 'failure'}, [REJECTED, FAILED]),
    ],
)
def test_doubts_are_those_of_recorder_and_operator(
    tmp_path: Path, about: dict[str, str], doubts: list[str]
) -> None:
    write_metadata(tmp_path, describe_bag('a.mcap', [], [], (0, 0), about))
    assert find_doubts(tmp_path) == doubts


def test_episode_without_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match=r'metadata\.yaml cannot be read \(FileNotFoundError'):
        find_doubts(tmp_path)
