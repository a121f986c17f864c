"""Whoever may command beside a node is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from mil_ros.ros.node import name_rivals, NAMELESS

pytestmark = pytest.mark.ros

OWN = ('/mil', 'guard')


def node_beside(*publishers: tuple[str, str]) -> Any:
    """Return a node that sees publishers, each by namespace and name."""
    infos = [SimpleNamespace(node_namespace=space, node_name=name) for space, name in publishers]
    return SimpleNamespace(
        count_publishers=lambda topic: len(infos),
        get_publishers_info_by_topic=lambda topic: infos,
        get_fully_qualified_name=lambda: '/mil/guard',
    )


@pytest.mark.parametrize(
    ('others', 'names'),
    [
        ((), []),
        ((('/', 'jogger'), ('/lab', 'jogger')), ['/jogger', '/lab/jogger']),
        ((OWN,), ['a node of this name']),
        ((('_NODE_NAMESPACE_UNKNOWN_', '_NODE_NAME_UNKNOWN_'),), [NAMELESS]),
    ],
    ids=['nobody', 'two others', 'a namesake', 'not known yet'],
)
def test_rivals_are_named(others: tuple[tuple[str, str], ...], names: list[str]) -> None:
    assert name_rivals(node_beside(OWN, *others), '/commands') == names
