"""Parameters of a node as one frozen dataclass: description, range and default in one place."""

from __future__ import annotations

from dataclasses import dataclass, Field, field, fields
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from mil_ros.core.errors import ConfigError

Parameters = TypeVar('Parameters')

_KINDS = {
    bool: 'true or false',
    int: 'a whole number',
    float: 'a number with a decimal point',
    str: 'text',
}


def parameter(
    description: str, default: Any, low: float | None = None, high: float | None = None
) -> Any:
    """Return a dataclass field that is a parameter; its type is that of the default.

    Args:
        description: What it is, for `ros2 param describe`.
        default: A bool, int, float or str.
        low: Least value of a number; goes with `high`.
        high: Largest value.
    """
    metadata = {'description': description, 'range': None if low is None else (low, high)}
    return field(default=default, metadata=metadata)


def declare_parameters(node: Node, kind: type[Parameters]) -> Parameters:
    """Declare the fields of a dataclass as read-only parameters and return their values.

    Raises:
        ConfigError: If a value is of another type or out of range.
    """
    return kind(**{f.name: _declare(node, f) for f in fields(kind)})  # type: ignore[arg-type]


def _declare(node: Node, entry: Field[Any]) -> Any:
    """Declare one parameter; text may be written like a number, as ``source:=0``."""
    descriptor = ParameterDescriptor(
        description=entry.metadata['description'],
        read_only=True,
        dynamic_typing=isinstance(entry.default, str),
    )
    limits = entry.metadata['range']
    if limits is not None and isinstance(entry.default, float):
        low, high = map(float, limits)
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif limits is not None:
        descriptor.integer_range = [IntegerRange(from_value=limits[0], to_value=limits[1])]
    try:
        value = node.declare_parameter(entry.name, entry.default, descriptor).value
    except (InvalidParameterTypeException, InvalidParameterValueException):
        anything = ParameterDescriptor(dynamic_typing=True)
        value = node.declare_parameter(entry.name, entry.default, anything).value
        expected = _KINDS[type(entry.default)]
        if limits is not None:
            expected += f' from {limits[0]} to {limits[1]}'
        raise ConfigError(
            f'Parameter {entry.name} of node {node.get_name()} is {value!r}; expected {expected}.'
        ) from None
    return str(value) if isinstance(entry.default, str) else value


@dataclass(frozen=True, slots=True)
class RobotParameter:
    """What every node of an arm is told."""

    robot: str = parameter('robot file: a shipped name or a path to a .yaml', 'sim_panda')
