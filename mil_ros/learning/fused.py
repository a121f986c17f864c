"""Functions compiled together with their first and their second derivative.

PyTorch compiles a function with its gradient, but not with the gradient of that gradient, which
MAML needs. Here each order is a function of its own, compiled by itself; autograd only strings
them together. One pass over memory then does what takes eager torch up to ten.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import shutil
from typing import Any

import torch
from torch import Tensor

from mil_ros.core.errors import ConfigError

_COMPILERS = ('g++', 'clang++')


def check_compiler() -> None:
    """Refuse to go on without a C++ compiler.

    Raises:
        ConfigError: If there is none.
    """
    wanted = (os.environ['CXX'],) if 'CXX' in os.environ else _COMPILERS
    if not any(map(shutil.which, wanted)):
        raise ConfigError(
            f'compiled is true, but there is no {" or ".join(wanted)}; expected a C++ compiler, '
            'install one (apt install g++) or train with --option compiled=false.'
        )


def check_order() -> None:
    """Raise RuntimeError in a second derivative that shall be differentiated again."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            'A compiled function was asked for its third derivative; expected at most its second.'
        )


class Compiled:
    """A function of tensors without derivatives, compiled for each shape that it is called with.

    What torch would check before every call takes as long as the calls that it is used for here,
    so all that may differ between two calls is told apart here: the layout of the tensors.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Compile nothing yet."""
        self._function = function
        self._by_layout: dict[tuple[object, ...], Callable[..., Any]] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """Return what the function returns; the first call of a layout takes seconds."""
        layout = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        compiled = self._by_layout.get(layout)
        if compiled is None:
            compile_one: Any = torch.compile  # its overloads lack an argument
            compiled = self._by_layout[layout] = compile_one(
                self._function,
                fullgraph=True,
                dynamic=False,
                isolate_recompiles=True,
                options={'guard_filter_fn': torch.compiler.skip_all_guards_unsafe},
            )
        with torch.no_grad():
            return compiled(*inputs)


class Fused:
    """A function of tensors that can be differentiated twice."""

    def __init__(self, function: Callable[..., Tensor], constants: int = 0) -> None:
        """Derive the orders.

        Args:
            function: Takes tensors and returns one.
            constants: How many of its last inputs carry no gradient.
        """

        def pull(gradient: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
            free = len(inputs) - constants
            fixed = inputs[free:]
            pulled: Any = torch.func.vjp(lambda *x: function(*x, *fixed), *inputs[:free])
            gradients: tuple[Tensor, ...] = pulled[1](gradient)
            return gradients

        def pull_twice(*tensors: Tensor) -> tuple[Tensor, ...]:
            free = (len(tensors) - constants + 1) // 2  # the gradient among them
            fixed, cotangents = tensors[free : free + constants], tensors[free + constants :]
            pulled: Any = torch.func.vjp(lambda *x: pull(*x, *fixed), *tensors[:free])
            gradients: tuple[Tensor, ...] = pulled[1](cotangents)
            return gradients

        self.unused = (None,) * constants  # gradients of the constants
        self.value, self.pull, self.pull_twice = (
            Compiled(order) for order in (function, pull, pull_twice)
        )

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the function's value."""
        value: Tensor = _Value.apply(self, *inputs)
        return value


class _Value(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fused: Fused, *inputs: Tensor) -> Tensor:
        ctx.fused = fused
        ctx.save_for_backward(*inputs)
        value: Tensor = fused.value(*inputs)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        fused: Fused = ctx.fused
        return (None, *_Pull.apply(fused, *gradients, *ctx.saved_tensors), *fused.unused)


class _Pull(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fused: Fused, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.fused = fused
        ctx.save_for_backward(*tensors)
        gradients: tuple[Tensor, ...] = fused.pull(*tensors)
        return gradients

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        check_order()
        fused: Fused = ctx.fused
        return (None, *fused.pull_twice(*ctx.saved_tensors, *cotangents), *fused.unused)
