"""The one configuration of a policy network and its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import json
from typing import Any

from mil_ros.core.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class MilConfig:
    """Network and meta-training options; symbols as in the paper (arXiv 1709.04905).

    Attributes:
        image_height: Rows of the policy's image.
        image_width: Columns of the policy's image.
        joints: Number of joints, J.
        filters: Filters of each convolution.
        strides: Stride of each convolution.
        kernels: Kernel size of each convolution.
        hidden: Widths of the fully connected layers.
        context: Size of the bias transformation of the first fully connected layer (section 4.1).
        image_context: Whether the image carries a learned context too (its bias transformation).
        final_pose_weight: Weight of the auxiliary loss on the predicted final pose (section 4.3),
            before and after the inner step; 0 trains without it.
        frames: Frames drawn from a demonstration for each side of a training step.
        demo_frames: Frames of a demonstration used for adaptation on the robot.
        meta_batch: Tasks per meta-training step.
        steps: Meta-training steps.
        learning_rate: Of the outer Adam, decayed to zero by a cosine.
        step_size: Initial inner step size, learned per parameter from there.
        step_size_rate: Learning rate of the step sizes, as a multiple of `learning_rate`.
        gradient_clip: Bound on each element of the inner gradient.
        outer_clip: Bound on the norm of the outer gradient.
        seed: Of initialisation and sampling.
    """

    image_height: int = 60
    image_width: int = 80
    joints: int = 7
    filters: tuple[int, ...] = (24, 24, 24)
    strides: tuple[int, ...] = (2, 2, 1)
    kernels: tuple[int, ...] = (5, 3, 3)
    hidden: tuple[int, ...] = (128, 128)
    context: int = 20
    image_context: bool = True
    final_pose_weight: float = 1.0
    frames: int = 3
    demo_frames: int = 24
    meta_batch: int = 24
    steps: int = 4500
    learning_rate: float = 3e-3
    step_size: float = 0.1
    step_size_rate: float = 1.0
    gradient_clip: float = 10.0
    outer_clip: float = 10.0
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.filters), len(self.strides), len(self.kernels)}
        if len(lengths) != 1:
            raise ConfigError(
                f'Got {len(self.filters)} filters, {len(self.strides)} strides and '
                f'{len(self.kernels)} kernels; expected one of each per convolution.'
            )
        for name in ('steps', 'meta_batch', 'frames', 'demo_frames', 'learning_rate'):
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; expected above 0.')

    def to_json(self) -> str:
        """Return the configuration as JSON."""
        return json.dumps(dataclasses.asdict(self))

    def with_options(self, options: list[str]) -> MilConfig:
        """Return a copy with some fields set by words such as ``step_size=0.3``.

        Raises:
            ConfigError: If a word is no ``field=value`` or the value does not fit the field.
        """
        changes: dict[str, Any] = {}
        for word in options:
            name, equals, text = word.partition('=')
            known = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
            if not equals or name not in known:
                raise ConfigError(
                    f'Got option {word!r}; expected field=value with a field of {sorted(known)}.'
                )
            try:
                value = json.loads(text)
            except ValueError:
                value = text
            value = tuple(value) if isinstance(value, list) else value
            if isinstance(known[name], float) and isinstance(value, int):
                value = float(value)
            if type(value) is not type(known[name]):
                raise ConfigError(
                    f'Got option {word!r}; expected a {type(known[name]).__name__} such as '
                    f'{name}={known[name]}.'
                )
            changes[name] = value
        return dataclasses.replace(self, **changes)

    @classmethod
    def from_json(cls, text: str) -> MilConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: If keys are unknown.
        """
        document: dict[str, Any] = json.loads(text)
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := set(document) - known:
            raise ConfigError(
                f'Configuration has unknown keys {sorted(unknown)}; expected some of '
                f'{sorted(known)}.'
            )
        lists = {k: tuple(v) for k, v in document.items() if isinstance(v, list)}
        return cls(**{**document, **lists})
