"""What a message type is made of: a bag carries the definition of all that it holds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
import os
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.typesys import get_types_from_msg
from rosbags.typesys.store import Typestore

from mil_ros.core.errors import EpisodeError
from mil_ros.data.messages import typestore

_HEADERS = ('std_msgs/Header', 'std_msgs/msg/Header', 'Header')


@dataclass(frozen=True, slots=True)
class TypeDescription:
    """One message type.

    Attributes:
        definition: Its text and that of every type it contains, as MCAP wants it.
        digest: Its hash, ``RIHS01_...``.
        has_header: Whether it begins with a header, hence with a stamp.
    """

    definition: str
    digest: str
    has_header: bool


@lru_cache
def describe_type(kind: str) -> TypeDescription:
    """Return what is known of a type such as ``sensor_msgs/msg/Image``.

    Types beyond the common interfaces are read from the ``.msg`` files of the ROS installation.

    Raises:
        EpisodeError: If the type is not known and not installed either.
    """
    store = typestore()
    _register(store, kind)
    definition, _ = store.generate_msgdef(kind, ros_version=2)
    return TypeDescription(definition, store.hash_rihs01(kind), begins_with_header(definition))


def begins_with_header(definition: str) -> bool:
    """Whether messages of a definition begin with a header, as the text of the type says."""
    lines = (line.partition('#')[0].split() for line in definition.splitlines())
    first = next((words for words in lines if words), [''])
    return first[0] in _HEADERS


def _register(store: Typestore, kind: str) -> None:
    """Make a type and what it contains known, if they are not yet."""
    if kind in store.fielddefs:
        return
    try:
        package, group, name = kind.split('/')
        found = get_types_from_msg(_find_text(package, group, name), kind)
    except (OSError, ValueError) as err:
        raise EpisodeError(
            f'No definition of message type {kind!r} ({err}); expected a type of the common '
            'interfaces or of a package below AMENT_PREFIX_PATH. Source the workspace that has it.'
        ) from err
    for _, fields in found.values():
        for _, node in fields:
            inner: Any = node
            while inner[0] in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                inner = inner[1][0]
            if inner[0] == Nodetype.NAME:
                _register(store, inner[1])
    store.register(found)


def _find_text(package: str, group: str, name: str) -> str:
    prefixes = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    for prefix in prefixes:
        file = Path(prefix) / 'share' / package / group / f'{name}.msg'
        if file.is_file():
            return file.read_text()
    raise FileNotFoundError(f'no {package}/{group}/{name}.msg below {prefixes}')
