"""Datasets from recorded episodes, so that a lab can meta-train on what its own arm did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mil_ros.core.errors import DatasetError, EpisodeError, MilError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.dataset import DatasetInfo, save_info, save_task
from mil_ros.data.episode import load_demo, read_provenance
from mil_ros.data.metadata import FILE_NAME


@dataclass(frozen=True, slots=True)
class GatherReport:
    """What became of the episodes.

    Attributes:
        tasks: Labels of the tasks of the dataset, in its order.
        demos: Demonstrations of each.
        action_sources: How many demonstrations have commanded and how many measured actions.
        skipped: Why an episode was not used, by its path.
    """

    tasks: tuple[str, ...]
    demos: int
    action_sources: dict[str, int]
    skipped: dict[str, str]


def find_episodes(folder: Path) -> list[Path]:
    """Return every episode below a folder, by name, be it whole or cut off.

    Raises:
        DatasetError: If there is none.
    """
    files = (file for pattern in (FILE_NAME, '*.mcap') for file in folder.rglob(pattern))
    episodes = sorted({file.parent for file in files})
    if not episodes:
        raise DatasetError(
            f'No episode below {folder}; expected rosbag2 folders with {FILE_NAME}, record some '
            'with /recorder/start and /recorder/stop.'
        )
    return episodes


def gather(
    folder: Path,
    robot: RobotDescription,
    out: Path,
    *,
    name: str,
    demos: int,
    steps: int,
    on_episode: Callable[[], None] = lambda: None,
) -> GatherReport:
    """Make a dataset of episodes; those with the same label `task` are one task.

    Demonstrations are spread over `steps` moments each, so that all have one length. Episodes
    marked as failures, unreadable ones and those beyond `demos` of a task are passed over, and
    tasks with fewer are left out; the report says which and why.

    Args:
        folder: Where the episodes are.
        robot: The arm that they are of.
        out: Folder of the dataset.
        name: What the dataset calls its family of tasks.
        demos: Demonstrations per task, K.
        steps: Time steps of each, T.
        on_episode: Called after each episode.

    Raises:
        DatasetError: If there is no episode, or no task has enough.
    """
    by_task: dict[str, list[Demo]] = {}
    skipped: dict[str, str] = {}
    for path in find_episodes(folder):
        try:
            label = read_label(read_provenance(path))
            kept = by_task.setdefault(label, [])
            if len(kept) >= demos:
                skipped[str(path)] = f'task {label!r} has its {demos} demonstrations already'
            else:
                kept.append(load_demo(path, robot).subsample(steps))
        except MilError as err:
            skipped[str(path)] = str(err)
        on_episode()
    return save_by_label(by_task, skipped, robot, out, name=name, demos=demos)


def save_by_label(
    by_task: dict[str, list[Demo]],
    skipped: dict[str, str],
    robot: RobotDescription,
    out: Path,
    *,
    name: str,
    demos: int,
) -> GatherReport:
    """Write the tasks that have enough demonstrations as a dataset.

    Args:
        by_task: At most `demos` demonstrations of each label, all of one length.
        skipped: What was passed over so far, and why; tasks that are left out are added.
        robot: The arm that they are of.
        out: Folder of the dataset.
        name: What the dataset calls its family of tasks.
        demos: Demonstrations per task, K.

    Raises:
        DatasetError: If no task has enough.
    """
    enough = {label: kept for label, kept in by_task.items() if len(kept) == demos}
    if not enough:
        most = max((len(kept) for kept in by_task.values()), default=0)
        reasons = ''.join(f' {what}: {why}' for what, why in list(skipped.items())[:1])
        raise DatasetError(
            f'No task has {demos} usable demonstrations, the best has {most}; record more per '
            f'label or lower --demos. {len(skipped)} were passed over'
            f'{", the first:" + reasons if reasons else "."}'
        )
    sources = Counter(demo.action_source for kept in enough.values() for demo in kept)
    settings = robot.policy
    info = DatasetInfo(
        task=name,
        split='train',
        seed=0,
        tasks=len(enough),
        demos=demos,
        robot=robot.name,
        robot_sha256=robot.sha256,
        joint_names=robot.joint_names,
        rate_hz=settings.rate_hz,
        image_height=settings.image_height,
        image_width=settings.image_width,
        action_sources=tuple(sorted(sources)),
    )
    save_info(out, info)
    for index, kept in enumerate(enough.values()):
        save_task(out, index, kept)
    few = {label: len(kept) for label, kept in by_task.items() if label not in enough}
    left_out = {f'task {t!r}': f'has {n} demonstrations of {demos}' for t, n in few.items()}
    return GatherReport(tuple(enough), demos, dict(sources), skipped | left_out)


def read_label(provenance: Mapping[str, str], include_failures: bool = False) -> str:
    """Return the task of an episode from what the recorder noted about it.

    Raises:
        EpisodeError: If it has none, or is marked as a failure and those are not wanted.
    """
    if provenance.get('outcome') == 'failure' and not include_failures:
        raise EpisodeError('it is marked as a failure')
    label = provenance.get('task', '')
    if not label:
        raise EpisodeError(
            'it has no label; set the parameter `task` of the recorder before recording'
        )
    return label
