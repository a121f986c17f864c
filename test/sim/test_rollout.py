"""What the expert shows can be made again anywhere, and runs end when they should."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

from mil_ros.core.types import Demo, Observation
from mil_ros.sim import rollout
from mil_ros.sim.families import FAMILIES, get_family
from mil_ros.sim.simulation import Simulation

Arms = Callable[[str], Simulation]
REACH = get_family('reach')
HASH_CODE = """
import sys
from mil_ros.core.robot import load_robot
from mil_ros.sim.families import get_family
from mil_ros.sim.rollout import collect_task
from mil_ros.sim.simulation import Simulation
sys.path.insert(0, sys.argv[1])
from test_rollout import hash_demos
simulation = Simulation(load_robot(sys.argv[2]), get_family(sys.argv[3]))
print(hash_demos(collect_task(simulation, 'train', 3, 5, 2)[0]))
"""


def hash_demos(demos: list[Demo]) -> str:
    digest = hashlib.sha256()
    for demo in demos:
        for array in (demo.images, demo.joint_positions, demo.joint_velocities):
            digest.update(array.tobytes())
    return digest.hexdigest()


@pytest.fixture(params=list(FAMILIES))
def arm(request: pytest.FixtureRequest, make_arm: Arms) -> Simulation:
    return make_arm(request.param)


def test_demonstration_is_aligned_and_starts_at_its_start_pose(arm: Simulation) -> None:
    task = arm.family.sample_task('train', 0, 1)
    demo = rollout.demonstrate(arm, task, np.random.default_rng(5), 0.0)
    assert demo is not None
    assert len(demo) == arm.family.demo_steps
    assert demo.images.shape[1:] == (12, 16, 3)
    away = np.abs(demo.joint_positions[0] - arm.robot.home)
    assert 0.0 < away.max() < 0.2
    # Without noise, an action is what moves the arm until the next step.
    moved = np.diff(demo.joint_positions, axis=0) * 10.0
    assert np.abs(moved[3:] - demo.joint_velocities[3:-1]).mean() < 0.03
    assert np.abs(moved).max() > 0.2


def test_policy_is_told_of_objects_by_the_picture_alone(simulation: Simulation) -> None:
    before = rollout.observe(simulation)
    simulation.put('object0', np.array([0.55, -0.05, 0.03]), 0.4)
    simulation.refresh()
    after = rollout.observe(simulation)
    np.testing.assert_array_equal(after.joint_positions, before.joint_positions)
    assert not np.array_equal(after.image, before.image)


def test_noise_disturbs_the_motion_and_not_the_label(arm: Simulation) -> None:
    """Undisturbed, motion and label agree within 0.03 rad/s (see above)."""
    rng, noise = np.random.default_rng(8), arm.family.noise_rad_s
    demo = None
    while demo is None:
        demo = rollout.demonstrate(arm, arm.family.sample_task('train', 0, 1), rng, noise)
    moved = np.diff(demo.joint_positions, axis=0) * 10.0
    assert np.abs(moved[3:] - demo.joint_velocities[3:-1]).mean() > 0.3 * noise


def test_label_of_a_disturbed_demonstration_is_the_clean_action(simulation: Simulation) -> None:
    rng = np.random.default_rng(8)
    demo = None
    while demo is None:
        demo = rollout.demonstrate(simulation, REACH.sample_task('train', 0, 1), rng, 0.15)
    layout = simulation.data.mocap_pos.copy()
    simulation.reset(np.asarray(demo.joint_positions[9], dtype=float))
    simulation.data.mocap_pos[:] = layout
    simulation.refresh()
    np.testing.assert_allclose(demo.joint_velocities[9], REACH.expert(simulation), atol=5e-3)


def test_a_demonstration_that_fails_is_dropped_and_counted(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of the first four are made to fail by an expert that goes for a distractor."""
    made = []

    def misled(arm: Simulation, target: int = 0) -> np.ndarray:
        if arm.time_s == 0.0:
            made.append(len(made))
        return type(REACH).expert(REACH, arm, 1 if made[-1] < 3 else 0)

    monkeypatch.setattr(REACH, 'expert', misled)
    demos, failed = rollout.collect_task(simulation, 'train', 0, 2, 1)
    assert (len(demos), failed) == (1, 3)


def test_same_seed_gives_the_same_demonstrations(arm: Simulation) -> None:
    first, failed = rollout.collect_task(arm, 'train', 3, 5, 2)
    rollout.collect_task(arm, 'test', 9, 1, 1)  # leaves nothing behind
    again, failed_again = rollout.collect_task(arm, 'train', 3, 5, 2)
    assert (hash_demos(first), failed) == (hash_demos(again), failed_again)


def test_other_seed_or_index_gives_other_demonstrations(arm: Simulation) -> None:
    hashes = {
        hash_demos(rollout.collect_task(arm, 'train', seed, index, 1)[0])
        for seed, index in ((3, 5), (4, 5), (3, 6))
    }
    assert len(hashes) == 3


def test_other_process_gives_the_same_demonstrations(
    arm: Simulation, tiny_robot_file: Path
) -> None:
    words = [str(Path(__file__).parent), str(tiny_robot_file), arm.family.name]
    done = subprocess.run(
        [sys.executable, '-c', HASH_CODE, *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    demos, _ = rollout.collect_task(arm, 'train', 3, 5, 2)
    assert done.stdout.strip() == hash_demos(demos)


class Follower:
    """A policy that knows the truth, and goes to one object."""

    def __init__(self, simulation: Simulation, target: int, speed: float = 1.0) -> None:
        self.simulation, self.target, self.speed = simulation, target, speed

    def adapt(self, demo: Demo) -> Follower:
        return self

    def act(self, observation: Observation) -> np.ndarray:
        assert observation.image.shape == (12, 16, 3)
        family = self.simulation.family
        return self.speed * family.expert(self.simulation, self.target)


def begin(arm: Simulation) -> None:
    arm.family.reset(arm, arm.family.sample_task('train', 0, 3), np.random.default_rng(2))


def test_run_ends_in_success_when_the_task_is_done(arm: Simulation) -> None:
    begin(arm)
    trial = rollout.run_policy(arm, Follower(arm, 0))
    assert trial.outcome.success
    assert trial.outcome.chosen == 0
    assert 0.5 < trial.duration_s < arm.family.run_s


def test_run_towards_a_distractor_is_no_success(arm: Simulation) -> None:
    begin(arm)
    trial = rollout.run_policy(arm, Follower(arm, 1))
    assert (trial.outcome.success, trial.outcome.chosen) == (False, 1), trial.outcome.text


def test_run_that_does_nothing_lasts_to_its_end(arm: Simulation) -> None:
    rng, layout = np.random.default_rng(2), arm.data.mocap_pos
    begin(arm)
    while (np.linalg.norm(layout[:, :2] - arm.tip[:2], axis=1) < 0.12).any():
        arm.family.reset(arm, arm.family.sample_task('train', 0, 3), rng)  # nothing below
    trial = rollout.run_policy(arm, Follower(arm, 0, speed=0.0), keep_frames=True)
    assert (trial.outcome.success, trial.outcome.chosen) == (False, None)
    assert trial.duration_s == pytest.approx(arm.family.run_s)
    assert len(trial.frames) == round(10 * arm.family.run_s)
    assert trial.frames[0].shape == (24, 32, 3)


def test_run_is_held_to_the_speed_limits(simulation: Simulation) -> None:
    class Wild(Follower):
        def act(self, observation: Observation) -> np.ndarray:
            speeds = np.abs(self.simulation.joint_velocities)
            assert (speeds <= 1.1 * self.simulation.robot.velocity_limits).all()
            return np.array([100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])

    rollout.run_policy(simulation, Wild(simulation, 0))
    assert simulation.joint_positions[0] > 1.0
