"""The configuration survives JSON and refuses what makes no sense."""

from __future__ import annotations

import json

import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir
from mil_ros.learning.config import MilConfig


def test_configuration_comes_back_from_json() -> None:
    config = MilConfig(
        filters=(3, 4),
        strides=(2, 1),
        kernels=(5, 3),
        hidden=(9,),
        frozen=('conv', 'context'),
        method='lstm',
        seed=8,
    )
    assert config != MilConfig()
    assert MilConfig.from_json(config.to_json()) == config


def test_unknown_key_is_refused() -> None:
    text = json.dumps({**json.loads(MilConfig().to_json()), 'dropout': 0.5})
    message = r"Configuration has unknown keys \['dropout'\]; expected some of \['compiled', "
    with pytest.raises(ConfigError, match=message):
        MilConfig.from_json(text)


def test_layers_of_different_numbers_are_refused() -> None:
    message = r'Got 2 filters, 3 strides and 3 kernels; expected one of each per convolution\.'
    with pytest.raises(ConfigError, match=message):
        MilConfig(filters=(8, 8))


@pytest.mark.parametrize(
    'name',
    [
        'steps',
        'meta_batch',
        'frames',
        'trial_frames',
        'demo_frames',
        'learning_rate',
        'shots',
        'inner_steps',
        'loss_kernel',
    ],
)
@pytest.mark.parametrize('value', [0, -1])
def test_number_that_must_be_positive_is_checked(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf'^{name} is {value}; expected above 0\.$'):
        MilConfig(**{name: value})


@pytest.mark.parametrize(
    ('name', 'known'),
    [
        ('method', 'mil, bc, contextual, lstm'),
        ('modality', 'full, video'),
        ('precision', 'bfloat16, float32, float64'),
    ],
)
def test_choice_that_is_unknown_is_refused(name: str, known: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name} is 'best'; expected one of {known}\.$"):
        MilConfig(**{name: 'best'})


@pytest.mark.parametrize('name', ['first_order_share', 'multi_step_share'])
@pytest.mark.parametrize('value', [-0.1, 1.5])
def test_share_of_the_training_is_between_nothing_and_all(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf'^{name} is {value}; expected 0 to 1\.$'):
        MilConfig(**{name: value})


def test_learned_loss_that_spans_more_than_a_demonstration_is_refused() -> None:
    message = (
        r'^The learned loss spans 7 frames, a demonstration has 6; raise frames or lower '
        r'loss_kernel or loss_layers\.$'
    )
    with pytest.raises(ConfigError, match=message):
        MilConfig(modality='video', frames=6, loss_kernel=3, loss_layers=3)
    MilConfig(modality='video', frames=7, loss_kernel=3, loss_layers=3)
    MilConfig(modality='full', frames=6, loss_kernel=3, loss_layers=3)  # has no learned loss


def test_options_set_fields_of_every_kind() -> None:
    words = ['step_size=1', 'filters=[8,8,8]', 'image_context=true', 'method=bc', 'frozen=["fc"]']
    changed = MilConfig().with_options(words)
    assert (changed.step_size, changed.filters, changed.image_context) == (1.0, (8, 8, 8), True)
    assert (changed.method, changed.frozen) == ('bc', ('fc',))
    assert changed.hidden == MilConfig().hidden


@pytest.mark.parametrize(
    ('word', 'message'),
    [
        ('step_size', r"Got option 'step_size'; expected field=value"),
        ('stepsize=1', r"Got option 'stepsize=1'; expected field=value with a field of \['"),
        ('frames=3.5', r"Got option 'frames=3\.5'; expected a int such as frames=3"),
        ('step_size=big', r"Got option 'step_size=big'; expected a float such as step_size=0\.1"),
        ('image_context=1', r'expected a bool such as image_context=False'),
    ],
)
def test_option_that_fits_no_field_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MilConfig().with_options([word])


def test_changes_name_what_of_the_method_differs_from_the_default() -> None:
    assert MilConfig(steps=9, seed=3, modality='full', image_width=40).describe_changes() == ''
    changed = MilConfig(inner_steps=3, frozen=('conv', 'fc'), image_context=True)
    assert changed.describe_changes() == 'image_context=true, inner_steps=3, frozen=["conv", "fc"]'


def read_trainings(list_name: str) -> dict[str, list[str]]:
    """Return the options of each training that a list in config/train names."""
    lines = (share_dir() / 'config' / 'train' / list_name).read_text().splitlines()
    words = [line.split() for line in lines if not line.startswith('#')]
    trainings = {name: options for name, *options in words}
    assert len(trainings) == len(words), 'a name is there twice'
    return trainings


def test_every_ablation_that_is_listed_is_another_change() -> None:
    trainings = read_trainings('ablations.txt')
    changes = [MilConfig().with_options(o).describe_changes() for o in trainings.values()]
    assert next(iter(trainings)) == 'unchanged'
    assert len(set(changes)) == len(changes) > 10


def test_every_baseline_that_is_listed_is_trained_as_it_is_tried() -> None:
    for name, options in read_trainings('baselines.txt').items():
        config = MilConfig().with_options([*options, 'compiled=true'])
        assert name == f'{config.modality}-{config.method}'
        if config.method == 'lstm':
            assert config.frames == config.demo_frames
