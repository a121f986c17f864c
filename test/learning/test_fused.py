"""Compiled pieces give what the network gives, to the second derivative."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tiny import DEEP, draw_batch, draw_params, draw_step_sizes, gradient_of, VIDEO
import torch
from torch import Tensor

from mil_ros.core.errors import ConfigError
from mil_ros.learning import fused
from mil_ros.learning.config import MilConfig
from mil_ros.learning.fused import check_compiler, Fused
from mil_ros.learning.inner_step import meta_loss
from mil_ros.learning.network import Params

CONFIGS = {
    'full in two steps': replace(DEEP, inner_steps=2, gradient_clip=0.1),
    'video': replace(VIDEO, image_context=False),
}


def meta_gradient(config: MilConfig) -> Params:
    params = draw_params(config)
    sizes = draw_step_sizes(params, config)
    demo, trial = draw_batch(1, config), draw_batch(2, config)
    loss = meta_loss(params, sizes, demo, trial, config).objective.sum()
    return gradient_of(loss, {**params, **{f'step_size.{n}': size for n, size in sizes.items()}})


@pytest.mark.parametrize('config', CONFIGS.values(), ids=CONFIGS)
def test_compiled_network_has_the_same_meta_gradient(config: MilConfig) -> None:
    expected = meta_gradient(config)
    found = meta_gradient(replace(config, compiled=True))
    assert all(gradient.abs().max() > 0 for name, gradient in expected.items() if 'conv' in name)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


def cube(x: Tensor, factor: Tensor) -> Tensor:
    return factor * x**3


def test_fused_function_is_differentiated_twice() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = Fused(cube, constants=1)(x, torch.tensor([5.0, 7.0]))
    assert value.tolist() == [5.0, 56.0]
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert first.tolist() == [15.0, 84.0]
    (second,) = torch.autograd.grad(first.sum(), x)
    assert second.tolist() == [30.0, 84.0]


def test_fused_function_is_not_differentiated_a_third_time() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    value = Fused(cube, constants=1)(x, torch.ones(2))
    (first,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='third derivative; expected at most its second'):
        torch.autograd.grad(first.sum(), x, create_graph=True)


def test_each_layout_is_compiled_for_itself() -> None:
    fused_cube = Fused(cube)
    for shape in ((2,), (3,), (2, 3)):
        x = torch.full(shape, 2.0)
        assert torch.equal(fused_cube(x, x), torch.full(shape, 16.0))
        assert torch.equal(fused_cube(x.double(), x.double()), torch.full(shape, 16.0).double())


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


def test_learned_image_context_cannot_be_compiled() -> None:
    with pytest.raises(ConfigError, match='compiled and image_context are both true; expected'):
        MilConfig(compiled=True, image_context=True)
