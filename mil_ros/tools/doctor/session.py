"""One visit: look at the graph, run the checks, show what came of them."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import Final

from mil_ros.tools.doctor.checks import examine
from mil_ros.tools.doctor.checks.setup import robot_file
from mil_ros.tools.doctor.collector import look
from mil_ros.tools.doctor.findings import Verdict
from mil_ros.tools.doctor.report import find_next_step, is_fit, to_document
from mil_ros.tools.doctor.snapshot import Snapshot
from mil_ros.tools.doctor.table import render
from mil_ros.tools.output import console, track, write_json

_SLICE_S: Final = 0.25


def consult(name: str, known: Snapshot, seconds: float, file: Path | None) -> int:
    """Examine a graph; 1 if a check failed, else 0.

    Args:
        name: Of the robot.
        known: Robot file and bundle; nothing of the graph yet.
        seconds: How long to look.
        file: For the findings; None for none.
    """
    snapshot = known
    if robot_file(known).verdict is Verdict.OK:  # without topics there is nothing to listen to
        count = math.ceil(seconds / _SLICE_S)
        slices = track([seconds / count] * count, f'listening for {seconds:g} s', count)
        seen = look(known.robot, slices)
        snapshot = replace(seen, bundle=known.bundle, bundle_fault=known.bundle_fault)
    rows = examine(snapshot)
    next_step = find_next_step(rows, snapshot)
    console.print(render(f'mil doctor: {name}', rows, next_step))
    if file is not None:
        write_json(to_document(name, rows, next_step), file)
    return 0 if is_fit(rows) else 1
