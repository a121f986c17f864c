"""Policies written by hand, against which learned ones are measured."""

from __future__ import annotations

from collections.abc import Callable
import hashlib

import numpy as np

from mil_ros.core.errors import ConfigError, DemoError, OrderError
from mil_ros.core.types import check_shots, Demo, Observation, Policy, Vector
from mil_ros.sim.aligned_replay import AlignedReplay
from mil_ros.sim.simulation import Simulation

Act = Callable[[Observation], Vector]


def make_scripted(name: str, simulation: Simulation) -> Policy:
    """Return a scripted baseline, or the ``expert`` that gives the demonstrations.

    Args:
        name: ``expert``, ``random``, ``replay`` or ``align-and-replay``.
        simulation: Whose robot and family it is for. The expert alone reads more of it: what a
            baseline knows of the scene comes from observations.

    Raises:
        ConfigError: If there is no such baseline.
    """
    if name == 'expert':
        return Scripted(name, lambda _: lambda _: simulation.family.expert(simulation))
    if name == 'random':
        return Scripted(name, move_at_random)
    if name == 'replay':
        return Scripted(name, play_back)
    if name == 'align-and-replay':
        arm = Simulation(simulation.robot, simulation.family)
        return Scripted(name, lambda demo: AlignedReplay(arm, demo).act)
    raise ConfigError(
        f'Scripted baseline is {name!r}; expected expert, random, replay or align-and-replay.'
    )


class Scripted:
    """A policy for one run after each adaptation; the run's steps are acted in order."""

    def __init__(self, name: str, begin: Callable[[Demo], Act], act: Act | None = None) -> None:
        """Wrap a script.

        Args:
            name: For messages.
            begin: Starts the script from a demonstration.
            act: The script under way, if it has been started.
        """
        self._name, self._begin, self._act = name, begin, act

    def adapt(self, *demos: Demo) -> Scripted:
        """Return the policy for one run.

        Raises:
            DemoError: If there is not one demonstration, or it is a video alone.
        """
        check_shots(demos, 1)
        (demo,) = demos
        if demo.is_video_only:
            raise DemoError(
                f'The demonstration is a video alone; {self._name!r} expects joint positions and '
                'velocities as well.'
            )
        return Scripted(self._name, self._begin, self._begin(demo))

    def act(self, observation: Observation) -> Vector:
        """Return the joint velocities of the next step, (J,) in rad/s.

        Raises:
            OrderError: If no demonstration has been given.
        """
        if self._act is None:
            raise OrderError(f'{self._name!r} was given no demonstration; call adapt first.')
        return self._act(observation)


def move_at_random(demo: Demo) -> Act:
    """Draw velocities that spread as the demonstrated ones; the same for the same demo."""
    digest = hashlib.sha256(demo.joint_velocities.tobytes()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    spread = demo.joint_velocities.std(axis=0, dtype=np.float64)
    return lambda _: rng.normal(0.0, spread)


def play_back(demo: Demo) -> Act:
    """Repeat the demonstrated velocities, whatever is seen, and hold still afterwards."""
    velocities = iter(demo.joint_velocities.astype(np.float64))
    still = np.zeros(demo.joint_velocities.shape[1])
    return lambda _: next(velocities, still)
