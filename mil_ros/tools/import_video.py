"""``mil import-video``: a demonstration filmed with anything."""

from __future__ import annotations

import argparse
import hashlib
import math
from pathlib import Path
from typing import Any

from mil_ros import __version__
from mil_ros.core.alignment import NS_PER_S
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.video_file import open_clip
from mil_ros.data.video_import import Crop, import_video, ImportOptions, ImportReport
from mil_ros.tools.output import console, make_progress, print_json

_WHOLE = 0.98  # of the frames announced; an edit list may hide a few
_STILL_S = 0.5  # nobody demonstrates without moving for so long


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil import-video``."""
    parser.add_argument('file', type=Path, help='MP4, WebM, GIF, ... or a folder of pictures')
    parser.add_argument('--out', type=Path, required=True, help='folder of the episode')
    parser.add_argument('--robot', default='sim_panda', help='robot file')
    parser.add_argument('--task', default='', help='what is shown')
    parser.add_argument(
        '--crop',
        type=parse_crop,
        metavar='X,Y,W,H',
        help="part to use, in pixels (default: the middle, in the camera's aspect)",
    )
    parser.add_argument(
        '--rate-hz',
        type=parse_rate,
        metavar='HZ',
        help='frame rate of pictures or of a video without times (default: its own times)',
    )
    parser.add_argument('--json', type=Path, help='write the summary to this file')


def run(args: argparse.Namespace) -> int:
    """Import, and tell what the clip lacks."""
    robot = load_robot(args.robot)
    clip = open_clip(args.file, args.rate_hz)
    options = ImportOptions(
        crop=args.crop,
        start_ns=max(args.file.stat().st_mtime_ns, NS_PER_S),  # 0 would mean: no stamp
        provenance=_describe(args, robot),
    )
    try:
        with make_progress() as progress:
            bar = progress.add_task('importing', total=clip.frame_count or None, note='')
            report = import_video(clip, robot, args.out, options, lambda: progress.advance(bar))
    finally:
        clip.release()
    warnings = find_warnings(report, robot.policy.rate_hz)
    for warning in warnings:
        console.print(f'mil import-video: {warning}', style='yellow', soft_wrap=True)
    print_json(_summarise(args.out, report, warnings), args.json)
    return 0


def parse_crop(text: str) -> Crop:
    """Read a crop from the command line.

    Raises:
        argparse.ArgumentTypeError: If it is not four whole numbers.
    """
    try:
        x, y, width, height = (int(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'got {text!r}, expected x,y,width,height in pixels such as 40,0,640,480'
        ) from None
    return Crop(x, y, width, height)


def parse_rate(text: str) -> float:
    """Read a frame rate from the command line.

    Raises:
        argparse.ArgumentTypeError: If it is not a number above 0.
    """
    try:
        rate_hz = float(text)
    except ValueError:
        rate_hz = math.nan
    if not 0.0 < rate_hz <= 1000.0:
        raise argparse.ArgumentTypeError(f'got {text!r}, expected a rate above 0, at most 1000 Hz')
    return rate_hz


def find_warnings(report: ImportReport, rate_hz: float) -> list[str]:
    """Return what is wrong with a clip though it can be used, a sentence each."""
    warnings = []
    if report.frames < _WHOLE * report.announced:
        warnings.append(
            f'The video ends after {report.frames} frames, expected {report.announced} as it '
            'announces; it may be cut off.'
        )
    if report.longest_still_s > _STILL_S:
        warnings.append(
            f'The video has no new frame for up to {report.longest_still_s:.2f} s, expected at '
            f'most {_STILL_S:g} s; what happened meanwhile is not in the demonstration.'
        )
    elif report.repeated:
        warnings.append(
            f'{report.repeated} of {report.steps} steps repeat the frame before; the policy looks '
            f'{rate_hz:g} times a second, film at that rate or more.'
        )
    return warnings


def _describe(args: argparse.Namespace, robot: RobotDescription) -> dict[str, str]:
    return {
        'task': args.task,
        'robot': robot.name,
        'robot_sha256': robot.sha256,
        'software': f'mil_ros {__version__}',
        'source': args.file.name,
        'source_sha256': _hash(args.file),
        'source_times': f'{args.rate_hz:g} Hz, as given' if args.rate_hz else 'as in the file',
    }


def _hash(path: Path) -> str:
    """Return the hash of a file, or of all files of a folder, names included."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]:
        if file != path:
            digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _summarise(out: Path, report: ImportReport, warnings: list[str]) -> dict[str, Any]:
    return {
        'episode': str(out),
        'frames': report.frames,
        'duration_s': round(report.duration_s, 3),
        'steps': report.steps,
        'repeated_steps': report.repeated,
        'longest_still_s': round(report.longest_still_s, 3),
        'crop': str(report.crop),
        'warnings': warnings,
    }
