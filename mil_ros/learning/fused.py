"""Compiling what has to be differentiated twice.

PyTorch compiles a function with its gradient, but not with the gradient of that gradient, which
MAML needs. Here a value and each of its derivatives are functions of their own, compiled one by
one; autograd only strings them together.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
import os
import shutil
from typing import Any

import torch
from torch import Tensor

from mil_ros.core.errors import ConfigError

_COMPILERS = ('g++', 'clang++')
# Nothing is checked before a call, and what several sums need is computed anew for each: to write
# it down and read it again takes longer.
_OPTIONS = {
    'guard_filter_fn': torch.compiler.skip_all_guards_unsafe,
    'realize_reads_threshold': 1000,
    'realize_opcount_threshold': 1000,
    'realize_acc_reads_threshold': 1000,
}


def check_compiler() -> None:
    """Refuse to go on with what cannot compile.

    Raises:
        ConfigError: If torch is too old or there is no C++ compiler.
    """
    if 'isolate_recompiles' not in signature(torch.compile).parameters:
        raise ConfigError(
            f'compiled is true, but torch is {torch.__version__}; expected one whose compile has '
            'isolate_recompiles, install 2.13 or newer or train with --option compiled=false.'
        )
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
    """A function of tensors without derivatives, compiled for each layout that it is called with.

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
                options=_OPTIONS,
            )
        with torch.no_grad():
            return compiled(*inputs)
