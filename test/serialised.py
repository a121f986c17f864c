"""Serialised messages whose content is a function of their stamp."""

from __future__ import annotations

from typing import Any

import numpy as np

from mil_ros.data.messages import typestore

MS = 1_000_000
START_NS = 1_700_000_000_000 * MS


IMAGE = 'sensor_msgs/msg/Image'
JOINT_JOG = 'control_msgs/msg/JointJog'
JOINT_STATE = 'sensor_msgs/msg/JointState'
STRING = 'std_msgs/msg/String'


def make_header(stamp_ns: int) -> Any:
    types = typestore().types
    stamp = types['builtin_interfaces/msg/Time'](*divmod(stamp_ns, 1_000_000_000))
    return types['std_msgs/msg/Header'](stamp, 'frame')


def make_image(stamp_ns: int, height: int = 24, width: int = 32, encoding: str = 'rgb8') -> bytes:
    fill = stamp_ns // MS % 251
    data = np.full(3 * height * width, fill, dtype=np.uint8)
    kind = typestore().types[IMAGE]
    message = kind(make_header(stamp_ns), height, width, encoding, 0, 3 * width, data)
    return bytes(typestore().serialize_cdr(message, IMAGE))


def make_joints(stamp_ns: int, names: tuple[str, ...], position: float = 0.5) -> bytes:
    values = position + np.arange(len(names), dtype=np.float64)
    kind = typestore().types[JOINT_STATE]
    message = kind(make_header(stamp_ns), list(names), values, 0.1 * values, np.zeros(0))
    return bytes(typestore().serialize_cdr(message, JOINT_STATE))


def make_jog(stamp_ns: int, names: tuple[str, ...], velocity: float) -> bytes:
    """Return a command that moves the last joint alone."""
    values = np.zeros(len(names))
    values[-1] = velocity
    kind = typestore().types[JOINT_JOG]
    message = kind(make_header(stamp_ns), list(names), np.zeros(0), values, 0.0)
    return bytes(typestore().serialize_cdr(message, JOINT_JOG))


def make_text(value: str) -> bytes:
    message = typestore().types[STRING](value)
    return bytes(typestore().serialize_cdr(message, STRING))
