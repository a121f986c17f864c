"""A trial shows a task, and never the scene in which it is then done."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Observation
from mil_ros.sim import rollout
from mil_ros.sim.families import get_family, Task
from mil_ros.sim.simulation import Simulation
from mil_ros.tools.trials import run_trial

FAMILY = get_family('reach')


class Witness:
    """Notes what it is shown and where it must act; moves nothing."""

    def __init__(self) -> None:
        self.shown: tuple[Demo, ...] = ()
        self.seen: list[Observation] = []

    def adapt(self, *demos: Demo) -> Witness:
        self.shown = demos
        return self

    def act(self, observation: Observation) -> np.ndarray:
        self.seen.append(observation)
        return np.zeros(7)


@pytest.fixture(scope='module')
def simulation(tiny_robot: RobotDescription) -> Iterator[Simulation]:
    made = Simulation(tiny_robot, FAMILY)
    yield made
    made.close()


@pytest.fixture
def task() -> Task:
    return FAMILY.sample_task('test', 0, 1)


def try_it(simulation: Simulation, task: Task, **options: Any) -> tuple[Witness, Demo]:
    witness = Witness()
    demo, trial = run_trial(simulation, witness, task, np.random.default_rng(3), **options)
    assert not trial.outcome.success
    return witness, demo


def test_scene_of_the_run_was_not_shown(simulation: Simulation, task: Task) -> None:
    witness, demo = try_it(simulation, task, modality='full', shots=3)
    assert len(witness.shown) == 3
    assert witness.shown[-1] is demo
    first = [shown.images[0] for shown in witness.shown] + [witness.seen[0].image]
    assert len({image.tobytes() for image in first}) == 4
    poses = [shown.joint_positions[0] for shown in witness.shown]
    poses += [witness.seen[0].joint_positions.astype(np.float32)]
    assert len({pose.tobytes() for pose in poses}) == 4


def test_policy_for_video_is_shown_the_frames_alone(simulation: Simulation, task: Task) -> None:
    witness, demo = try_it(simulation, task, modality='video')
    (shown,) = witness.shown
    assert shown.is_video_only
    np.testing.assert_array_equal(shown.images, demo.images)
    assert not demo.is_video_only


def test_what_the_expert_fails_at_is_not_shown(
    simulation: Simulation, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Demo | None] = []
    show = rollout.demonstrate

    def fail_first(*args: Any, **options: Any) -> Demo | None:
        demo = show(*args, **options)
        tried.append(demo if tried else None)
        return tried[-1]

    monkeypatch.setattr(rollout, 'demonstrate', fail_first)
    witness, _ = try_it(simulation, task, modality='full')
    assert len(tried) == 2
    assert witness.shown == (tried[1],)


def test_frames_are_kept_on_request_only(simulation: Simulation, task: Task) -> None:
    rng = np.random.default_rng(3)
    for keep in (False, True):
        _, trial = run_trial(simulation, Witness(), task, rng, modality='full', keep_frames=keep)
        assert bool(trial.frames) == keep
