"""The expert does its task, and what it shows can be made again anywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from mil_ros.core.types import Demo, Observation
from mil_ros.sim import expert, reach, rollout
from mil_ros.sim.simulation import Simulation

LAYOUTS = 60
HASH_CODE = """
import sys
from mil_ros.core.robot import load_robot
from mil_ros.sim.rollout import collect_task
from mil_ros.sim.simulation import Simulation
sys.path.insert(0, sys.argv[1])
from test_rollout import hash_demos
print(hash_demos(collect_task(Simulation(load_robot(sys.argv[2])), 'train', 3, 5, 2)[0]))
"""


def hash_demos(demos: list[Demo]) -> str:
    digest = hashlib.sha256()
    for demo in demos:
        for array in (demo.images, demo.joint_positions, demo.joint_velocities):
            digest.update(array.tobytes())
    return digest.hexdigest()


def test_expert_touches_the_target_first_in_nearly_every_layout(simulation: Simulation) -> None:
    touched = []
    for index in range(LAYOUTS):
        rng = np.random.default_rng([17, index])
        start = rollout.sample_start(simulation, rng)
        task = reach.sample_task('test', 17, index)
        simulation.reset(task, reach.sample_layout(rng), start)
        goal, first = expert.target_point(simulation), None
        for _ in range(rollout.DEMO_STEPS):
            simulation.step(expert.joint_velocities(simulation, goal), 0.1)
            first = simulation.touched() if first is None else first
        touched.append(first)
    assert touched.count(0) >= 0.98 * LAYOUTS, touched


def test_expert_stays_within_the_speed_limits(simulation: Simulation) -> None:
    rng, fastest = np.random.default_rng(2), 0.0
    for _ in range(50):
        task = reach.sample_task('train', 0, 0)
        start = simulation.robot.home + rng.normal(0.0, 0.4, 7)
        simulation.reset(task, reach.sample_layout(rng), start)
        velocities = expert.joint_velocities(simulation, expert.target_point(simulation))
        share = np.abs(velocities) / simulation.robot.velocity_limits
        assert share.max() <= 1.0 + 1e-9
        fastest = max(fastest, share.max())
    assert fastest > 0.5


@pytest.mark.parametrize('target', range(reach.OBJECTS))
def test_expert_can_be_sent_to_any_object(simulation: Simulation, target: int) -> None:
    goal = expert.target_point(simulation, target)
    for _ in range(40):
        simulation.step(expert.joint_velocities(simulation, goal), 0.1)
    assert simulation.touched() == target


def test_demonstration_is_aligned_and_starts_at_its_start_pose(simulation: Simulation) -> None:
    task = reach.sample_task('train', 0, 1)
    demo = rollout.demonstrate(simulation, task, np.random.default_rng(5), 0.0)
    assert demo is not None
    assert len(demo) == rollout.DEMO_STEPS
    assert demo.images.shape[1:] == (12, 16, 3)
    away = np.abs(demo.joint_positions[0] - simulation.robot.home)
    assert 0.0 < away.max() < 5 * rollout.START_SPREAD_RAD
    # Without noise, an action is what moves the arm until the next step.
    moved = np.diff(demo.joint_positions, axis=0) * 10.0
    assert np.abs(moved[3:] - demo.joint_velocities[3:-1]).mean() < 0.03
    assert np.abs(moved).max() > 0.2


def test_noise_disturbs_the_motion_and_not_the_label(simulation: Simulation) -> None:
    rng = np.random.default_rng(8)
    demo = None
    while demo is None:
        demo = rollout.demonstrate(simulation, reach.sample_task('train', 0, 1), rng, 0.15)
    moved = np.diff(demo.joint_positions, axis=0) * 10.0
    assert np.abs(moved[3:] - demo.joint_velocities[3:-1]).mean() > 0.05
    simulation.reset(reach.sample_task('train', 0, 1), simulation.layout, demo.joint_positions[9])
    clean = expert.joint_velocities(simulation, expert.target_point(simulation))
    np.testing.assert_allclose(demo.joint_velocities[9], clean, atol=5e-3)


def test_same_seed_gives_the_same_demonstrations(simulation: Simulation) -> None:
    first, failed = rollout.collect_task(simulation, 'train', 3, 5, 2)
    rollout.collect_task(simulation, 'test', 9, 1, 1)  # leaves nothing behind
    again, failed_again = rollout.collect_task(simulation, 'train', 3, 5, 2)
    assert (hash_demos(first), failed) == (hash_demos(again), failed_again)


def test_other_seed_or_index_gives_other_demonstrations(simulation: Simulation) -> None:
    hashes = {
        hash_demos(rollout.collect_task(simulation, 'train', seed, index, 1)[0])
        for seed, index in ((3, 5), (4, 5), (3, 6))
    }
    assert len(hashes) == 3


def test_other_process_gives_the_same_demonstrations(
    simulation: Simulation, tiny_robot_file: Path
) -> None:
    command = [sys.executable, '-c', HASH_CODE, str(Path(__file__).parent), str(tiny_robot_file)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    demos, _ = rollout.collect_task(simulation, 'train', 3, 5, 2)
    assert done.stdout.strip() == hash_demos(demos)


class Follower:
    """A policy that knows the truth, and goes to one object."""

    def __init__(self, simulation: Simulation, target: int, speed: float = 1.0) -> None:
        self.simulation, self.target, self.speed = simulation, target, speed

    def adapt(self, demo: Demo) -> Follower:
        return self

    def act(self, observation: Observation) -> np.ndarray:
        assert observation.image.shape == (12, 16, 3)
        goal = expert.target_point(self.simulation, self.target)
        return self.speed * expert.joint_velocities(self.simulation, goal)


def test_run_ends_in_success_at_the_touch_of_the_target(simulation: Simulation) -> None:
    trial = rollout.run_policy(simulation, Follower(simulation, 0))
    assert trial.success
    assert 0.2 < trial.duration_s < simulation.robot.policy.max_run_s
    assert simulation.touched() == 0


def test_run_that_touches_a_distractor_first_is_no_success(simulation: Simulation) -> None:
    trial = rollout.run_policy(simulation, Follower(simulation, 1))
    assert trial.touched == 1
    assert not trial.success


def test_run_that_touches_nothing_lasts_to_its_end(simulation: Simulation) -> None:
    trial = rollout.run_policy(simulation, Follower(simulation, 0, speed=0.0), keep_frames=True)
    assert (trial.touched, trial.success) == (None, False)
    assert trial.duration_s == pytest.approx(simulation.robot.policy.max_run_s)
    assert len(trial.frames) == 40


def test_run_is_held_to_the_speed_limits(simulation: Simulation) -> None:
    class Wild(Follower):
        def act(self, observation: Observation) -> np.ndarray:
            speeds = np.abs(self.simulation.joint_velocities)
            assert (speeds <= 1.1 * self.simulation.robot.velocity_limits).all()
            return np.array([100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    rollout.run_policy(simulation, Wild(simulation, 0))
    assert simulation.joint_positions[0] > 1.0
