"""The ``mil`` command: one verb per job, errors as sentences, exit codes for machines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import errno
import importlib
import sys
from typing import Any

from mil_ros import __version__
from mil_ros.core.errors import MilError

# How a system refuses a path that a user has chosen; any other error is a bug.
_REFUSALS = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
)

# verb -> (module, one line, example)
VERBS = {
    'demo': (
        'the whole loop on the simulated arm',
        'mil demo --episodes 10 --seed 0 --json demo/report.json',
    ),
    'doctor': (
        'what is wrong with a running graph before the arm moves, and how to fix it',
        'mil doctor --robot ur5e --bundle models/reach --json doctor.json',
    ),
    'collect': (
        'demonstrations of many tasks from the simulator',
        'mil collect --task push --tasks 800 --demos 6 --workers 2',
    ),
    'train': (
        'meta-train a policy on a dataset',
        'mil train --data data/reach-train --out runs/reach --steps 4500',
    ),
    'import-video': (
        'make a demonstration of a video, filmed with anything',
        'mil import-video cup.mp4 --out ~/mil_episodes/cup --robot panda --json cup.json',
    ),
    'import-lerobot': (
        'make a dataset to train on of one recorded with LeRobot',
        'mil import-lerobot cups-lerobot --out data/cups --robot panda --demos 4',
    ),
    'export-lerobot': (
        'recorded episodes as a LeRobot dataset (format v3)',
        'mil export-lerobot ~/mil_episodes --out cups-lerobot --robot panda',
    ),
    'export': (
        'turn a checkpoint into a bundle for the robot',
        'mil export runs/reach/last.safetensors --out models/reach',
    ),
    'evaluate': (
        'closed-loop success on held-out tasks',
        'mil evaluate models/reach --trials 200 --seed 1 --json result.json',
    ),
    'inspect': (
        'what is in an episode or a folder of them; repair of what was cut off',
        'mil inspect ~/mil_episodes/20261122_101500_000_reach --json episode.json',
    ),
    'replay': (
        'the same episode through the same nodes gives the same commands',
        'mil replay test/episodes --bundle models/reach --json replay.json',
    ),
    'bench': (
        'figures against the limits of this project',
        'mil bench graph --episodes 10 --json graph.json',
    ),
}


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; only the chosen verb's module is imported."""
    parser = argparse.ArgumentParser(
        prog='mil', description='One-shot visual imitation learning for ROS 2 arms.'
    )
    parser.add_argument('--version', action='version', version=f'mil_ros {__version__}')
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for name, (summary, example) in VERBS.items():
        sub = verbs.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + '.',
            epilog=f'example: {example}',
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        if name == verb:
            _import(name).add_arguments(sub)
    return parser


def _import(verb: str) -> Any:
    return importlib.import_module(f'mil_ros.tools.{verb.replace("-", "_")}')


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; 0 on success, 1 if its goal was not met, 2 for a mistake, 130 on Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    verb = next((w for w in words if w in VERBS), None)
    args = build_parser(verb).parse_args(words)
    try:
        return int(_import(args.verb).run(args))
    except MilError as err:
        print(f'mil {args.verb}: {err}', file=sys.stderr)
        return 2
    except OSError as err:
        if err.filename is None or err.errno not in _REFUSALS:
            raise
        print(
            f'mil {args.verb}: Cannot use {err.filename} ({err.strerror}); expected a path that '
            'this user may write to, on a disk with free space, choose another.',
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(f'mil {args.verb}: stopped by Ctrl-C.', file=sys.stderr)
        return 130


if __name__ == '__main__':
    sys.exit(main())
