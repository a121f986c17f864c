"""Any teleoperation: what was commanded and what was measured give the same demonstration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from motion import make_motion, Motion, MOVE_S, REST_S
import numpy as np
import pytest

from mil_ros.core.errors import DemoError, EpisodeError
from mil_ros.core.robot import ActionSettings, RobotDescription
from mil_ros.core.types import Demo
from mil_ros.data.action import choose_source
from mil_ros.data.episode import load_demo
from mil_ros.data.video import load_shown

Read = Callable[..., Demo]


@pytest.fixture
def motion(tiny_robot: RobotDescription, rng: np.random.Generator) -> Motion:
    return make_motion(tiny_robot, rng)


@pytest.fixture
def read(motion: Motion, tmp_path: Path) -> Read:
    """Write the motion as the test has set it and load the demonstration."""

    def read(source: str = 'auto', *, with_commands: bool = True, cutoff_hz: float = 5.0) -> Demo:
        path = tmp_path / 'cup_03'
        if not path.exists():
            motion.write(path, with_commands=with_commands)
        action = ActionSettings(source=source, cutoff_hz=cutoff_hz)
        return load_demo(path, replace(motion.robot, action=action))

    return read


def frames_of(demo: Demo) -> list[int]:
    """Return the number that each frame shows."""
    return [int(image[0, 0, 0]) for image in demo.images]


def at_frames(demo: Demo, wanted: list[int]) -> np.ndarray:
    """Return the actions at some frames, (M, J)."""
    index = {frame: i for i, frame in enumerate(frames_of(demo))}
    return demo.joint_velocities[[index[frame] for frame in wanted]]


# --- Which one -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('wanted', 'command_rad_s', 'source'),
    [
        ('auto', 0.3, 'commanded'),
        ('auto', 0.0, 'measured'),
        ('auto', None, 'measured'),
        ('measured', 0.3, 'measured'),
        ('measured', None, 'measured'),
        ('commanded', 0.3, 'commanded'),
    ],
)
def test_robot_file_and_what_was_commanded_choose_the_source(
    wanted: str, command_rad_s: float | None, source: str
) -> None:
    assert choose_source(wanted, command_rad_s) == source


def test_commands_are_used_where_they_were_recorded(read: Read, motion: Motion) -> None:
    motion.commands *= 0.5
    demo = read()
    assert demo.action_source == 'commanded'
    assert np.abs(demo.joint_velocities).max() == pytest.approx(0.5 * 0.5625, abs=0.01)


def test_what_the_arm_did_is_used_where_nobody_commanded(read: Read) -> None:
    demo = read(with_commands=False)
    assert demo.action_source == 'measured'
    assert np.abs(demo.joint_velocities).max() == pytest.approx(0.5625, abs=0.01)


def test_an_idle_joystick_does_not_hide_a_hand_that_guides(read: Read, motion: Motion) -> None:
    motion.commands[:] = 0.0
    assert read().action_source == 'measured'


def test_measurement_is_used_in_spite_of_commands_if_the_robot_file_wants_it(
    read: Read, motion: Motion
) -> None:
    motion.commands *= 0.5
    demo = read('measured')
    assert demo.action_source == 'measured'
    assert np.abs(demo.joint_velocities).max() == pytest.approx(0.5625, abs=0.01)


def test_a_policy_that_adapts_to_actions_is_shown_a_hand_guided_episode(
    motion: Motion, tmp_path: Path
) -> None:
    path = motion.write(tmp_path / 'guided', with_commands=False)
    assert load_shown(path, motion.robot, 'full').action_source == 'measured'
    assert load_shown(path, motion.robot, 'video').is_video_only


# --- The same policy input -------------------------------------------------------------------


@pytest.mark.parametrize('is_filled', [True, False], ids=['velocities', 'positions alone'])
def test_both_sources_give_the_same_policy_input(
    read: Read, motion: Motion, is_filled: bool
) -> None:
    """Within 3 % of the speed limits: commands are up to 20 ms old, and the filter is smooth."""
    if not is_filled:
        motion.velocities = None
    commanded, measured = read('commanded'), read('measured')
    both = [frame for frame in frames_of(commanded) if frame in frames_of(measured)]
    assert len(both) >= 10 * MOVE_S - 3
    apart = np.abs(at_frames(commanded, both) - at_frames(measured, both))
    assert (apart / motion.robot.velocity_limits).max() < 0.03
    assert np.abs(measured.joint_velocities).max() > 0.5, 'the motion itself is far from zero'
    shown = dict(zip(frames_of(commanded), commanded.joint_positions, strict=True))
    for frame, positions in zip(frames_of(measured), measured.joint_positions, strict=True):
        if frame in shown:
            np.testing.assert_array_equal(positions, shown[frame])


def test_noise_of_the_driver_hardly_reaches_the_policy(
    read: Read, motion: Motion, rng: np.random.Generator, tmp_path: Path
) -> None:
    clean = load_demo(motion.write(tmp_path / 'clean', with_commands=False), motion.robot)
    assert motion.velocities is not None
    motion.velocities = motion.velocities + rng.normal(0.0, 0.02, motion.velocities.shape)
    noisy = read(with_commands=False)
    both = [frame for frame in frames_of(noisy) if frame in frames_of(clean)]
    apart = at_frames(noisy, both) - at_frames(clean, both)
    assert 0.0 < apart.std() < 0.4 * 0.02


def test_demonstration_runs_from_the_first_motion_to_a_second_after_the_last(
    motion: Motion, rng: np.random.Generator, tmp_path: Path
) -> None:
    long = make_motion(motion.robot, rng, rest_s=4.0)
    demo = load_demo(long.write(tmp_path / 'long', with_commands=False), motion.robot)
    seconds = np.array(frames_of(demo)) / motion.robot.camera.rate_hz
    assert REST_S - 0.15 < seconds[0] < REST_S + 0.25
    assert REST_S + MOVE_S + 0.6 < seconds[-1] < REST_S + MOVE_S + 1.1
    assert np.abs(demo.joint_velocities[-5:]).max() < 1e-3


@pytest.mark.parametrize('value', [np.nan, 0.0])
def test_velocities_that_the_driver_does_not_measure_are_derived(
    read: Read, motion: Motion, value: float
) -> None:
    """ros2_control sends NaN for what it does not have, others send zeros."""
    assert motion.velocities is not None
    motion.velocities[:] = value
    demo = read(with_commands=False)
    assert np.abs(demo.joint_velocities).max() == pytest.approx(0.5625, abs=0.01)


# --- Bad input -------------------------------------------------------------------------------


def test_commands_that_are_wanted_and_lack_are_missed_with_the_way_out(read: Read) -> None:
    message = (
        r'Episode cup_03: The robot file wants the commanded action, but nothing was commanded on '
        r'/teleop/joint_jog; check the teleoperation and record the task being done, or set '
        r'action\.source to auto or measured\.'
    )
    with pytest.raises(DemoError, match=message):
        read('commanded', with_commands=False)


def test_commands_that_are_wanted_and_rest_are_no_demonstration(
    read: Read, motion: Motion
) -> None:
    motion.commands *= 0.02
    message = r'commanded action, but no command on /teleop/joint_jog exceeds 0\.02 rad/s; check'
    with pytest.raises(DemoError, match=message):
        read('commanded')


@pytest.mark.parametrize('source', ['auto', 'measured'])
def test_an_arm_at_rest_is_no_demonstration(read: Read, motion: Motion, source: str) -> None:
    motion.velocities = None
    motion.positions[:] = motion.positions[0]
    message = (
        r'Episode cup_03: It holds no motion: no joint of /joint_states exceeds 0\.02 rad/s; '
        r'record the task being done\.'
    )
    with pytest.raises(DemoError, match=message):
        read(source, with_commands=False)


def test_velocities_of_another_number_than_names_are_refused(read: Read, motion: Motion) -> None:
    assert motion.velocities is not None
    motion.velocities = motion.velocities[:, :5]
    message = (
        r'Episode cup_03: /joint_states has 5 velocities for 7 joints; expected one for each or '
        r'none, check the driver and record it again\.'
    )
    with pytest.raises(DemoError, match=message):
        read('measured')
    assert read('commanded').action_source == 'commanded', 'where they are not asked for'


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_velocities_that_are_not_finite_are_refused(
    read: Read, motion: Motion, value: float
) -> None:
    assert motion.velocities is not None
    motion.velocities[120, 2] = value
    message = r'Episode cup_03: /joint_states has velocities that are not finite 1\.20 s after its'
    with pytest.raises(DemoError, match=message):
        read(with_commands=False)


def test_positions_that_are_not_finite_are_refused(read: Read, motion: Motion) -> None:
    motion.velocities = None
    motion.positions[120, 2] = np.nan
    with pytest.raises(DemoError, match=r'/joint_states has positions that are not finite 1\.20'):
        read(with_commands=False)


def test_an_episode_without_joint_states_is_refused(read: Read, motion: Motion) -> None:
    motion.joint_s = motion.joint_s[:0]
    message = (
        r'Episode cup_03 has no messages on /joint_states; expected images and joint states\. '
        r'Check that its publisher runs and record it again\.'
    )
    with pytest.raises(EpisodeError, match=message):
        read(with_commands=False)


def test_joint_states_that_come_too_seldom_for_the_cutoff_are_refused(
    read: Read, motion: Motion
) -> None:
    motion.robot = replace(
        motion.robot, joint_states=replace(motion.robot.joint_states, max_age_s=1.0)
    )
    motion.joint_s, motion.positions = motion.joint_s[::8], motion.positions[::8]
    assert motion.velocities is not None
    motion.velocities = motion.velocities[::8]
    message = (
        r'Episode cup_03: /joint_states comes 12\.\d times a second, expected more than 16 for '
        r'action\.cutoff_hz 8; lower the cutoff in the robot file or raise'
    )
    with pytest.raises(DemoError, match=message):
        read(with_commands=False, cutoff_hz=8.0)


def test_a_gap_in_the_joint_states_is_refused(read: Read, motion: Motion) -> None:
    kept = (motion.joint_s < 1.0) | (motion.joint_s > 1.2)
    assert motion.velocities is not None
    motion.joint_s, motion.positions = motion.joint_s[kept], motion.positions[kept]
    motion.velocities = motion.velocities[kept]
    message = r'Episode cup_03: /joint_states has a gap: nothing comes for 0\.2\d+ s, 0\.9\d s aft'
    with pytest.raises(EpisodeError, match=message):
        read(with_commands=False)


def test_a_gap_that_no_moment_falls_into_is_refused_too(read: Read, motion: Motion) -> None:
    """Regressions pinned: alignment alone sees a gap only where it needs a sample."""
    kept = (motion.joint_s < 1.01) | (motion.joint_s > 1.12)
    assert motion.velocities is not None
    motion.joint_s, motion.positions = motion.joint_s[kept], motion.positions[kept]
    motion.velocities = motion.velocities[kept]
    assert read('commanded').action_source == 'commanded'
    with pytest.raises(
        EpisodeError, match=r'/joint_states has a gap: nothing comes for 0\.1\d+ s'
    ):
        read('measured')
