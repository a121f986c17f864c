"""What a training step draws, how it is scaled, and that it never depends on who draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mil_ros.data.dataset import Dataset
from mil_ros.learning.batches import final_pose, Normaliser, sample_meta_batch
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch

CONFIG = MilConfig(image_height=12, image_width=16, frames=4, trial_frames=3, meta_batch=3, seed=2)
LAST = 8  # of nine time steps
ORDERED = {
    'video': {'modality': 'video', 'loss_layers': 1},
    'contextual': {'method': 'contextual'},
    'lstm': {'method': 'lstm'},
}


@pytest.fixture(scope='module')
def sources(dataset: Dataset, normaliser: Normaliser) -> dict[bytes, tuple[int, int, int]]:
    """Task, demonstration and time step of every frame, by its normalised actions."""
    return {
        (torch.from_numpy(row) / normaliser.action_std).numpy().tobytes(): (task, number, step)
        for task in range(len(dataset))
        for number, demo in enumerate(dataset.load(task).joint_velocities)
        for step, row in enumerate(demo)
    }


def find(
    sources: dict[bytes, tuple[int, int, int]], batch: Batch
) -> list[list[tuple[int, int, int]]]:
    """Return where the frames of each task in a batch are from."""
    return [[sources[row.numpy().tobytes()] for row in task] for task in batch.actions]


# --- Scales ------------------------------------------------------------------------------------


def test_scales_are_those_of_the_data(dataset: Dataset, normaliser: Normaliser) -> None:
    tasks = [dataset.load(i) for i in range(len(dataset))]
    states = np.concatenate([task.joint_positions.reshape(-1, 7) for task in tasks])
    actions = np.concatenate([task.joint_velocities.reshape(-1, 7) for task in tasks])
    np.testing.assert_allclose(normaliser.state_mean, states.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normaliser.state_std, states.std(axis=0), rtol=1e-5)
    rms = np.sqrt((actions.astype(np.float64) ** 2).mean(axis=0))
    np.testing.assert_allclose(normaliser.action_std, rms, rtol=1e-5)


def test_batch_is_what_the_dataset_holds_in_the_units_of_the_network(
    dataset: Dataset, normaliser: Normaliser, sources: dict[bytes, tuple[int, int, int]]
) -> None:
    for batch in sample_meta_batch(dataset, normaliser, CONFIG, 0):
        for i, frames in enumerate(find(sources, batch)):
            for j, (task, number, step) in enumerate(frames):
                data = dataset.load(task)
                image = torch.from_numpy(data.images[number, step].astype(np.float32)) / 255.0
                torch.testing.assert_close(batch.images[i, j], image, rtol=0, atol=1e-7)
                state = torch.from_numpy(data.joint_positions[number, step])
                got = batch.state[i, j] * normaliser.state_std + normaliser.state_mean
                torch.testing.assert_close(got, state)
                end = torch.from_numpy(data.joint_positions[number, -1])  # a sixth of nine is one
                got = batch.final[i, j] * normaliser.state_std + normaliser.state_mean
                torch.testing.assert_close(got, end)


@pytest.mark.parametrize(('steps', 'averaged'), [(1, 1), (5, 1), (11, 1), (12, 2), (24, 4)])
def test_final_pose_is_the_mean_of_the_last_sixth(
    rng: np.random.Generator, steps: int, averaged: int
) -> None:
    positions = rng.normal(size=(steps, 3)).astype(np.float32)
    expected = positions[steps - averaged :].mean(axis=0)
    np.testing.assert_allclose(final_pose(positions), expected, rtol=1e-6)


# --- Which tasks and demonstrations ------------------------------------------------------------


def test_demonstration_and_trial_are_different_ones_of_the_same_task(
    dataset: Dataset, normaliser: Normaliser, sources: dict[bytes, tuple[int, int, int]]
) -> None:
    for step in range(10):
        demos, trials = sample_meta_batch(dataset, normaliser, CONFIG, step)
        seen = []
        for demo, trial in zip(find(sources, demos), find(sources, trials)):
            assert len(demo) == CONFIG.frames
            assert len(trial) == CONFIG.trial_frames
            ((task, shown),) = {frame[:2] for frame in demo}
            ((same, judged),) = {frame[:2] for frame in trial}
            assert task == same
            assert shown != judged
            seen.append(task)
        assert len(set(seen)) == CONFIG.meta_batch, 'a task was drawn twice'


@pytest.mark.parametrize('shots', [1, 2, 3])
def test_shots_is_the_number_of_demonstrations_shown(
    dataset: Dataset,
    normaliser: Normaliser,
    sources: dict[bytes, tuple[int, int, int]],
    shots: int,
) -> None:
    config = replace(CONFIG, shots=shots)
    demos, trials = sample_meta_batch(dataset, normaliser, config, 5)
    for i, (demo, trial) in enumerate(zip(find(sources, demos), find(sources, trials))):
        numbers = [number for _, number, _ in demo]
        ((_, judged),) = {frame[:2] for frame in trial}
        assert len(demo) == shots * CONFIG.frames
        assert len(set(numbers)) == shots
        assert judged not in numbers
        for first in range(0, len(demo), CONFIG.frames):  # one demonstration after the other
            one = slice(first, first + CONFIG.frames)
            assert len(set(numbers[one])) == 1
            assert len({row.numpy().tobytes() for row in demos.final[i, one]}) == 1
        assert len({row.numpy().tobytes() for row in demos.final[i]}) == shots


# --- Which frames ------------------------------------------------------------------------------


@pytest.mark.parametrize('changes', ORDERED.values(), ids=ORDERED)
@pytest.mark.parametrize(('frames', 'shots'), [(1, 1), (2, 1), (4, 2), (9, 1)])
def test_spread_frames_are_in_order_of_time_and_end_with_the_last(
    dataset: Dataset,
    normaliser: Normaliser,
    sources: dict[bytes, tuple[int, int, int]],
    changes: dict[str, object],
    frames: int,
    shots: int,
) -> None:
    config = replace(CONFIG, **changes, frames=frames, shots=shots, loss_kernel=min(3, frames))
    drawn = set()
    for step in range(20):
        for demo in find(sources, sample_meta_batch(dataset, normaliser, config, step)[0]):
            for first in range(0, len(demo), frames):
                times = [time for _, _, time in demo[first : first + frames]]
                assert times == sorted(times)
                assert times[-1] == LAST
                drawn.add(tuple(times))
    is_choice = 1 < frames <= LAST
    assert (len(drawn) > 1) == is_choice, 'every step sees the same moments'


def test_spread_frames_cover_the_demonstration(
    dataset: Dataset, normaliser: Normaliser, sources: dict[bytes, tuple[int, int, int]]
) -> None:
    config = replace(CONFIG, method='lstm')
    for step in range(20):
        for demo in find(sources, sample_meta_batch(dataset, normaliser, config, step)[0]):
            times = [time for _, _, time in demo]
            spacing = LAST / (CONFIG.frames - 1)
            gaps = np.abs(np.array(times) - spacing * np.arange(CONFIG.frames))
            assert gaps.max() <= spacing / 2 + 0.5  # rounded to whole steps


def test_frames_of_a_set_are_any_and_none_twice(
    dataset: Dataset, normaliser: Normaliser, sources: dict[bytes, tuple[int, int, int]]
) -> None:
    lasts = set()
    for step in range(20):
        for batch in sample_meta_batch(dataset, normaliser, CONFIG, step):
            for frames in find(sources, batch):
                times = [time for _, _, time in frames]
                assert times == sorted(set(times))
                lasts.add(times[-1])
    assert lasts >= {LAST, LAST - 1, LAST - 2}


# --- Who draws ---------------------------------------------------------------------------------


def test_batch_depends_on_seed_and_step_alone(dataset: Dataset, normaliser: Normaliser) -> None:
    first, again = (sample_meta_batch(dataset, normaliser, CONFIG, 7) for _ in range(2))
    for one, other in zip(first, again):
        assert_same(one, other)
    for other in (
        sample_meta_batch(dataset, normaliser, CONFIG, 8),
        sample_meta_batch(dataset, normaliser, replace(CONFIG, seed=3), 7),
    ):
        assert not torch.equal(first[0].images, other[0].images)


def assert_same(one: Batch, other: Batch) -> None:
    for name in one.__slots__:
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize('processes', [2, 3, 5])
def test_processes_see_together_what_one_would(
    dataset: Dataset, normaliser: Normaliser, processes: int
) -> None:
    config = replace(CONFIG, meta_batch=5, shots=2, modality='video', loss_layers=1)
    whole = sample_meta_batch(dataset, normaliser, config, 4)
    shares = [
        sample_meta_batch(dataset, normaliser, config, 4, (rank, processes))
        for rank in range(processes)
    ]
    for side, one in enumerate(whole):
        for rank, share in enumerate(shares):
            mine = Batch(*(getattr(one, name)[rank::processes] for name in one.__slots__))
            assert_same(share[side], mine)
