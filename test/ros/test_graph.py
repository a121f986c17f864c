"""The graph over real DDS: the loop, and services called in the wrong order."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil
import subprocess

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np
import pytest
from running import PATIENCE_S, RunningGraph
from std_msgs.msg import String

from mil_ros.core.errors import MilError
from mil_ros.data.episode import load_demo, read_provenance
from mil_ros.data.metadata import update_custom_data
from mil_ros.inference.bundle import load_bundle
from mil_ros.ros.node import LATCHED
from mil_ros.tools.loop import Episode

pytestmark = pytest.mark.ros


def refused(running: RunningGraph, service: str, match: str) -> None:
    with pytest.raises(MilError, match=match):
        running.client.trigger(service)


# These run first: nothing has been recorded or adapted yet.


def test_run_before_adapt_is_refused(running: RunningGraph) -> None:
    refused(running, '/control/start', 'Run refused: no adapted policy .* /adaptation/adapt first')


def test_adapt_before_record_is_refused(running: RunningGraph) -> None:
    refused(running, '/adaptation/adapt', 'nothing was recorded .* call /recorder/start')


def test_rollback_without_history_is_refused(running: RunningGraph) -> None:
    refused(running, '/adaptation/rollback', '0 policies were adapted, expected at least 2')


@pytest.mark.parametrize('verb', ['stop', 'discard'])
def test_ending_a_recording_before_its_start_is_refused(running: RunningGraph, verb: str) -> None:
    refused(running, f'/recorder/{verb}', f'nothing to {verb}; call /recorder/start first')


def test_stop_before_start_of_a_run_is_refused(running: RunningGraph) -> None:
    refused(running, '/control/stop', 'No run to stop; call /control/start first')


def test_reset_without_fault_is_refused(running: RunningGraph) -> None:
    refused(running, '/guard/reset', 'Nothing to reset: the guard has no fault')


def test_the_arm_rests_while_nobody_commands(running: RunningGraph) -> None:
    assert running.measure_speed(50) < 0.01


def test_the_whole_loop_records_adapts_and_moves(running: RunningGraph) -> None:
    episode = Episode(0, 'any')
    running.loop.attempt(episode)
    assert episode.success is not None, episode.message
    assert episode.adapt_ms > 0
    assert len(episode.tick_ms) > 3
    report = running.client.values('adaptation/report')
    assert float(report['loss_after']) < float(report['loss_before'])
    bundle = load_bundle(report['path'])
    assert bundle.is_adapted
    recorded = Path(bundle.manifest['demo']['episode'])
    demo = load_demo(recorded, running.robot)
    assert 15 <= len(demo) <= 30
    assert np.abs(demo.joint_velocities).max() > 0.05
    assert np.ptp(demo.joint_positions, axis=0).max() > 0.05
    provenance = read_provenance(recorded)
    assert provenance['robot_sha256'] == running.robot.sha256
    assert provenance['task'] == 'reach any'
    assert provenance['action_source'] == demo.action_source == 'commanded'
    assert bundle.manifest['demo']['action_source'] == 'commanded'


def test_no_robot_process_has_torch_or_mujoco_loaded(running: RunningGraph) -> None:
    for name in ('recorder', 'adaptation', 'control', 'guard'):
        maps = Path(f'/proc/{running.graph.processes[name].pid}/maps').read_text()
        assert 'libtorch' not in maps, name
        assert 'libmujoco' not in maps, name


def test_what_moves_the_arm_runs_in_real_time_where_that_is_allowed(running: RunningGraph) -> None:
    is_allowed = subprocess.run(['chrt', '-f', '20', 'true'], capture_output=True).returncode == 0
    for name, process in running.graph.processes.items():
        wanted = {'guard': 20, 'control': 10, 'sim': 5}.get(name, 0) if is_allowed else 0
        assert os.sched_getparam(process.pid).sched_priority == wanted, name


def test_what_moves_the_arm_shares_no_memory(running: RunningGraph) -> None:
    for name, process in running.graph.processes.items():
        threads = Path(f'/proc/{process.pid}/task').glob('*/comm')
        shares = any('dds.shm' in thread.read_text() for thread in threads)
        assert shares == (name == 'recorder'), name


def test_a_second_start_while_recording_is_refused(running: RunningGraph) -> None:
    running.client.trigger('/recorder/start')
    refused(running, '/recorder/start', 'Already recording .* call /recorder/stop or')
    running.client.trigger('/recorder/stop')


def test_a_discarded_episode_is_set_aside_not_deleted(running: RunningGraph) -> None:
    path = Path(running.client.trigger('/recorder/start').removeprefix('RECORDING '))
    running.client.spin_for(0.3)
    answer = running.client.trigger('/recorder/discard')
    assert not path.exists()
    kept = path.with_name(f'{path.name}.discarded')
    assert str(kept) in answer
    assert kept.is_dir()


def test_a_demonstration_without_motion_is_refused(running: RunningGraph) -> None:
    running.client.trigger('/recorder/start')
    running.client.spin_for(1.0)
    running.client.trigger('/recorder/stop')
    refused(
        running, '/adaptation/adapt', 'holds no motion: no joint of /joint_states exceeds 0.02'
    )


def test_a_truncated_episode_is_refused_and_the_policy_kept(running: RunningGraph) -> None:
    whole = next(p for p in sorted(running.episodes.iterdir()) if p.name.endswith('_any'))
    broken = running.out / 'broken'
    shutil.copytree(whole, broken)
    bag = next(broken.glob('*.mcap'))
    bag.write_bytes(bag.read_bytes()[: bag.stat().st_size // 2])
    before = running.client.values('control/state')['policy']
    running.client.set_parameter('adaptation', 'demo', str(broken))
    try:
        refused(running, '/adaptation/adapt', 'Episode broken .* cut off|truncated')
    finally:
        running.client.set_parameter('adaptation', 'demo', '')
    running.client.spin_for(0.7)
    assert running.client.values('control/state')['policy'] == before


def test_adapting_to_a_rejected_episode_is_possible_but_never_without_a_word(
    running: RunningGraph,
) -> None:
    client = running.client
    whole = next(p for p in sorted(running.episodes.iterdir()) if p.name.endswith('_any'))
    doubtful = running.out / 'doubtful'
    shutil.copytree(whole, doubtful)

    def adapt(verdict: str) -> tuple[str, DiagnosticStatus]:
        """Return the answer and the report."""
        quality = json.dumps({'verdict': verdict, 'reasons': ['It is short.']})
        update_custom_data(doubtful, {'verdict': verdict, 'quality': quality})
        client.states.pop('adaptation/report', None)
        answer = client.trigger('/adaptation/adapt', timeout_s=PATIENCE_S)
        client.wait(lambda: 'adaptation/report' in client.states, PATIENCE_S, 'the report')
        return answer, client.states['adaptation/report']

    client.set_parameter('adaptation', 'demo', str(doubtful))
    try:
        answer, report = adapt('reject')
        assert answer.startswith('Adapted to doubtful in ')
        assert 'The recorder rejected this episode: It is short.' in answer
        assert (report.level, report.message) == (DiagnosticStatus.WARN, answer)
        assert 'Back to ' in client.trigger('/adaptation/rollback')
        answer, report = adapt('accept')
        assert 'rejected' not in answer
        assert (report.level, report.message) == (DiagnosticStatus.OK, answer)
    finally:
        client.set_parameter('adaptation', 'demo', '')


def test_a_running_demonstration_refuses_reset_and_another(running: RunningGraph) -> None:
    pending = running.client.call_trigger('/sim/demonstrate')
    running.client.spin_for(0.3)
    refused(running, '/sim/reset', 'a demonstration is running; wait')
    refused(running, '/sim/demonstrate', 'one is already running; wait')
    running.client.wait(pending.done, PATIENCE_S, 'the demonstration')
    assert pending.result().success


def test_an_emergency_stop_in_motion_latches_until_reset(running: RunningGraph) -> None:
    running.client.trigger('/sim/reset')
    pending = running.client.call_trigger('/sim/demonstrate')
    running.wait_until_moving()
    running.client.trigger('/guard/estop')
    running.wait_until_resting()
    assert running.client.values('guard/state')['state'] == 'fault'
    running.client.wait(pending.done, PATIENCE_S, 'the demonstration')
    running.client.trigger('/sim/reset')
    assert 'Emergency stop was called' in running.client.trigger('/guard/reset')
    running.client.trigger('/sim/demonstrate')
    running.client.wait(lambda: running.client.is_success, PATIENCE_S, 'the verdict')


def test_a_run_far_from_the_start_pose_is_refused(running: RunningGraph) -> None:
    """Regressions pinned: the demonstration before leaves the arm at the object."""
    away = running.robot.policy.start_tolerance_rad
    refused(running, '/control/start', rf'rad from the start pose, expected at most {away} rad')


def test_inactive_control_refuses_to_run(running: RunningGraph) -> None:
    deactivate, activate = 4, 3
    running.client.change_state('control', deactivate)
    refused(running, '/control/start', 'the control node is not active; activate it first')
    running.client.change_state('control', activate)


def test_frames_are_kept_only_between_start_and_take(running: RunningGraph) -> None:
    client = running.client
    client.start_frames()
    client.wait(lambda: len(client._frames or []) >= 3, PATIENCE_S, 'frames')
    assert len(client.take_frames()) >= 3
    running.measure_speed(30)  # meanwhile the camera goes on
    assert client.take_frames() == []


def test_a_broken_policy_announced_in_a_run_ends_the_run_not_the_node(
    running: RunningGraph,
) -> None:
    client = running.client
    good = client.values('adaptation/report')['path']
    publisher = client.node.create_publisher(String, '/adaptation/policy', LATCHED)
    client.wait(lambda: publisher.get_subscription_count() > 0, PATIENCE_S, 'the control node')
    running.loop.new_layout()
    client.trigger('/control/start')
    publisher.publish(String(data='/nowhere'))
    client.wait(
        lambda: 'No policy bundle at /nowhere' in client.states['control/state'].message,
        PATIENCE_S,
        'the run to end',
    )
    refused(running, '/control/start', 'Run refused: No policy bundle at /nowhere: expected')
    publisher.publish(String(data=good))
    name = Path(good).name
    client.wait(
        lambda: client.values('control/state')['policy'] == name, PATIENCE_S, 'the good policy'
    )
    client.node.destroy_publisher(publisher)


def test_control_can_be_cleaned_up_and_configured_again(running: RunningGraph) -> None:
    configure, cleanup, activate, deactivate = 1, 2, 3, 4
    for transition in (deactivate, cleanup, configure, activate):
        running.client.change_state('control', transition)
    client = running.client
    client.states.pop('control/state', None)
    client.wait(
        lambda: bool(client.values('control/state').get('policy')),
        PATIENCE_S,
        'the latched policy to come again',
    )
    running.loop.new_layout()
    assert 'Running' in client.trigger('/control/start')
    client.trigger('/control/stop')
