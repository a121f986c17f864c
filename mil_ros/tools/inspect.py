"""``mil inspect``: what is in an episode or a folder of them, and repair of what was cut off."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from mil_ros.core.errors import ConfigError
from mil_ros.core.streams import StreamTimes
from mil_ros.data.episode_log import JOINT_STATE
from mil_ros.data.inspection import (
    COMPRESSED,
    EpisodeSummary,
    EpisodeTimes,
    find_episodes,
    IMAGE,
    is_episode,
    read_frames,
    read_motion,
    read_quality,
    read_times,
    summarise,
)
from mil_ros.data.repair import repair_episode
from mil_ros.tools.episode_plots import (
    find_spans,
    write_contact_sheet,
    write_joints,
    write_timeline,
)
from mil_ros.tools.output import console, print_json

_FRAMES = 12
_CELLS = 48  # of a timeline in the terminal
_COLOURS = {'accept': 'green', 'warn': 'yellow', 'reject': 'red'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil inspect``."""
    parser.add_argument('path', type=Path, help='an episode, or a folder of episodes')
    parser.add_argument(
        '--repair', action='store_true', help='restore an episode that was cut off'
    )
    parser.add_argument('--out', type=Path, help='folder for pictures (default: the episode)')
    parser.add_argument('--no-pictures', action='store_true', help='write no pictures')
    parser.add_argument('--json', type=Path, help='write the figures to this file')


def run(args: argparse.Namespace) -> int:
    """Show what is there; 1 if an episode is cut off or rejected, else 0."""
    path = args.path
    if not path.is_dir():
        raise ConfigError(
            f'No folder {path}; expected an episode (a rosbag2 folder) or a folder of episodes.'
        )
    if args.repair:
        report = repair_episode(path)
        console.print(escape(str(report)))
        print_json({**asdict(report), 'path': str(path)}, args.json)
        return 0
    if not is_episode(path):
        return _list(path, args.json)
    return _show(path, None if args.no_pictures else args.out or path, args.json)


def _list(folder: Path, file: Path | None) -> int:
    summaries = [summarise(path) for path in find_episodes(folder)]
    table = Table(title=f'{len(summaries)} episodes in {folder}')
    for column in ('episode', 'task', 'operator', 'outcome', 'duration', 'size', 'verdict'):
        table.add_column(column)
    for summary in summaries:
        about = summary.provenance
        duration = '' if summary.duration_s is None else f'{summary.duration_s:.1f} s'
        verdict = f'[red]{escape(summary.fault)}[/]' if summary.fault else _verdict(about)
        size = f'{summary.size_bytes / 1e6:.1f} MB'
        notes = [escape(about.get(key, '')) for key in ('task', 'operator', 'outcome')]
        table.add_row(summary.path.name, *notes, duration, size, verdict)
    console.print(table)
    damaged = [summary for summary in summaries if summary.fault]
    if damaged:
        console.print('Restore what was cut off with `mil inspect --repair EPISODE`.')
    print_json({'episodes': [_summary_document(summary) for summary in summaries]}, file)
    return 1 if damaged else 0


def _show(path: Path, pictures: Path | None, file: Path | None) -> int:
    summary = summarise(path)
    times = read_times(path)
    console.print(_summary_table(summary, times))
    console.print(_stream_table(times))
    console.print(_timelines(times))
    quality = read_quality(summary.provenance)
    for reason in quality.get('reasons', []):
        console.print(f'- {escape(reason)}')
    if summary.fault:
        console.print(f'[red]It {escape(summary.fault)}[/]: mil inspect --repair {path}')
    document: dict[str, Any] = {
        **_summary_document(summary),
        'duration_s': round(times.duration_s, 3),
        'streams': {topic: asdict(report) for topic, report in times.reports().items()},
        'gaps': {s.topic: _gaps(s, times) for s in times.streams},
        'quality': quality,
        'pictures': [],
    }
    if pictures is not None:
        document['pictures'] = _write_pictures(path, times, pictures)
        console.print(f'Pictures: {", ".join(document["pictures"])}')
    print_json(document, file)
    return 1 if summary.fault or summary.provenance.get('verdict') == 'reject' else 0


def _summary_table(summary: EpisodeSummary, times: EpisodeTimes) -> Table:
    table = Table(title=summary.path.name, show_header=False)
    about = summary.provenance
    rows = {key: escape(about.get(key, '')) for key in ('task', 'operator', 'outcome', 'robot')}
    rows['action'] = escape(about.get('action_source', ''))
    rows['verdict'] = _verdict(about)
    rows['duration'] = f'{times.duration_s:.2f} s'
    rows['size'] = f'{summary.size_bytes / 1e6:.1f} MB'
    rows['recorded by'] = escape(about.get('software', ''))
    if 'repaired' in about:
        rows['repaired'] = escape(about['repaired'])
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def _stream_table(times: EpisodeTimes) -> Table:
    table = Table()
    for column in ('topic', 'count', 'rate', 'longest gap', 'delay p95'):
        table.add_column(column)
    reports = times.reports()
    for stream in times.streams:
        report = reports[stream.topic]
        table.add_row(
            stream.topic,
            str(report.count),
            _unit(report.rate_hz, 'Hz', 1),
            _unit(report.max_gap_s, 's', 3),
            _unit(report.delay_p95_s, 's', 3),
        )
    return table


def _timelines(times: EpisodeTimes) -> Table:
    table = Table(title=f'messages (green) and gaps (red) in {times.duration_s:.2f} s', box=None)
    table.add_column('', overflow='fold')
    table.add_column('', no_wrap=True)
    for stream in times.streams:
        table.add_row(stream.topic, _timeline(stream, times))
    return table


def _timeline(stream: StreamTimes, times: EpisodeTimes) -> str:
    """Return a row of cells from start to end, red where there is a gap."""
    cells = ['[green]█[/]'] * _CELLS
    span = max(times.duration_s, 1e-9)
    for begin_s, end_s, is_gap in find_spans(stream, times.start_ns, times.end_ns):
        if is_gap:
            first = min(int(_CELLS * begin_s / span), _CELLS - 1)
            for cell in range(first, max(first + 1, int(_CELLS * end_s / span))):
                cells[cell] = '[red]░[/]'
    return ''.join(cells)


def _gaps(stream: StreamTimes, times: EpisodeTimes) -> list[list[float]]:
    spans = find_spans(stream, times.start_ns, times.end_ns)
    return [[round(begin, 3), round(end, 3)] for begin, end, is_gap in spans if is_gap]


def _write_pictures(path: Path, times: EpisodeTimes, folder: Path) -> list[str]:
    """Write the pictures that the episode has the messages for; return their names."""
    written = [folder / 'timeline.png']
    write_timeline(written[0], times)
    cameras = [t for t, kind in times.kinds.items() if kind in (IMAGE, COMPRESSED)]
    if cameras:
        written.append(folder / 'contact_sheet.png')
        rows = [(topic, read_frames(path, times, topic, _FRAMES)) for topic in cameras]
        write_contact_sheet(written[-1], rows)
    for topic in (t for t, kind in times.kinds.items() if kind == JOINT_STATE):
        written.append(folder / f'joints{topic.replace("/", "_")}.png')
        write_joints(written[-1], read_motion(path, times, topic), topic)
    return [str(file) for file in written]


def _summary_document(summary: EpisodeSummary) -> dict[str, Any]:
    provenance = {k: v for k, v in summary.provenance.items() if k != 'quality'}
    return {**asdict(summary), 'path': str(summary.path), 'provenance': provenance}


def _verdict(provenance: dict[str, str]) -> str:
    verdict = provenance.get('verdict', '')
    return f'[{_COLOURS.get(verdict, "default")}]{escape(verdict)}[/]'


def _unit(value: float | None, unit: str, digits: int) -> str:
    return '' if value is None else f'{value:.{digits}f} {unit}'
