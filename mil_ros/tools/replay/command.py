"""The command line of ``mil replay`` and the form of its results."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
import math
from pathlib import Path
import shutil
import tempfile
from typing import Any, Final

from lifecycle_msgs.msg import Transition
import numpy as np
from rich.markup import escape

from mil_ros.bringup import REPLAY_PARAMETERS, replayed
from mil_ros.core.errors import ReplayError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.inspection import find_episodes, is_episode
from mil_ros.data.playback import read_playback, Step
from mil_ros.inference.bundle import Bundle, check_robot, load_bundle
from mil_ros.tools.bench.rows import at_most, plain, Row
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph, isolate
from mil_ros.tools.output import console, make_progress, print_json
from mil_ros.tools.replay.player import PATIENCE_S, Played, Player
from mil_ros.tools.replay.reference import (
    check_reference,
    compare,
    Comparison,
    FILE_NAME,
    load_reference,
    make_reference,
    Reference,
    save_reference,
)

_ADAPT_BUDGET_MS: Final = 5000.0
_DISCOVERY_S: Final = 4.0  # until all who publish are known; each says so every 3 s
_PERCENTILES: Final = (50, 95, 99)


@dataclass(frozen=True, slots=True)
class Take:
    """One episode to replay.

    Attributes:
        episode: Its folder.
        steps: What is played.
        file: Of the reference.
        reference: What the commands must be; None if that is not known yet.
        is_accepting: Whether the commands become the reference.
    """

    episode: Path
    steps: list[Step]
    file: Path
    reference: Reference | None
    is_accepting: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``mil replay``."""
    parser.add_argument('episode', type=Path, help='an episode, or a folder of episodes')
    parser.add_argument('--bundle', help='bundle to adapt (default: models/reach)')
    parser.add_argument('--robot', help='robot file (default: what the bundle was made for)')
    parser.add_argument(
        '--reference', type=Path, help=f'commands to expect (default: EPISODE/{FILE_NAME})'
    )
    parser.add_argument(
        '--write-reference', action='store_true', help='accept the commands as they are now'
    )
    parser.add_argument(
        '--enforce-budget', action='store_true', help='a latency over its budget is a failure too'
    )
    parser.add_argument(
        '--attach', action='store_true', help='use nodes that run, as replay.launch.py does'
    )
    parser.add_argument('--json', type=Path, help='write the result to this file')


def run(args: argparse.Namespace) -> int:
    """Replay; 0 if the commands are those of the reference or accepted, 1 if not."""
    bundle = load_bundle(args.bundle or share_dir() / 'models' / 'reach')
    robot = load_robot(args.robot or bundle.manifest['robot']['name'])
    check_robot(bundle, robot)
    episodes = _find(args.episode)
    if args.reference and len(episodes) > 1:
        raise ReplayError(
            f'Got --reference with {len(episodes)} episodes; expected one episode, choose one or '
            'leave it out.'
        )
    takes = [_prepare(path, robot, bundle, args) for path in episodes]
    results = []
    ticks = sum(len(take.steps) - 1 for take in takes)
    with _open_player(args, bundle, robot) as player, make_progress() as progress:
        task = progress.add_task('replaying', total=ticks, note='')
        for take in takes:
            progress.update(task, note=take.episode.name)
            played = player.play(take.episode, bundle, take.steps, lambda: progress.advance(task))
            results.append(_judge(take, played, bundle, robot))
    print_json(_summarise(results, bundle, robot), args.json)
    is_same = args.write_reference or all(result['same'] for result in results)
    is_quick = all(row['ok'] for result in results for row in result['latency'])
    return 0 if is_same and (is_quick or not args.enforce_budget) else 1


def _find(path: Path) -> list[Path]:
    """Return the episodes that a path stands for."""
    return find_episodes(path) if path.is_dir() and not is_episode(path) else [path]


def _prepare(
    episode: Path, robot: RobotDescription, bundle: Bundle, args: argparse.Namespace
) -> Take:
    """Read an episode and its reference, so that a mistake shows before any node is started."""
    steps = read_playback(episode, robot)
    file = args.reference or episode / FILE_NAME
    if args.write_reference:
        before = None
        with suppress(ReplayError):  # there need not be any
            before = load_reference(file)
        is_alike = before is not None and before.joints == robot.joint_names
        return Take(episode, steps, file, before if is_alike else None, True)
    reference = load_reference(file)
    check_reference(file, reference, episode, bundle)
    return Take(episode, steps, file, reference, False)


@contextmanager
def _open_player(
    args: argparse.Namespace, bundle: Bundle, robot: RobotDescription
) -> Iterator[Player]:
    """Have nodes to play to, by starting them unless they run.

    Their logs are kept if something goes wrong.
    """
    if args.attach:
        client = GraphClient(robot, lambda: None)
        try:
            client.spin_for(_DISCOVERY_S)
            yield Player(client, robot)
        finally:
            client.close()
        return
    isolate()
    folder = Path(tempfile.mkdtemp(prefix='mil_replay_'))
    values = {
        'robot': args.robot or robot.name,
        'bundle': str(bundle.path.resolve()),
        'policies': str(folder / 'policies'),
    }
    try:
        with Graph(values, folder, specs=replayed(), parameters=REPLAY_PARAMETERS) as graph:
            client = GraphClient(robot, graph.check)
            try:
                for transition in (
                    Transition.TRANSITION_CONFIGURE,
                    Transition.TRANSITION_ACTIVATE,
                ):
                    client.change_state('control', transition, PATIENCE_S)
                yield Player(client, robot)
            finally:
                client.close()
    except BaseException:
        console.print(f'The logs of the nodes are in {folder}.')
        raise
    shutil.rmtree(folder)


def _judge(take: Take, played: Played, bundle: Bundle, robot: RobotDescription) -> dict[str, Any]:
    """Compare with the reference, or replace it; return what is to be said of an episode."""
    comparison = Comparison(math.nan, ())
    if take.reference is not None:
        comparison = compare(take.reference, played.commands)
    colour = 'yellow' if take.is_accepting else 'red'
    for fault in comparison.faults:
        console.print(f'[{colour}]{take.episode.name}: {escape(fault)}[/]')
    if take.is_accepting:
        save_reference(take.file, make_reference(take.episode, bundle, robot, played.commands))
        console.print(f'Wrote {take.file}: {len(played.commands)} commands.')
    elif comparison.faults:
        console.print('If the change is meant, accept it with --write-reference.')
    rows = _measure(played, robot)
    for row in (row for row in rows if not row.ok):
        console.print(
            f'{take.episode.name}: {row.name} is {row.value:.1f} {row.unit}, expected at most '
            f'{row.limit:g}.'
        )
    error = comparison.max_command_error
    return {
        'episode': str(take.episode),
        'reference': str(take.file),
        'written': take.is_accepting,
        'ticks': len(played.commands),
        'same': not comparison.faults and take.reference is not None,
        'max_command_error': error if math.isfinite(error) else None,
        'faults': comparison.faults,
        'loss_before': float(played.adaptation['loss_before']),
        'loss_after': float(played.adaptation['loss_after']),
        'latency': [asdict(row) for row in rows],
    }


def _measure(played: Played, robot: RobotDescription) -> list[Row]:
    """Return the latencies; a command must come within one period of the policy."""
    budgets_ms = {'image_to_command': 1e3 / robot.policy.rate_hz}
    rows = []
    for hop, values in played.latencies_ms.items():
        for percentile, value in zip(_PERCENTILES, np.percentile(values, _PERCENTILES)):
            name = f'{hop}_p{percentile}_ms'
            if hop in budgets_ms:
                rows.append(at_most(name, float(value), 'ms', budgets_ms[hop]))
            else:
                rows.append(plain(name, float(value), 'ms'))
    adapt_ms = float(played.adaptation['adapt_ms'])
    return [*rows, at_most('adapt_ms', adapt_ms, 'ms', _ADAPT_BUDGET_MS)]


def _summarise(
    results: list[dict[str, Any]], bundle: Bundle, robot: RobotDescription
) -> dict[str, Any]:
    errors = [result['max_command_error'] for result in results]
    return {
        'same': all(result['same'] for result in results),
        'max_command_error': None if None in errors else max(errors),
        'bundle': bundle.name,
        'bundle_sha256': bundle.sha256,
        'robot': robot.name,
        'episodes': results,
    }
