"""Why an episode may be a bad demonstration although it can be read."""

from __future__ import annotations

from pathlib import Path

from mil_ros.data.inspection import read_quality
from mil_ros.data.metadata import read_metadata


def find_doubts(path: Path) -> list[str]:
    """Return what speaks against learning from an episode, a sentence each.

    An episode without a verdict, such as an imported video, is not doubted for that.

    Raises:
        EpisodeError: If its metadata cannot be read.
    """
    provenance = {str(k): str(v) for k, v in read_metadata(path)['custom_data'].items()}
    doubts = []
    if provenance.get('verdict') == 'reject':
        reasons = read_quality(provenance).get('reasons') or ['It was cut off and repaired.']
        doubts.append(f'The recorder rejected this episode: {reasons[0]}')
    if provenance.get('outcome') == 'failure':
        doubts.append('This episode is marked as a failure; show the task again.')
    return doubts
