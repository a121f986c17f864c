"""What a URDF says of the joints, and whether the robot file agrees."""

from __future__ import annotations

from collections.abc import Iterable
import difflib

_SHOWN = 3


def name_near(name: str, known: Iterable[str]) -> str:
    """Return those names that are most like one that was not found, for a message."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=_SHOWN, cutoff=0.5) or names
    more = '' if len(near) <= _SHOWN else ', ...'
    return ', '.join(near[:_SHOWN]) + more if near else 'it has none'
