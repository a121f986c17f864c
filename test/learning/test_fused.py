"""Compiled pieces give what the network gives, to the second derivative."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import (
    DEEP,
    draw_batch,
    draw_params,
    draw_step_sizes,
    draw_task_params,
    gradient_of,
    VIDEO,
)
import torch

from mil_ros.core.errors import ConfigError
from mil_ros.data.dataset import Dataset
from mil_ros.learning import fused
from mil_ros.learning.config import MilConfig
from mil_ros.learning.fused import check_compiler, Compiled
from mil_ros.learning.fused_layers import summing_gradients
from mil_ros.learning.inner_step import meta_loss
from mil_ros.learning.network import expand, features, Params
from mil_ros.learning.trainer import Trainer

Gradients = Callable[[], AbstractContextManager[None]]

CONFIGS = {
    'full in two steps': replace(DEEP, inner_steps=2, gradient_clip=0.1),
    'video': replace(VIDEO, image_context=False),
    'first order': replace(DEEP, first_order_share=1.0),
}
GRADIENTS = {'by task': nullcontext, 'summed': summing_gradients}


def meta_gradient(config: MilConfig, gradients: Gradients = nullcontext) -> Params:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    demo, trial = draw_batch(1, config), draw_batch(2, config)
    loss = meta_loss(params, sizes, demo, trial, config, step=0).objective.sum()
    leaves = {**params, **{f'step_size.{n}': size for n, size in sizes.items()}}
    with gradients():
        return gradient_of(loss, leaves)


@pytest.mark.parametrize('gradients', GRADIENTS.values(), ids=GRADIENTS)
@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_compiled_network_has_the_same_meta_gradient(
    config: MilConfig, gradients: Gradients
) -> None:
    expected = meta_gradient(config)
    found = meta_gradient(replace(config, compiled=True), gradients)
    assert all(gradient.abs().max() > 0 for name, gradient in expected.items() if 'conv' in name)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize('gradients', GRADIENTS.values(), ids=GRADIENTS)
def test_gradients_by_shared_weights_are_of_each_task_unless_summed(gradients: Gradients) -> None:
    config = replace(DEEP, compiled=True)
    weight, images = 'conv1.weight', draw_batch(1, config).images
    found = {}
    for is_compiled in (False, True):
        params = expand(draw_params(config), len(images))
        loss = features(params, images, replace(config, compiled=is_compiled)).square().sum()
        with gradients():
            found[is_compiled] = gradient_of(loss, {weight: params[weight]})[weight]
    assert torch.allclose(found[True].sum(dim=0), found[False].sum(dim=0), rtol=1e-9)
    assert torch.allclose(found[True], found[False], rtol=1e-9) == (gradients is nullcontext)


def test_compiled_training_goes_on_where_another_has_stopped(
    dataset: Dataset, tmp_path: Path
) -> None:
    config = MilConfig(
        image_height=12,
        image_width=16,
        filters=(3, 4),
        strides=(2, 1),
        kernels=(3, 3),
        hidden=(8,),
        meta_batch=2,
        steps=2,
        precision='float32',
    )
    losses: dict[bool, list[float]] = {False: [], True: []}
    path = tmp_path / 'last.safetensors'
    Trainer(dataset, config).save(path)
    for is_compiled, found in losses.items():
        trainer = Trainer(dataset, replace(config, compiled=is_compiled))
        trainer.resume(path)
        trainer.run(tmp_path / 'new.safetensors', lambda r, found=found: found.append(r.post_loss))
    assert losses[True] == pytest.approx(losses[False], rel=1e-5)
    assert losses[True][1] != losses[True][0]


def test_third_derivative_is_refused() -> None:
    config = replace(DEEP, compiled=True)
    params = draw_task_params(config)
    leaves = [params['conv0.weight'], params['conv1.weight']]
    loss = features(params, draw_batch(1, config).images, config).square().sum()
    first = torch.autograd.grad(loss, leaves, create_graph=True)
    with pytest.raises(RuntimeError, match='third derivative; expected at most its second'):
        torch.autograd.grad(sum(g.sum() for g in first), leaves, create_graph=True)


def test_each_layout_is_compiled_for_itself() -> None:
    compiled = Compiled(lambda x: 2.0 * x)
    for shape in ((2,), (3,), (2, 3)):
        x = torch.full(shape, 2.0)
        for given in (x, x.double(), x.t()):
            assert torch.equal(compiled(given), 2.0 * given)


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('CXX', raising=False)
    check_compiler()
    monkeypatch.setattr(fused.shutil, 'which', lambda name: None)
    with pytest.raises(
        ConfigError, match=r'no g\+\+ or clang\+\+; expected a C\+\+ compiler, .*compiled=false'
    ):
        check_compiler()
    monkeypatch.setenv('CXX', 'my-c++')
    with pytest.raises(ConfigError, match=r'no my-c\+\+; expected'):
        check_compiler()


def test_torch_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fused._OPTIONS, 'some_later_option', 1)
    message = (
        r'but torch is .*; expected one whose compiler has some_later_option, install 2\.13 or'
    )
    with pytest.raises(ConfigError, match=message):
        check_compiler()


def test_learned_image_context_cannot_be_compiled() -> None:
    with pytest.raises(ConfigError, match='compiled and image_context are both true; expected'):
        MilConfig(compiled=True, image_context=True)
