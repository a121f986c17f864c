"""Push: objects slide as their task says, and only the target counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mil_ros.sim.families import push
from mil_ros.sim.families.push import GOAL_M, HOLD_S, Push, sample_layout, TOLERANCE_M
from mil_ros.sim.simulation import Simulation

PUSH = Push()
FAR = np.array([[0.45, 0.15], [0.45, -0.15]])
REST = np.zeros(7)


@pytest.fixture
def arm(make_arm: Callable[[str], Simulation]) -> Simulation:
    """Target and distractor aside, the arm at home."""
    arm = make_arm('push')
    PUSH.furnish(arm, PUSH.sample_task('train', 0, 0))
    arm.reset(arm.robot.home)
    PUSH.arrange(arm, FAR, np.zeros(2))
    return arm


def move(arm: Simulation, target: np.ndarray, distractor: np.ndarray) -> None:
    PUSH.arrange(arm, np.stack([target, distractor]), np.zeros(2))


def test_target_is_on_either_side_and_the_distractor_on_the_other(
    rng: np.random.Generator,
) -> None:
    layouts = np.array([sample_layout(rng) for _ in range(200)])  # (N, 2, 2)
    assert (layouts[:, 0, 1] * layouts[:, 1, 1] < 0).all()
    on_left = (layouts[:, 0, 1] > 0).mean()
    assert 0.4 < on_left < 0.6
    assert (np.linalg.norm(layouts - GOAL_M, axis=-1) > TOLERANCE_M + 0.03).all()
    for axis, (low, high) in ((0, push.DEPTH_M), (1, push.SIDE_M)):
        values = np.abs(layouts[:, :, axis])
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high


def test_target_held_on_the_goal_is_a_success(arm: Simulation) -> None:
    judge = PUSH.judge()
    move(arm, GOAL_M + np.array([TOLERANCE_M - 1e-3, 0.0]), FAR[1])
    for tenth in range(1, 11):
        arm.step(REST, 0.1)
        assert judge.update(arm) == (tenth == 10), tenth
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (True, 0)
    assert outcome.text == 'The target was pushed onto the goal.'


def test_time_on_the_goal_adds_up_over_interruptions(arm: Simulation) -> None:
    judge = PUSH.judge()
    for _ in range(2):
        move(arm, GOAL_M, FAR[1])
        arm.step(REST, HOLD_S / 2 - 0.1)
        assert not judge.update(arm)
        move(arm, FAR[0], FAR[1])
        arm.step(REST, 1.0)
        assert not judge.update(arm)
    assert not judge.finish(arm).success
    move(arm, GOAL_M, FAR[1])
    arm.step(REST, 0.2)
    assert judge.update(arm)
    move(arm, FAR[0], FAR[1])
    arm.step(REST, 0.1)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (True, 0)


def test_distractor_on_the_goal_is_no_success(arm: Simulation) -> None:
    judge = PUSH.judge()
    move(arm, FAR[0], GOAL_M)
    for _ in range(20):
        arm.step(REST, 0.1)
        assert not judge.update(arm)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (False, 1)
    assert outcome.text == 'The distractor is on the goal; 0.0 s counted.'


def test_target_just_off_the_goal_is_no_success(arm: Simulation) -> None:
    judge = PUSH.judge()
    move(arm, GOAL_M + np.array([0.0, TOLERANCE_M + 1e-3]), FAR[1])
    arm.step(REST, 2.0)
    assert not judge.update(arm)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (False, None)
    assert outcome.text == 'No object is on the goal.'


def test_target_that_comes_too_late_is_named(arm: Simulation) -> None:
    judge = PUSH.judge()
    move(arm, GOAL_M, FAR[1])
    arm.step(REST, 0.5)
    judge.update(arm)
    outcome = judge.finish(arm)
    assert (outcome.success, outcome.chosen) == (False, 0)
    assert outcome.text == 'The target is on the goal; 0.5 s counted.'


def test_pushed_object_stops_with_the_push(arm: Simulation) -> None:
    for _ in range(PUSH.demo_steps):
        arm.step(PUSH.expert(arm), 0.1)
    moved = arm.position('object0') - (*FAR[0], 0.0)
    assert np.linalg.norm(moved[:2]) > 0.1
    before = arm.position('object0')
    arm.step(REST, 0.5)
    np.testing.assert_allclose(arm.position('object0'), before, atol=2e-3)
    np.testing.assert_array_equal(arm.position('object1')[:2], FAR[1])


def test_objects_push_each_other_and_stay_upright(arm: Simulation) -> None:
    move(arm, np.array([0.45, 0.02]), np.array([0.45, -0.02]))
    arm.step(REST, 1.0)
    gap = np.linalg.norm(arm.position('object0') - arm.position('object1'))
    assert gap > 0.055
    for i in range(push.OBJECTS):
        np.testing.assert_allclose(
            arm.data.body(f'object{i}').xmat.reshape(3, 3)[:, 2], [0.0, 0.0, 1.0], atol=1e-9
        )


def test_objects_weigh_and_drag_as_their_task_says(arm: Simulation) -> None:
    task = PUSH.sample_task('train', 0, 3)
    PUSH.furnish(arm, task)
    for i in range(push.OBJECTS):
        assert arm.model.body(f'object{i}').mass[0] == task.masses_kg[i]
        assert arm.model.joint(f'object{i}_y').damping[0] == task.drags_n_s_m[i]
        assert arm.model.geom(f'object{i}').friction[0] == task.frictions[i]
    other = PUSH.sample_task('train', 0, 4)
    assert not np.array_equal(task.masses_kg, other.masses_kg)
    assert not np.array_equal(task.drags_n_s_m, other.drags_n_s_m)


@pytest.mark.parametrize('shape', [0, 4, 30, 38])
def test_objects_stand_on_the_table(arm: Simulation, shape: int) -> None:
    radius_m, height_m = push.make_sizes()[shape]
    assert 0.03 <= radius_m <= 0.04
    assert 0.05 <= height_m <= 0.06
    task = next(
        task
        for split in ('train', 'test')
        for task in (PUSH.sample_task(split, 0, i) for i in range(300))
        if task.looks[0].shape == shape
    )
    PUSH.furnish(arm, task)
    arm.reset(arm.robot.home)
    PUSH.arrange(arm, FAR, np.zeros(2))
    assert 0.0 < arm.position('object0')[2] - height_m / 2 < 1e-3
    assert arm.data.ncon == 0


def test_tip_keeps_clear_of_the_objects_until_it_is_behind(arm: Simulation) -> None:
    """Coming down from home, it must not push anything on its way."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        PUSH.reset(arm, PUSH.sample_task('train', 1, seed), rng)
        before = [arm.position(f'object{i}') for i in range(push.OBJECTS)]
        ahead = (GOAL_M - before[0][:2]) / np.linalg.norm(GOAL_M - before[0][:2])
        while arm.tip[2] > 0.06:
            assert arm.time_s < 3.0
            arm.step(PUSH.expert(arm), 0.1)
        for i in range(push.OBJECTS):
            np.testing.assert_allclose(arm.position(f'object{i}'), before[i], atol=1e-4)
        assert (arm.tip[:2] - before[0][:2]) @ ahead < -0.05
