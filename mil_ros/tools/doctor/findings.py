"""What a check says: a verdict, what was found, what was expected, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import re
from typing import Final

_FIX: Final = re.compile(r'(.*)(?:; |\. )(.+)', re.DOTALL)


class Verdict(str, Enum):
    """How a check ended."""

    OK = 'ok'
    WARNING = 'warning'
    FAILED = 'failed'
    SKIPPED = 'skipped'


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check; `expected` and `remedy` are empty where nothing is wrong."""

    verdict: Verdict
    found: str
    expected: str = ''
    remedy: str = ''


def ok(found: str) -> Finding:
    """Return that all is well."""
    return Finding(Verdict.OK, found)


def skipped(reason: str) -> Finding:
    """Return that nothing can be said, and why."""
    return Finding(Verdict.SKIPPED, reason)


def warning(found: str, expected: str, remedy: str) -> Finding:
    """Return that something is odd, yet the arm may move."""
    return Finding(Verdict.WARNING, found, expected, remedy)


def failed(found: str, expected: str, remedy: str) -> Finding:
    """Return that something must be put right before the arm moves."""
    return Finding(Verdict.FAILED, found, expected, remedy)


def from_sentence(sentence: str, remedy: str) -> Finding:
    """Return a failure in the words of this package's errors: got, expected, how to fix it.

    Args:
        sentence: Of a `MilError`, say.
        remedy: What to do if the sentence does not say so.
    """
    found, _, rest = sentence.partition(' expected ')
    match = _FIX.match(rest or found)
    if match is None:
        return failed(found.rstrip(' ;,.'), rest.rstrip('.'), remedy)
    if not rest:
        return failed(match[1], '', _sentence(match[2]))
    return failed(found.rstrip(' ;,'), match[1], _sentence(match[2]))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
