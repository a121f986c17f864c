"""What is collected depends on seed and number alone, whoever collects it and however often."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.dataset import Dataset, task_path
from mil_ros.sim import rollout
from mil_ros.sim.simulation import Simulation
from mil_ros.tools import collect
from mil_ros.tools.cli import main

TASKS = 3


def run(out: Path, robot: Path, *words: str) -> dict[str, Any]:
    """Collect two demonstrations of each of some tasks; return the summary."""
    command = ['collect', '--task', 'reach', '--robot', str(robot), '--seed', '4']
    command += ['--tasks', str(TASKS), '--demos', '2', '--out', str(out)]
    assert main([*command, '--json', str(out.with_suffix('.json')), *words]) == 0
    summary: dict[str, Any] = json.loads(out.with_suffix('.json').read_text())
    return summary


def hash_files(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = (path for path in folder.rglob('*') if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope='module')
def collected(tiny_robot_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that one worker has collected."""
    out = tmp_path_factory.mktemp('collect') / 'one'
    run(out, tiny_robot_file, '--workers', '1')
    return out


def test_dataset_is_what_was_asked_for(collected: Path, tiny_robot: RobotDescription) -> None:
    dataset = Dataset(collected)
    assert len(dataset) == TASKS
    info = dataset.info
    assert (info.task, info.split, info.seed, info.demos) == ('reach', 'train', 4, 2)
    assert (info.robot, info.robot_sha256) == (tiny_robot.name, tiny_robot.sha256)
    for index in range(TASKS):
        assert dataset.load(index).images.shape[2:] == (12, 16, 3)


def test_more_workers_give_the_same_bytes(
    collected: Path, tiny_robot_file: Path, tmp_path: Path
) -> None:
    summary = run(tmp_path / 'three', tiny_robot_file, '--workers', '3')
    assert summary['workers'] == 3
    assert summary['collected_demos'] == 2 * TASKS
    assert summary['demos_per_s'] > 0.0
    assert len(hash_files(collected)) == TASKS + 1
    assert hash_files(tmp_path / 'three') == hash_files(collected)


def test_interrupted_collection_makes_what_is_missing_and_nothing_else(
    collected: Path, tiny_robot_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'again'
    run(out, tiny_robot_file, '--workers', '1')
    task_path(out, 1).unlink()
    kept = task_path(out, 0).stat()
    summary = run(out, tiny_robot_file, '--workers', '1')
    assert summary['collected_demos'] == 2
    assert hash_files(out) == hash_files(collected)
    assert task_path(out, 0).stat().st_mtime_ns == kept.st_mtime_ns
    nothing = run(out, tiny_robot_file, '--workers', '1')
    assert (nothing['collected_demos'], nothing['demos_per_s']) == (0, 0.0)


def test_another_seed_in_the_same_folder_is_refused(
    collected: Path, tiny_robot_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hash_files(collected)
    command = ['collect', '--robot', str(tiny_robot_file), '--seed', '5', '--demos', '2']
    assert main([*command, '--tasks', '3', '--out', str(collected)]) == 2
    assert 'holds a dataset with other seed; choose another --out' in capsys.readouterr().err
    assert hash_files(collected) == before


class Here:
    """Stands for the pool of processes: all is done in this one."""

    def __init__(self, workers: int, initializer: Any, initargs: tuple[Any, ...]) -> None:
        initializer(*initargs)

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        collect._simulation.close()

    def imap_unordered(self, work: Any, numbers: list[int]) -> Any:
        return map(work, numbers)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command use no other process, so that a test can change what happens."""
    monkeypatch.setattr(collect, '_simulation', None, raising=False)

    def get_context(_: str) -> Any:
        return type('Context', (), {'Pool': Here})

    monkeypatch.setattr(collect.multiprocessing, 'get_context', get_context)


@pytest.mark.usefixtures('here')
def test_demonstrations_that_fail_are_dropped_and_counted(
    tiny_robot_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third one is made to fail."""
    tried: list[Demo | None] = []
    show = rollout.demonstrate

    def sometimes(*args: Any) -> Demo | None:
        tried.append(None if len(tried) % 3 == 1 else show(*args))
        return tried[-1]

    monkeypatch.setattr(rollout, 'demonstrate', sometimes)
    summary = run(tmp_path / 'data', tiny_robot_file)
    failed = tried.count(None)
    assert failed >= 2
    assert (summary['collected_demos'], summary['failed_demos']) == (2 * TASKS, failed)
    assert len(tried) == 2 * TASKS + failed
    assert Dataset(tmp_path / 'data').info.demos == 2


@pytest.mark.usefixtures('here')
def test_a_mistake_in_a_worker_is_a_sentence(
    tiny_robot_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(path: Path, content: bytes) -> None:
        if path.suffix == '.npy':
            raise OSError(28, 'No space left on device')
        path.write_bytes(content)

    monkeypatch.setattr('mil_ros.data.dataset.write_atomically', full)
    words = ['--tasks', '1', '--demos', '2', '--out', str(tmp_path / 'data')]
    assert main(['collect', '--robot', str(tiny_robot_file), *words]) == 2
    shown = capsys.readouterr().err
    assert 'tasks/000000.npy (No space left on device); the tasks before it are whole.' in shown
    assert 'Traceback' not in shown


def test_simulation_of_a_worker_is_of_the_family(tiny_robot: RobotDescription) -> None:
    collect._init(tiny_robot, 'push')
    simulation: Simulation = collect._simulation
    try:
        assert simulation.family.name == 'push'
        assert simulation.robot is tiny_robot
    finally:
        simulation.close()
