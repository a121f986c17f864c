"""The rows of ``mil bench stops``: every fault, many times, worst case."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import shutil

import yaml

from mil_ros.core.errors import ConfigError, MilError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot
from mil_ros.tools.bench.rows import Row
from mil_ros.tools.bench.stops.faults import Fault, make_faults
from mil_ros.tools.bench.stops.rig import open_rig, PATIENCE_S, Repetition, Rig
from mil_ros.tools.graph import isolate
from mil_ros.tools.output import console, track

_ROBOT = 'sim_panda'


def bench_stops(args: argparse.Namespace) -> list[Row]:
    """Measure how the arm stops; a reaction and a rest for every fault."""
    if args.repetitions < 1:
        raise ConfigError(f'Got --repetitions {args.repetitions}; expected at least 1.')
    out = (args.out / 'stops').resolve()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    isolate()
    faults = make_faults(load_robot(_ROBOT))
    done: dict[str, list[Repetition]] = {}
    for needs_deadman in (False, True):
        chosen = [fault for fault in faults if fault.needs_deadman == needs_deadman]
        robot_file = write_deadman_file(out) if needs_deadman else _ROBOT
        folder = out / ('deadman' if needs_deadman else 'graph')
        with open_rig(load_robot(robot_file), robot_file, folder) as rig:
            done |= {fault.name: repeat(rig, fault, args.repetitions) for fault in chosen}
    return [row for fault in faults for row in make_rows(fault, done[fault.name])]


def repeat(rig: Rig, fault: Fault, count: int) -> list[Repetition]:
    """Have a fault a number of times; one that cannot be measured is a complaint."""
    repetitions = []
    for number in track(range(count), fault.name, count):
        try:
            repetition = rig.measure(fault, number)
        except MilError as err:
            repetition = Repetition(PATIENCE_S, PATIENCE_S, (str(err),))
            rig.rebuild()
        for complaint in repetition.complaints:
            console.print(f'{fault.name}, repetition {number}: {complaint}')
        repetitions.append(repetition)
    return repetitions


def make_rows(fault: Fault, repetitions: Sequence[Repetition]) -> list[Row]:
    """Return the worst reaction, against its limit, and the worst time until rest."""
    reaction_ms = round(1e3 * max(r.reaction_s for r in repetitions), 3)
    rest_ms = round(1e3 * max(r.rest_s for r in repetitions), 3)
    limit_ms = None if fault.limit_s is None else round(1e3 * fault.limit_s, 3)
    is_faultless = not any(r.complaints for r in repetitions)
    ok = is_faultless and (limit_ms is None or reaction_ms <= limit_ms)
    return [
        Row(fault.name, reaction_ms, 'ms', limit_ms, ok),
        Row(f'{fault.name}_rest', rest_ms, 'ms', None, rest_ms < 1e3 * PATIENCE_S),
    ]


def write_deadman_file(out: Path) -> str:
    """Write the robot file again, with a deadman switch asked for; return its path."""
    document = yaml.safe_load((share_dir() / 'config' / 'robots' / f'{_ROBOT}.yaml').read_text())
    document['guard']['deadman'] = True
    path = out / f'{_ROBOT}_deadman.yaml'
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)
