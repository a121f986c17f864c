"""Who can be evaluated: bundles, checkpoints of any method, and scripted baselines."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TYPE_CHECKING

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import RobotDescription
from mil_ros.core.types import Demo, Policy
from mil_ros.inference.bundle import check_robot, load_bundle

if TYPE_CHECKING:
    from mil_ros.inference.onnx_policy import OnnxPolicy
    from mil_ros.learning.config import MilConfig
    from mil_ros.sim.simulation import Simulation

UNCHANGED = 'nothing'  # what an ablation is compared with
SCRIPTED = ('expert', 'random', 'replay', 'align-and-replay')


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A policy to be evaluated; small enough to be sent to each worker.

    Attributes:
        name: What the user named: a path or a scripted baseline.
        task: Task family.
        method: ``mil`` or the baseline's name.
        modality: ``full`` or ``video``: what of a demonstration it is shown.
        shots: Demonstrations that it is shown.
        step_scale: Factor on the inner step sizes.
        inner_steps: Gradient steps on the demonstration; None for as many as trained for.
        finetune: Steps of Adam on the demonstration.
        training: How it was trained: ``training_tasks``, ``training_steps`` and ``ablation``, the
            changes to the default configuration; empty for scripts.
    """

    name: str
    task: str
    method: str
    modality: str
    shots: int = 1
    step_scale: float = 1.0
    inner_steps: int | None = None
    finetune: int = 0
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def is_bundle(self) -> bool:
        """Whether it runs in ONNX Runtime, as on a robot."""
        return self.method == 'mil' and Path(self.name).is_dir()

    def without_adaptation(self) -> Contender:
        """Return the same policy with inner steps of size zero."""
        return replace(self, step_scale=0.0)

    def options(self) -> dict[str, Any]:
        """Return what differs from how the policy was trained."""
        chosen = {
            'step_scale': self.step_scale,
            'inner_steps': self.inner_steps,
            'finetune': self.finetune,
        }
        usual = {'step_scale': 1.0, 'inner_steps': None, 'finetune': 0}
        return {k: v for k, v in chosen.items() if v != usual[k]}

    def make(self, simulation: Simulation) -> Policy:
        """Load the policy; called once in each worker."""
        if self.method in SCRIPTED:
            from mil_ros.sim.scripted import make_scripted

            return make_scripted(self.method, simulation)
        if self.is_bundle:
            from mil_ros.inference.onnx_policy import OnnxPolicy

            return _Scaled(OnnxPolicy(load_bundle(self.name)), self.step_scale)
        import torch

        from mil_ros.learning.checkpoint import load_checkpoint
        from mil_ros.learning.torch_policy import TorchPolicy

        torch.set_num_threads(1)
        return TorchPolicy(
            load_checkpoint(Path(self.name)),
            inner_steps=self.inner_steps,
            step_scale=self.step_scale,
            finetune_steps=self.finetune,
        )


def describe(args: argparse.Namespace, robot: RobotDescription) -> Contender:
    """Find out what the words on the command line name.

    Raises:
        ConfigError: If options do not go together or a scripted baseline lacks its task.
        BundleError: If a bundle does not fit the robot.
    """
    chosen = {
        'step_scale': args.step_scale,
        'inner_steps': args.inner_steps,
        'finetune': args.finetune,
    }
    if args.policy in SCRIPTED:
        if args.task is None:
            raise ConfigError(
                f'{args.policy!r} can do any task; say which with --task reach, push or place.'
            )
        return Contender(name=args.policy, task=args.task, method=args.policy, modality='full')
    path = Path(args.policy)
    if path.is_file():
        from mil_ros.learning.checkpoint import load_checkpoint

        checkpoint = load_checkpoint(path)
        config, trained = checkpoint.config, str(checkpoint.data['task'])
        method = 'finetune' if args.finetune else config.method
        modality, shots = config.modality, config.shots
        training = _describe_training(config, checkpoint.step, checkpoint.data)
    else:
        bundle = load_bundle(path)
        check_robot(bundle, robot)
        if args.inner_steps is not None or args.finetune:
            raise ConfigError(
                f'Got --inner-steps or --finetune for the bundle {path}, whose graph is fixed; '
                'expected the checkpoint that it was exported from.'
            )
        method, trained = 'mil', str(bundle.manifest['task'])
        modality = str(bundle.manifest['policy']['modality'])
        shots = int(bundle.manifest['policy']['shots'])
        training = {}
    return Contender(
        name=args.policy,
        task=args.task or trained,
        method=method,
        modality=modality,
        shots=shots,
        training=training,
        **chosen,
    )


def _describe_training(config: MilConfig, steps: int, data: dict[str, Any]) -> dict[str, Any]:
    return {
        'training_tasks': int(data['tasks']),
        'training_steps': steps,
        'ablation': config.describe_changes() or UNCHANGED,
    }


class _Scaled:
    """A bundle whose inner steps are taken with a factor."""

    def __init__(self, policy: OnnxPolicy, step_scale: float) -> None:
        self._policy, self._step_scale = policy, step_scale

    def adapt(self, *demos: Demo) -> Policy:
        return self._policy.adapt_and_report(*demos, step_scale=self._step_scale)[0]

    def act(self, observation: Any) -> Any:
        return self._policy.act(observation)
