"""``mil import-lerobot``: meta-train on what others recorded with LeRobot."""

from __future__ import annotations

import argparse
from pathlib import Path

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot
from mil_ros.data.lerobot_import import ActionKind, import_dataset, ImportOptions
from mil_ros.tools.output import console, make_progress, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil import-lerobot``."""
    parser.add_argument('folder', type=Path, metavar='DIR', help='folder of the LeRobot dataset')
    parser.add_argument('--out', type=Path, required=True, help='folder of the dataset to make')
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--demos', type=int, default=8, help='demonstrations per task')
    parser.add_argument('--steps', type=int, default=40, help='moments per demonstration')
    parser.add_argument(
        '--action-is',
        choices=[kind.value for kind in ActionKind],
        help='what actions are whose names do not end in .vel',
    )
    parser.add_argument('--camera', metavar='FEATURE', help='which images, if there are several')
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Import, and tell what was not used."""
    if args.steps < 2 or args.demos < 2:
        raise ConfigError(
            f'Got --steps {args.steps} --demos {args.demos}; expected at least 2 of each.'
        )
    options = ImportOptions(
        name=args.out.name,
        demos=args.demos,
        steps=args.steps,
        action_kind=ActionKind(args.action_is) if args.action_is else None,
        camera=args.camera,
    )
    with make_progress() as progress:
        bar = progress.add_task('importing', total=None, note='')
        report, columns = import_dataset(
            args.folder,
            load_robot(args.robot),
            args.out,
            options,
            on_episode=lambda: progress.advance(bar),
            on_start=lambda count: progress.update(bar, total=count),
        )
    for what, reason in report.skipped.items():
        console.print(
            f'mil import-lerobot: Left out {what}: {reason}', style='yellow', soft_wrap=True
        )
    summary = {
        'out': str(args.out),
        'tasks': list(report.tasks),
        'demos': report.demos,
        'camera': columns.camera,
        'crop': str(columns.crop),
        'action': columns.action_kind.value,
        'unused': list(columns.unused),
        'skipped': report.skipped,
    }
    print_json(summary, args.json)
    return 0
