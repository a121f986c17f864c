"""``mil bench train`` times what it says it times and judges it by the limits."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError, MilError
from mil_ros.data.dataset import Dataset
from mil_ros.learning.config import MilConfig
from mil_ros.learning.peers import PEERS

pytest.importorskip('rclpy')  # another bench needs it

from mil_ros.tools.bench import train
from mil_ros.tools.bench.train import Contender, measure, rows_of, write_random_dataset

CONFIG = MilConfig(
    image_height=12,
    image_width=16,
    filters=(3, 4),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(8,),
    context=3,
    frames=2,
    trial_frames=3,
    meta_batch=3,
)
NAMES = ('mil', 'mil_bfloat16', 'mil_float32', 'mil_eager', 'learn2learn', 'higher')
OURS_S = {'mil_bfloat16': 0.1, 'mil_float32': 0.2, 'mil_eager': 0.16}


def contenders(**seconds: float) -> dict[str, Contender]:
    """Return steps that take about as long as given, one of them by far too long."""
    return {
        name: Contender([0.99 * s, s, 1.01 * s, 50.0 * s, 0.98 * s], 0.5)
        for name, s in seconds.items()
    }


def test_ratio_is_to_the_faster_peer_and_a_step_that_was_disturbed_does_not_count() -> None:
    measured = contenders(mil=0.1, **OURS_S, learn2learn=0.4, higher=0.5)
    rows = {row.name: row for row in rows_of(measured, 24)}
    assert rows['mil_tasks_per_s'].value == pytest.approx(240.0, rel=0.02)
    assert rows['learn2learn_tasks_per_s'].value == pytest.approx(60.0, rel=0.02)
    assert rows['higher_tasks_per_s'].value == pytest.approx(48.0, rel=0.02)
    assert (rows['ratio'].value, rows['ratio'].limit) == (pytest.approx(4.0, abs=1e-3), 3.0)
    assert rows['ratio_bfloat16'].value == pytest.approx(4.0, abs=1e-3)
    assert rows['ratio_float32'].value == pytest.approx(2.0, abs=1e-3)
    assert rows['ratio_eager'].value == pytest.approx(2.5, abs=1e-3)
    assert rows['mil_tasks_per_s'].unit == 'tasks/s'
    assert all(row.ok for row in rows.values())


@pytest.mark.parametrize(('ours_s', 'is_ok'), [(0.133, True), (0.135, False)])
def test_ratio_must_reach_three(ours_s: float, is_ok: bool) -> None:
    measured = contenders(mil=ours_s, **OURS_S, learn2learn=0.5, higher=0.4)
    rows = {row.name: row for row in rows_of(measured, 24)}
    assert rows['ratio'].ok is is_ok


@pytest.mark.parametrize(('peak_gib', 'is_ok'), [(4.0, True), (4.1, False)])
def test_peak_is_ours_and_at_most_four(peak_gib: float, is_ok: bool) -> None:
    measured = contenders(mil=0.1, **OURS_S, learn2learn=0.5, higher=0.4)
    measured['mil'] = Contender(measured['mil'].seconds, peak_gib)
    measured['higher'] = Contender(measured['higher'].seconds, 9.0)
    rows = {row.name: row for row in rows_of(measured, 24)}
    assert (rows['peak_gib'].value, rows['peak_gib'].ok) == (peak_gib, is_ok)
    assert rows['peak_gib'].unit == 'GiB'


@pytest.mark.parametrize('fastest', ['bfloat16', 'float32'])
def test_ours_is_measured_in_what_is_fastest(
    monkeypatch: pytest.MonkeyPatch, fastest: str
) -> None:
    configs: list[MilConfig] = []

    def note(config: MilConfig, steps: int) -> dict[str, Contender]:
        configs.append(config)
        return contenders(mil=0.1, **OURS_S, learn2learn=0.5, higher=0.4)

    monkeypatch.setattr('mil_ros.learning.precision.fastest_precision', lambda _: fastest)
    monkeypatch.setattr(train, 'measure', note)
    train.bench_train(argparse.Namespace(steps=2))
    assert [(c.precision, c.compiled) for c in configs] == [(fastest, True)]


def test_random_dataset_is_enough_for_a_meta_batch_and_not_all_alike(tmp_path: Path) -> None:
    write_random_dataset(tmp_path, CONFIG)
    dataset = Dataset(tmp_path)
    assert (len(dataset), dataset.steps, dataset.info.demos) == (3, 3, 2)
    assert len({dataset.load(i).images.tobytes() for i in range(3)}) == 3
    assert np.ptp(dataset.load(0).joint_velocities) > 0.1


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, PEERS)), reason='needs the libraries of make setup')
def test_every_contender_trains_in_turns_and_tells_its_time_and_memory() -> None:
    measured = measure(CONFIG, 3)
    assert tuple(measured) == NAMES
    for contender in measured.values():
        assert len(contender.seconds) == 3  # those that warm up do not count
        assert min(contender.seconds) > 0.0
        assert 0.05 < contender.peak_gib < 4.0


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, PEERS)), reason='needs the libraries of make setup')
def test_contender_that_stops_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    config = MilConfig(modality='video', frames=5, demo_frames=5, meta_batch=2)
    with pytest.raises(MilError, match=r'^learn2learn stopped; its reason is above\.$'):
        measure(config, 2)
    assert 'ConfigError: Got method=mil modality=video' in capfd.readouterr().err


def test_too_few_steps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('mil_ros.learning.peers.check_installed', lambda _: None)
    with pytest.raises(ConfigError, match=r'^Got --steps 1; expected at least 2\.$'):
        train.bench_train(argparse.Namespace(steps=1))


def test_missing_peer_is_refused_before_any_process_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr('mil_ros.learning.peers.find_spec', lambda _: None)
    monkeypatch.setattr(train.multiprocessing, 'get_context', pytest.fail)
    message = r'^learn2learn is not installed; run `make setup`, which brings it\.$'
    with pytest.raises(MilError, match=message):
        train.bench_train(argparse.Namespace(steps=2))
