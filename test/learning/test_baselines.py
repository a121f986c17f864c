"""Each baseline knows of the demonstration what it should, and trains in the same harness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import draw_batch, draw_params, FULL, gradient_of, TASKS
import torch

from mil_ros.data.dataset import Dataset
from mil_ros.learning import network
from mil_ros.learning.baselines import baseline_loss, embed, init_encoder
from mil_ros.learning.checkpoint import load_checkpoint
from mil_ros.learning.config import MilConfig
from mil_ros.learning.inner_step import Batch, imitation_loss
from mil_ros.learning.network import expand, Params
from mil_ros.learning.trainer import StepReport, Trainer

METHODS = ('bc', 'contextual', 'lstm')
BC, CONTEXTUAL, LSTM = (replace(FULL, method=method) for method in METHODS)
LSTM_VIDEO = replace(LSTM, modality='video')


@pytest.fixture
def demo() -> Batch:
    return draw_batch(1)


@pytest.fixture
def trial() -> Batch:
    return draw_batch(2)


def change(demo: Batch, name: str, frame: int) -> Batch:
    """Return the demonstration with one moment of one stream changed."""
    tensor = getattr(demo, name).clone()
    tensor[:, frame] = getattr(draw_batch(3), name)[:, frame]
    return replace(demo, **{name: tensor})


# --- What each of them knows -------------------------------------------------------------------


def test_behaviour_cloning_knows_nothing_of_the_demonstration(demo: Batch, trial: Batch) -> None:
    params = draw_params(BC)
    spoilt = Batch(*(torch.full_like(getattr(demo, n), float('nan')) for n in demo.__slots__))
    assert embed(params, demo, BC) is None
    got = baseline_loss(params, spoilt, trial, BC)
    expected = imitation_loss(expand(params, TASKS), trial, BC)[0]
    assert torch.equal(got.objective, expected)


def test_contextual_policy_sees_the_final_frame_alone(demo: Batch, trial: Batch) -> None:
    params = draw_params(CONTEXTUAL)
    loss = baseline_loss(params, demo, trial, CONTEXTUAL).objective
    nothing = torch.full_like(demo.state, float('nan'))
    images = demo.images.clone()
    images[:, :-1] = float('nan')
    spoilt = Batch(images, nothing, nothing, nothing)
    assert torch.equal(baseline_loss(params, spoilt, trial, CONTEXTUAL).objective, loss)
    other = baseline_loss(params, change(demo, 'images', -1), trial, CONTEXTUAL).objective
    assert ((other - loss).abs() > 1e-7).all()


def test_what_the_contextual_policy_knows_are_the_feature_points_of_that_frame(
    demo: Batch,
) -> None:
    params = draw_params(CONTEXTUAL)
    points = network.features(expand(params, TASKS), demo.images, CONTEXTUAL)
    torch.testing.assert_close(embed(params, demo, CONTEXTUAL), points[:, -1])


@pytest.mark.parametrize('frame', [0, 1, 3])
@pytest.mark.parametrize('name', ['images', 'state', 'actions'])
def test_lstm_policy_reads_the_whole_demonstration(
    demo: Batch, trial: Batch, name: str, frame: int
) -> None:
    params = draw_params(LSTM)
    loss = baseline_loss(params, demo, trial, LSTM).objective
    other = baseline_loss(params, change(demo, name, frame), trial, LSTM).objective
    assert ((other - loss).abs() > 1e-9).all()


@pytest.mark.parametrize('frame', [0, 1, 3])
def test_lstm_policy_of_modality_video_reads_every_frame(
    demo: Batch, trial: Batch, frame: int
) -> None:
    params = draw_params(LSTM_VIDEO)
    loss = baseline_loss(params, demo, trial, LSTM_VIDEO).objective
    other = baseline_loss(params, change(demo, 'images', frame), trial, LSTM_VIDEO).objective
    assert ((other - loss).abs() > 1e-9).all()


@pytest.mark.parametrize('config', [LSTM, LSTM_VIDEO], ids=['full', 'video'])
def test_lstm_is_the_one_of_torch(demo: Batch, config: MilConfig) -> None:
    params = draw_params(config)
    streams = [network.features(expand(params, TASKS), demo.images, config)]
    streams += [demo.state, demo.actions] if config is LSTM else []
    inputs = torch.cat(streams, dim=2)
    reference = torch.nn.LSTM(inputs.shape[2], config.lstm_width, batch_first=True).double()
    reference.load_state_dict(
        {
            f'{n}_l0': params[f'encoder.{n}'].detach()
            for n in ('weight_ih', 'weight_hh', 'bias_ih', 'bias_hh')
        }
    )
    torch.testing.assert_close(embed(params, demo, config), reference(inputs)[0][:, -1])


@pytest.mark.parametrize('config', [CONTEXTUAL, LSTM], ids=['contextual', 'lstm'])
def test_what_is_known_reaches_the_action_and_the_predicted_final_pose(
    config: MilConfig, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    shared = expand(params, TASKS)
    known = embed(params, demo, config)
    assert known is not None
    assert known.shape == (TASKS, config.embedding)
    before, after = (
        network.forward(shared, trial.images, trial.state, config, embedding=e)
        for e in (known, known + 1.0)
    )
    for one, other in zip(before, after):
        assert (one - other).abs().amax() > 1e-4


@pytest.mark.parametrize('config', [BC, CONTEXTUAL, LSTM, LSTM_VIDEO])
def test_every_parameter_of_a_baseline_is_trained(
    config: MilConfig, demo: Batch, trial: Batch
) -> None:
    params = draw_params(config)
    assert not any(name.startswith(network.PRE_UPDATE) for name in params)
    losses = baseline_loss(params, demo, trial, config)
    for name, gradient in gradient_of(losses.objective.sum(), params).items():
        assert gradient.abs().max() > 1e-9, name


def test_no_task_sees_the_demonstration_of_another(demo: Batch, trial: Batch) -> None:
    for config in (CONTEXTUAL, LSTM):
        params = draw_params(config)
        loss = baseline_loss(params, demo, trial, config).objective
        mixed = replace(demo, images=torch.cat([draw_batch(3).images[:1], demo.images[1:]]))
        other = baseline_loss(params, mixed, trial, config).objective
        assert other[0] != loss[0]
        torch.testing.assert_close(other[1], loss[1], rtol=1e-12, atol=0)


def test_same_seed_gives_the_same_encoder_and_only_the_lstm_has_one() -> None:
    first, again = init_encoder(LSTM), init_encoder(LSTM)
    assert set(first) != set()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(
        first['encoder.weight_ih'], init_encoder(replace(LSTM, seed=1))['encoder.weight_ih']
    )
    assert init_encoder(BC) == init_encoder(CONTEXTUAL) == init_encoder(FULL) == {}


# --- Training ----------------------------------------------------------------------------------

TRAINING = MilConfig(
    image_height=12,
    image_width=16,
    filters=(3, 4),
    strides=(2, 1),
    kernels=(3, 3),
    hidden=(8,),
    context=3,
    lstm_width=5,
    frames=4,
    meta_batch=5,
    learning_rate=1e-2,
    steps=40,
)


@pytest.mark.parametrize('modality', ['full', 'video'])
@pytest.mark.parametrize('method', METHODS)
def test_baseline_trains_in_the_harness_of_mil(
    dataset: Dataset, tmp_path: Path, method: str, modality: str
) -> None:
    reports: list[StepReport] = []
    config = replace(TRAINING, method=method, modality=modality)
    trainer = Trainer(dataset, config)
    assert trainer.step_sizes == {}
    before = {name: tensor.detach().clone() for name, tensor in trainer.params.items()}
    trainer.run(tmp_path / 'last.safetensors', reports.append)
    early, late = (np.mean([r.post_loss for r in part]) for part in (reports[:8], reports[-8:]))
    assert late < 0.8 * early
    assert np.isfinite([(r.post_loss, r.action_loss, r.pre_loss) for r in reports]).all()
    saved: Params = load_checkpoint(tmp_path / 'last.safetensors').params
    assert all(not torch.equal(saved[name], before[name]) for name in before)


def test_baseline_resumes_to_the_last_bit(dataset: Dataset, tmp_path: Path) -> None:
    config = replace(TRAINING, method='lstm', steps=4)

    def stop_at(step: int) -> Callable[[StepReport], None]:
        def report(measured: StepReport) -> None:
            if measured.step == step:
                raise KeyboardInterrupt

        return report

    whole, parts = tmp_path / 'whole.safetensors', tmp_path / 'parts.safetensors'
    Trainer(dataset, config).run(whole, stop_at(99))
    with pytest.raises(KeyboardInterrupt):
        Trainer(dataset, config).run(parts, stop_at(2))
    resumed = Trainer(dataset, config)
    resumed.resume(parts)
    resumed.run(parts, stop_at(99))
    one, other = load_checkpoint(whole), load_checkpoint(parts)
    assert one.step == other.step == 4
    assert one.step_sizes == other.step_sizes == {}
    for name in one.params:
        assert torch.equal(one.params[name], other.params[name]), name
