"""Which nodes are started is decided by the table alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from mil_ros.bringup import arguments, nodes, replay_arguments, REPLAY_PARAMETERS, replayed
from mil_ros.tools.graph import Graph

ALWAYS = {'guard', 'planner', 'recorder', 'adaptation', 'control'}


def names(simulated: bool) -> set[str]:
    return {spec.name for spec in nodes(simulated)}


def test_the_simulated_arm_stands_for_the_hardware() -> None:
    assert names(simulated=True) == ALWAYS | {'sim'}
    assert names(simulated=False) == ALWAYS | {'camera'}


def test_only_what_the_nodes_take_is_asked_for() -> None:
    simulated = {argument.name for argument in arguments(simulated=True)}
    real = {argument.name for argument in arguments(simulated=False)}
    assert {'family', 'split', 'seed'} == simulated - real
    assert {'camera', 'moveit'} == real - simulated


def test_a_replay_runs_what_adapts_and_acts_and_can_move_nothing() -> None:
    assert {spec.name for spec in replayed()} == {'adaptation', 'control'}
    assert REPLAY_PARAMETERS == {'use_sim_time': True, 'dry_run': True}
    open_to_choice = {argument.name for argument in replay_arguments()}
    assert open_to_choice == {'episode', 'robot', 'bundle', 'policies'}


def test_whoever_replays_must_say_what() -> None:
    required = [a.name for a in replay_arguments() if a.default is None]
    assert required == ['episode']


@pytest.mark.parametrize(('source', 'has_camera'), [('', False), ('synthetic', True)])
def test_the_camera_node_is_started_for_a_source(
    tmp_path: Path, source: str, has_camera: bool
) -> None:
    graph = Graph({'camera': source}, tmp_path, simulated=False)
    assert ('camera' in graph.names) is has_camera
