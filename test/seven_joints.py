"""A URDF for tests: seven turning joints, a gripper beyond them, nothing symmetrical."""

from __future__ import annotations

import numpy as np

NAMES = tuple(f'arm_joint{i}' for i in range(1, 8))
TOOL = 'tool'
_AXES = ('0 0 1', '0 1 0', '0 0 1', '0 -1 0', '0 0 1', '0 -1 0', '0 0 1')
_ORIGINS = (
    ('0 0 0.33', '0 0 0'),
    ('0.02 0 0.01', '0 0.1 0'),
    ('0 0.01 0.31', '0 0 0.2'),
    ('0.08 0 0', '0 -0.3 0'),
    ('-0.08 0 0.38', '0.1 0 0'),
    ('0 0 0.03', '0 0.2 0.1'),
    ('0.09 0 0', '3.14 0 0'),
)
HOME = np.array([0.3, -0.6, 0.2, -1.7, 0.4, 1.3, 0.7])


def make_urdf(
    *,
    kind: str = 'revolute',
    limit: str = 'lower="-2.9" upper="2.9" velocity="2.5" effort="87"',
    reverse: bool = False,
) -> str:
    """Return the arm; the last joint is of the given kind, all have the same limits.

    Args:
        kind: Type of the last joint.
        limit: Attributes of every joint's limits; for no such element, an empty string.
        reverse: Whether the joints are written from the tool to the base.
    """
    element = f'<limit {limit}/>' if limit else ''
    joints = [
        f'<joint name="{name}" type="{kind if i == 6 else "revolute"}">'
        f'<parent link="link{i}"/><child link="link{i + 1}"/>'
        f'<origin xyz="{_ORIGINS[i][0]}" rpy="{_ORIGINS[i][1]}"/><axis xyz="{_AXES[i]}"/>'
        f'{element}</joint>'
        for i, name in enumerate(NAMES)
    ]
    joints.append(
        '<joint name="tool_joint" type="fixed"><parent link="link7"/><child link="tool"/>'
        '<origin xyz="0.01 0 0.12"/></joint>'
    )
    joints.append(
        '<joint name="finger_joint" type="prismatic"><parent link="tool"/><child link="finger"/>'
        '<axis xyz="0 1 0"/><limit lower="0.01" upper="0.04" velocity="0.2" effort="20"/></joint>'
    )
    links = ''.join(f'<link name="{name}"/>' for name in _LINKS)
    return f'<robot name="arm">{links}{"".join(joints[::-1] if reverse else joints)}</robot>'


_LINKS = (*(f'link{i}' for i in range(8)), 'tool', 'finger')
