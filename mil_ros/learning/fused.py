"""Compiling what has to be differentiated twice.

PyTorch compiles a function with its gradient, but not with the gradient of that gradient, which
MAML needs. Here a value and each of its derivatives are functions of their own, compiled one by
one; autograd only strings them together.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import shutil
from typing import Any

import torch
from torch import _inductor, Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from mil_ros.core.errors import ConfigError

_COMPILERS = ('g++', 'clang++')
# What several sums need is computed anew for each: to write it down and read it takes longer.
_OPTIONS = {
    'realize_reads_threshold': 1000,
    'realize_opcount_threshold': 1000,
    'realize_acc_reads_threshold': 1000,
}


def check_compiler() -> None:
    """Refuse to go on with what cannot compile.

    Raises:
        ConfigError: If torch is too old or there is no C++ compiler.
    """
    unknown = [option for option in _OPTIONS if not hasattr(_inductor.config, option)]
    if unknown:
        raise ConfigError(
            f'compiled is true, but torch is {torch.__version__}; expected one whose compiler has '
            f'{unknown[0]}, install 2.13 or newer or train with --option compiled=false.'
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

    What `torch.compile` checks before every call takes as long as the calls that it is used for
    here, so the function is traced and handed to the compiler behind it. All that may differ
    between two calls is told apart here: the layout of the tensors.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Compile nothing yet."""
        self._function = function
        self._by_layout: dict[tuple[object, ...], Callable[..., Any]] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """Return what the function returns; the first call of a layout takes seconds."""
        layout = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        with torch.no_grad():
            compiled = self._by_layout.get(layout)
            if compiled is None:
                graph = make_fx(self._function)(*inputs)
                compiled = _inductor.compile(graph, list(inputs), options=_OPTIONS)
                self._by_layout[layout] = compiled
            outputs = compiled(*inputs)
        return tuple(outputs) if isinstance(outputs, list) else outputs
