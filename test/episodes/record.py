"""Records the episodes of this folder anew, and what is commanded on them.

    .venv/bin/python test/episodes/record.py

The real recorder records them around the simulated arm; then the same messages are written again
in larger chunks that are packed as small as can be, a thirtieth of their size.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
import shutil
import sys
import tempfile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.data.episode import read_provenance
from mil_ros.data.episode_writer import EpisodeWriter
from mil_ros.data.inspection import open_file
from mil_ros.data.mcap_format import COMPRESSORS
from mil_ros.sim.families import get_family
from mil_ros.tools import cli
from mil_ros.tools.graph import Graph, isolate
from mil_ros.tools.loop import Episode, Loop

FOLDER = Path(__file__).parent
TASKS = {'reach_a': (3, 0), 'reach_b': (11, 5)}  # folder -> seed and index of a held-out task
ATTEMPTS = 5  # a busy machine leaves gaps
BEST = 19  # level of compression; a recorder has no time for that


def main() -> int:
    """Replace all episodes and their references."""
    isolate()
    robot = load_robot('sim_panda')
    for name, (seed, index) in TASKS.items():
        with tempfile.TemporaryDirectory() as folder:
            recorded = record(Path(folder), robot, seed, index)
            shutil.rmtree(FOLDER / name, ignore_errors=True)
            pack(recorded, FOLDER / name)
    return cli.main(['replay', str(FOLDER), '--write-reference'])


def record(out: Path, robot: RobotDescription, seed: int, index: int) -> Path:
    """Return an episode that was accepted, of a demonstration that succeeded."""
    family = get_family('reach')
    task = family.sample_task('test', seed, index)
    episodes = out / 'episodes'
    with Graph({'episodes': str(episodes), 'seed': str(seed)}, out / 'logs') as graph:
        loop = Loop(robot, graph, out, None)
        try:
            loop.bring_up()
            for _ in range(ATTEMPTS):
                loop.demonstrate(Episode(index, task.colour))
                loop.client.wait(lambda: loop.client.is_success, 5.0, 'success')
                newest = max(episodes.iterdir())
                if read_provenance(newest)['verdict'] == 'accept':
                    loop.client.trigger('/recorder/mark_success')
                    return newest
        finally:
            loop.close()
    raise SystemExit(f'No episode was accepted in {ATTEMPTS} attempts; is the machine busy?')


def pack(source: Path, target: Path) -> None:
    """Write the same messages with the same times and notes in fewer bytes."""
    COMPRESSORS['zstd'] = partial(zstd.compress, level=BEST)
    with open_file(source) as file:
        file.read_channels()
        channels = list(file.channels.values())
        writer = EpisodeWriter(
            target,
            {channel.topic: channel.kind for channel in channels},
            read_provenance(source),
            {channel.topic: channel.qos for channel in channels},
            'zstd',
        )
        for entry in file.messages():
            writer.write(entry.channel.topic, bytes(entry.data), entry.log_ns)
        writer.close()


if __name__ == '__main__':
    sys.exit(main())
