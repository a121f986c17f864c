"""The one configuration of a policy network and its training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import json
from typing import Any

from mil_ros.core.errors import ConfigError

_CHOICES = {
    'method': ('mil', 'bc', 'contextual', 'lstm'),
    'modality': ('full', 'video'),
    'precision': ('bfloat16', 'float32', 'float64'),
}
_POSITIVE = (
    'steps',
    'meta_batch',
    'frames',
    'trial_frames',
    'demo_frames',
    'learning_rate',
    'shots',
    'inner_steps',
    'loss_kernel',
)
_NO_OPTIONS = (
    'method',
    'modality',
    'steps',
    'seed',
    'joints',
    'image_height',
    'image_width',
    'compiled',
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MilConfig:
    """Network and meta-training options; symbols as in the paper (arXiv 1709.04905).

    Attributes:
        method: ``mil``, or a baseline: ``bc``, ``contextual``, ``lstm``.
        modality: ``full`` adapts to video, states and actions, ``video`` to the video alone.
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
        loss_filters: Filters of the learned temporal loss (section 4.4), used without actions.
        loss_kernel: Frames that one of its convolutions spans.
        loss_layers: Its convolutions.
        lstm_width: Hidden units of the LSTM baseline.
        shots: Demonstrations that the inner step sees, K.
        frames: Frames drawn from a demonstration for a training step.
        trial_frames: Frames drawn from a trial.
        demo_frames: Frames of a demonstration used for adaptation on the robot.
        inner_steps: Gradient steps on the demonstration.
        first_order_share: Share of the training that treats the inner gradient as a constant.
        multi_step_share: Share of the training over which the losses after the earlier inner
            steps fade out; 0 counts the last alone.
        frozen: Parameters that the inner step leaves alone, by the start of their names.
        meta_batch: Tasks per meta-training step.
        steps: Meta-training steps.
        learning_rate: Of the outer Adam, decayed to zero by a cosine.
        step_size: Initial inner step size, learned per parameter from there.
        step_size_rate: Learning rate of the step sizes, as a multiple of `learning_rate`.
        gradient_clip: Bound on each element of the inner gradient.
        outer_clip: Bound on the norm of the outer gradient.
        precision: Of the convolutions in training; the rest, and the robot, use float32. `mil
            train` takes the one that is fastest on the machine.
        compiled: Whether training compiles the network, in half a minute; a step then takes two
            thirds of the time.
        seed: Of initialisation and sampling.
    """

    method: str = 'mil'
    modality: str = 'full'
    image_height: int = 60
    image_width: int = 80
    joints: int = 7
    filters: tuple[int, ...] = (32, 32, 32)
    strides: tuple[int, ...] = (4, 1, 1)
    kernels: tuple[int, ...] = (7, 3, 3)
    hidden: tuple[int, ...] = (128, 128)
    context: int = 20
    image_context: bool = False
    final_pose_weight: float = 1.0
    loss_filters: int = 32
    loss_kernel: int = 3
    loss_layers: int = 2
    lstm_width: int = 128
    shots: int = 1
    frames: int = 3
    trial_frames: int = 4
    demo_frames: int = 24
    inner_steps: int = 1
    first_order_share: float = 0.0
    multi_step_share: float = 0.0
    frozen: tuple[str, ...] = ()
    meta_batch: int = 24
    steps: int = 4500
    learning_rate: float = 3e-3
    step_size: float = 0.1
    step_size_rate: float = 1.0
    gradient_clip: float = 10.0
    outer_clip: float = 10.0
    precision: str = 'bfloat16'
    compiled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        lengths = {len(self.filters), len(self.strides), len(self.kernels)}
        if len(lengths) != 1:
            raise ConfigError(
                f'Got {len(self.filters)} filters, {len(self.strides)} strides and '
                f'{len(self.kernels)} kernels; expected one of each per convolution.'
            )
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ConfigError(f'{name} is {getattr(self, name)}; expected above 0.')
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f'{name} is {getattr(self, name)!r}; expected one of {", ".join(known)}.'
                )
        for name in ('first_order_share', 'multi_step_share'):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f'{name} is {getattr(self, name)}; expected 0 to 1.')
        if self.compiled and self.image_context:
            raise ConfigError(
                'compiled and image_context are both true; expected at most one of them, leave '
                'compiled out.'
            )
        spanned = self.loss_layers * (self.loss_kernel - 1) + 1
        if self.uses_learned_loss and self.shots * min(self.frames, self.demo_frames) < spanned:
            raise ConfigError(
                f'The learned loss spans {spanned} frames, a demonstration has {self.frames}; '
                'raise frames or lower loss_kernel or loss_layers.'
            )

    @property
    def uses_learned_loss(self) -> bool:
        """Whether the inner step follows a learned loss instead of the demonstrated actions."""
        return self.method == 'mil' and self.modality == 'video'

    @property
    def is_ordered(self) -> bool:
        """Whether the frames of a demonstration are read as a sequence that ends at its end."""
        return self.modality == 'video' or self.method in ('contextual', 'lstm')

    @property
    def embedding(self) -> int:
        """Width of what a baseline knows of the demonstration."""
        widths = {'contextual': 2 * self.filters[-1], 'lstm': self.lstm_width}
        return widths.get(self.method, 0)

    def describe_changes(self) -> str:
        """Return what of the method differs from the default, such as ``inner_steps=3``.

        Empty if nothing does. What the method is compared by elsewhere is left out: ``method``
        and ``modality``, the length of the training, and the size of its inputs.
        """
        default = MilConfig()
        changed = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in _NO_OPTIONS and getattr(self, f.name) != getattr(default, f.name)
        }
        return ', '.join(
            f'{name}={json.dumps(value) if isinstance(value, tuple | bool) else value}'
            for name, value in changed.items()
        )

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
