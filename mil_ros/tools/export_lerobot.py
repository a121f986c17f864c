"""``mil export-lerobot``: recorded episodes for those who train with LeRobot."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mil_ros.core.errors import DatasetError
from mil_ros.core.robot import load_robot
from mil_ros.data.gathering import find_episodes
from mil_ros.data.lerobot_export import (
    check_export,
    export_episodes,
    ExportOptions,
    ExportReport,
)
from mil_ros.data.lerobot_library import load_library
from mil_ros.tools.output import console, make_progress, print_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil export-lerobot``."""
    parser.add_argument('folder', type=Path, metavar='DIR', help='folder of episodes')
    parser.add_argument('--out', type=Path, required=True, help='folder of the LeRobot dataset')
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--repo-id', help='what LeRobot calls the dataset (default: local/OUT)')
    parser.add_argument(
        '--lossless', action='store_true', help='keep pictures as they are, as PNG, not as video'
    )
    parser.add_argument(
        '--policy-size', action='store_true', help='shrink pictures to what the policy sees'
    )
    parser.add_argument(
        '--include-rejected',
        action='store_true',
        help='also episodes marked as failures and those that the recorder judged unfit',
    )
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Export, and put the dataset into place once LeRobot reads back what the episodes hold."""
    _check_target(args.out)
    load_library()
    robot = load_robot(args.robot)
    options = ExportOptions(
        repo_id=args.repo_id or f'local/{args.out.name}',
        is_lossless=args.lossless,
        at_policy_size=args.policy_size,
        include_rejected=args.include_rejected,
    )
    found = len(find_episodes(args.folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=args.out.parent, prefix='.export-lerobot-') as folder:
        draft = Path(folder) / args.out.name
        with make_progress() as progress:
            bar = progress.add_task('exporting', total=found, note='')
            report = export_episodes(
                args.folder, robot, draft, options, lambda: progress.advance(bar)
            )
            bar = progress.add_task('reading back', total=len(report.episodes), note='')
            psnr_db = check_export(draft, robot, report, options, lambda: progress.advance(bar))
        if args.out.exists():
            args.out.rmdir()
        draft.rename(args.out)
    for path, reason in report.skipped.items():
        console.print(
            f'mil export-lerobot: Left out {path}: {reason}', style='yellow', soft_wrap=True
        )
    print_json(_summarise(args.out, options, report, psnr_db), args.json)
    return 0


def _check_target(path: Path) -> None:
    """Refuse to write where something is."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DatasetError(f'{path} exists already; expected a new or empty folder as --out.')


def _summarise(
    out: Path, options: ExportOptions, report: ExportReport, psnr_db: float
) -> dict[str, Any]:
    return {
        'out': str(out),
        'repo_id': options.repo_id,
        'episodes': len(report.episodes),
        'frames': report.frames,
        'tasks': report.tasks,
        'lowest_psnr_db': round(psnr_db, 1) if math.isfinite(psnr_db) else None,
        'skipped': report.skipped,
        'bytes': sum(file.stat().st_size for file in out.rglob('*') if file.is_file()),
    }
