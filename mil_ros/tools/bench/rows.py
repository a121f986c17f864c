"""What every bench is made of: figures with limits, and the processor time of processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class Row:
    """One figure; `ok` says whether it keeps the limit."""

    name: str
    value: float
    unit: str
    limit: float | None
    ok: bool


def at_most(name: str, value: float, unit: str, limit: float) -> Row:
    """Return a figure that must not exceed its limit."""
    return Row(name, round(value, 3), unit, limit, value <= limit)


def at_least(name: str, value: float, unit: str, limit: float) -> Row:
    """Return a figure that must reach its limit."""
    return Row(name, round(value, 3), unit, limit, value >= limit)


def plain(name: str, value: float, unit: str) -> Row:
    """Return a figure without a limit."""
    return Row(name, round(value, 3), unit, None, True)


def cpu_s(process: psutil.Process) -> float:
    """Return the processor time that a process has taken so far."""
    times: Any = process.cpu_times()
    return float(times.user + times.system)
