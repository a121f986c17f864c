"""Reading the SROS2 policy file, with nothing but XML."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from xml.etree import ElementTree

PATH = Path(__file__).parent.parent / 'config' / 'sros2' / 'policy.xml'
PREFIX = '/mil/'
COMMON = {'/parameter_events', '/rosout'}  # every node publishes these


@dataclass(frozen=True)
class Endpoints:
    """What a node has or may have, by full name."""

    publish: frozenset[str]
    subscribe: frozenset[str]
    reply: frozenset[str]
    request: frozenset[str]


VERBS = tuple(field.name for field in fields(Endpoints))


def read_document() -> ElementTree.Element:
    return ElementTree.parse(PATH).getroot()


def read_rights() -> dict[str, Endpoints]:
    """Return what each enclave may, by its name without the common prefix."""
    rights = {}
    for enclave in read_document().iter('enclave'):
        granted: dict[str, set[str]] = {verb: set() for verb in VERBS}
        for profile in enclave.iter('profile'):
            for rules in profile:
                for verb in rules.attrib:
                    granted[verb] |= {resolve(str(rule.text), profile) for rule in rules}
        frozen = {verb: frozenset(names) for verb, names in granted.items()}
        rights[enclave.get('path', '').removeprefix(PREFIX)] = Endpoints(**frozen)
    return rights


def resolve(name: str, profile: ElementTree.Element) -> str:
    """Return the full name, as ROS does and SROS2's tools do."""
    own = f'/{profile.get("node")}'
    return own + name.removeprefix('~') if name.startswith('~') else name
