"""Success on tasks that are not trained on, measured while a policy is being trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mil_ros.core.errors import ConfigError
from mil_ros.core.robot import load_robot
from mil_ros.sim.families import FAMILIES
from mil_ros.sim.simulation import Simulation
from mil_ros.tools.trials import run_trial

if TYPE_CHECKING:
    from mil_ros.learning.trainer import Trainer

_STREAM = 17  # keeps the scenes apart from those of collection and evaluation


class Validation:
    """Trials on new tasks of the training palette, one for each task.

    The held-out palette stays unseen until `mil evaluate`, even for choosing a checkpoint.
    """

    def __init__(self, trainer: Trainer, trials: int) -> None:
        """Build the scene of the family that is trained; `close` frees it.

        Raises:
            ConfigError: If there are no trials, or the data are of no family that is simulated.
        """
        if trials < 1:
            raise ConfigError(f'Got --validate-trials {trials}; expected at least 1.')
        info = trainer.dataset.info
        self._trainer, self._trials, self._seed = trainer, trials, info.seed
        name = info.task.partition('+')[0]  # of a mixture, its first part
        if name not in FAMILIES:
            raise ConfigError(
                f'Got --validate-every for data of {name!r}, which is not simulated; expected one '
                f'of {", ".join(FAMILIES)}. Train without it.'
            )
        self._simulation = Simulation(load_robot(info.robot), FAMILIES[name])

    def run(self) -> float:
        """Return the success of the policy as it is now."""
        from mil_ros.learning.torch_policy import TorchPolicy

        config = self._trainer.config
        policy = TorchPolicy(self._trainer.state())
        won = 0
        for index in range(self._trials):
            task = self._simulation.family.sample_task('train', self._seed + 1, index)
            rng = np.random.default_rng([self._seed, index, _STREAM])
            _, trial = run_trial(
                self._simulation,
                policy,
                task,
                rng,
                modality=config.modality,
                shots=config.shots,
            )
            won += trial.outcome.success
        return won / self._trials

    def close(self) -> None:
        """Free the renderer."""
        self._simulation.close()
