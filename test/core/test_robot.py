"""The robot file says what it means or is refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mil_ros.core.errors import ConfigError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import ActionSettings, load_robot, RobotDescription, Tool

Load = Callable[[dict[str, Any]], RobotDescription]
SHIPPED = sorted((share_dir() / 'config' / 'robots').glob('*.yaml'))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_robot_file_loads_by_name(path: Path) -> None:
    robot = load_robot(path.stem)
    assert robot.name == path.stem
    assert robot.home.shape == (len(robot.joints),) == robot.velocity_limits.shape


def test_simulated_arm_is_shipped() -> None:
    assert 'sim_panda' in [path.stem for path in SHIPPED]


def test_file_loads_by_path_with_its_own_name_and_hash(
    load: Load, document: dict[str, Any], robot: RobotDescription
) -> None:
    changed = load(document)
    assert changed.name == 'arm'
    assert changed.joints == robot.joints
    assert len(changed.sha256) == 64
    assert changed.sha256 != robot.sha256


def test_limits_in_use_are_fractions_of_the_rating(load: Load, document: dict[str, Any]) -> None:
    document['joints'][0] |= {'velocity_rad_s': 2.0, 'acceleration_rad_s2': 8.0}
    document['limits'] = {
        'velocity_fraction': 0.25,
        'acceleration_fraction': 0.5,
        'position_margin_rad': 0.1,
    }
    robot = load(document)
    assert robot.velocity_limits[0] == pytest.approx(0.5)
    assert robot.acceleration_limits[0] == pytest.approx(4.0)
    assert robot.lower_limits[0] == pytest.approx(robot.joints[0].lower_rad + 0.1)
    assert robot.upper_limits[0] == pytest.approx(robot.joints[0].upper_rad - 0.1)


def test_action_may_be_left_out_wholly_or_in_part(load: Load, document: dict[str, Any]) -> None:
    assert 'action' not in document
    assert load(document).action == ActionSettings(source='auto', cutoff_hz=5.0)
    document['action'] = {'source': 'measured'}
    assert load(document).action == ActionSettings(source='measured', cutoff_hz=5.0)
    document['action'] = {'cutoff_hz': 8}
    assert load(document).action == ActionSettings(source='auto', cutoff_hz=8.0)


def test_cutoff_does_not_matter_where_nothing_is_filtered(
    load: Load, document: dict[str, Any]
) -> None:
    document['joint_states']['rate_hz'] = 5.0
    document['action'] = {'source': 'commanded'}
    assert load(document).action.source == 'commanded'


def test_joint_order_of_the_file_is_kept(load: Load, document: dict[str, Any]) -> None:
    document['joints'].reverse()
    document['home_rad'].reverse()
    robot = load(document)
    assert robot.joint_names == tuple(f'panda_joint{i}' for i in range(7, 0, -1))
    np.testing.assert_array_equal(robot.home, document['home_rad'])


def test_jerk_and_tool_may_be_left_out(load: Load, document: dict[str, Any]) -> None:
    robot = load(document)
    assert np.isinf(robot.jerk_limits).all()
    assert robot.tool == Tool()
    document['limits']['jerk_fraction'] = 0.5
    for joint in document['joints']:
        joint['jerk_rad_s3'] = 100.0
    document['tool'] = {
        'link': 'tip',
        'workspace_lower_m': [0, 0, 0],
        'workspace_upper_m': [1, 1, 1],
    }
    robot = load(document)
    np.testing.assert_array_equal(robot.jerk_limits, 50.0)
    assert robot.tool.workspace_upper_m == (1.0, 1.0, 1.0)


def put(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets one entry of a nested document."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


def drop(*path: str | int) -> Callable[[dict[str, Any]], None]:
    """Return a change that removes one entry of a nested document."""

    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return change


def add_a_joint(document: dict[str, Any]) -> None:
    document['joints'].append({**document['joints'][6], 'name': 'panda_joint8'})


def rate_jerk_in_words(document: dict[str, Any]) -> None:
    document['joints'][2]['jerk_rad_s3'] = 'high'


MISTAKES = {
    'joint too many': (add_a_joint, r'arm: home_rad has 7 values, expected 8, one for each joint'),
    'text for jerk': (
        rate_jerk_in_words,
        r"arm\.yaml: joints\[2\]\.jerk_rad_s3 is 'high'; expected a float\.",
    ),
    'negative jerk': (put('joints', 0, 'jerk_rad_s3', value=-1.0), r'has jerk_rad_s3=-1\.0;'),
    'jerk that is no number': (
        put('joints', 0, 'jerk_rad_s3', value=math.nan),
        r'panda_joint1 has jerk_rad_s3=nan; expected it above 0',
    ),
    'jerk fraction out of range': (
        put('limits', 'jerk_fraction', value=1.5),
        r'limits\.jerk_fraction is 1\.5; expected \(0, 1\]\.',
    ),
    'unknown key of the tool': (
        put('tool', value={'link': 'tip', 'speed': 0.25}),
        r"arm\.yaml: tool has unknown keys \['speed'\] and lacks \[\]; expected exactly "
        r"\['link', 'speed_m_s', 'workspace_lower_m', 'workspace_upper_m'\]",
    ),
    'tool speed that is no number': (
        put('tool', value={'link': 'tip', 'speed_m_s': math.nan}),
        r'tool\.speed_m_s is nan; expected 0 or more m/s',
    ),
    'workspace of words': (
        put('tool', value={'link': 'tip', 'workspace_lower_m': 'table'}),
        r"tool\.workspace_lower_m is 'table'; expected a list of numbers",
    ),
    'workspace with a hole': (
        put(
            'tool',
            value={
                'link': 'tip',
                'workspace_lower_m': [0.0, math.nan, 0.0],
                'workspace_upper_m': [1.0, 1.0, 1.0],
            },
        ),
        r'expected every value of the first below that of the second',
    ),
    'unknown key of moveit': (
        put('moveit', value={'group': 'arm', 'package': 'arm_config'}),
        r"arm\.yaml: moveit has unknown keys \['package'\] and lacks \[\]; expected exactly "
        r"\['config_name', 'config_package', 'group'\]",
    ),
    'moveit in part': (
        put('moveit', value={'group': 'arm'}),
        r'arm: moveit lacks config_name, config_package; expected all of config_name, '
        r'config_package, group, or no section moveit',
    ),
    'number for a group': (
        put('moveit', value={'group': 7}),
        r'arm\.yaml: moveit\.group is 7; expected a str\.',
    ),
    'number for an optional topic': (
        put('topics', 'pause_servo', value=1),
        r'topics\.pause_servo is 1; expected a str\.',
    ),
    'jerk of zero': (
        put('joints', 0, 'jerk_rad_s3', value=0.0),
        r'panda_joint1 has jerk_rad_s3=0\.0; expected it above 0, or leave it out',
    ),
    'negative tool speed': (
        put('tool', value={'link': 'tip', 'speed_m_s': -1.0}),
        r'tool\.speed_m_s is -1\.0; expected 0 or more m/s',
    ),
    'flat workspace': (
        put('tool', value={'link': 'tip', 'workspace_lower_m': [0.0, 0.0]}),
        r'workspace_lower_m has 2 values and workspace_upper_m 0; expected 3 each',
    ),
    'reversed workspace': (
        put(
            'tool',
            value={
                'link': 'tip',
                'workspace_lower_m': [0.0, 0.0, 1.0],
                'workspace_upper_m': [1.0, 1.0, 0.5],
            },
        ),
        r'expected every value of the first below that of the second',
    ),
    'tool without link': (
        put('tool', value={'speed_m_s': 0.25}),
        r'tool has limits but no link; expected the name of a link of the URDF',
    ),
    'policy time-out out of range': (
        put('guard', 'policy_timeout_s', value=0.0),
        r'guard\.policy_timeout_s is 0\.0; expected \(0, 1\] s',
    ),
    'unknown key': (
        put('colour', value='red'),
        r"arm\.yaml has unknown keys \['colour'\] and lacks \[\]; expected exactly",
    ),
    'unknown key of a section': (
        put('camera', 'fps', value=30),
        r"arm\.yaml: camera has unknown keys \['fps'\] and lacks \[\]",
    ),
    'missing key': (drop('guard'), r"arm\.yaml has unknown keys \[\] and lacks \['guard'\]"),
    'missing key of a joint': (
        drop('joints', 2, 'upper_rad'),
        r"arm\.yaml: joints\[2\] has unknown keys \[\] and lacks \['upper_rad'\]",
    ),
    'section that is no mapping': (
        put('topics', value='/joint_states'),
        r"arm\.yaml: topics is '/joint_states'; expected a mapping of \['command'",
    ),
    'no joints': (put('joints', value=[]), r'arm\.yaml: joints is \[\]; expected a list of'),
    'joints that are no list': (
        put('joints', value={'a': 1}),
        r"joints is {'a': 1}; expected a list of joint entries\.",
    ),
    'text for a number': (
        put('joints', 0, 'lower_rad', value='low'),
        r"arm\.yaml: joints\[0\]\.lower_rad is 'low'; expected a float\.",
    ),
    'truth for a number': (
        put('camera', 'rate_hz', value=True),
        r'camera\.rate_hz is True; expected a float\.',
    ),
    'fraction for a whole number': (
        put('camera', 'width', value=320.5),
        r'camera\.width is 320\.5; expected a int\.',
    ),
    'number for text': (
        put('topics', 'image', value=5),
        r'topics\.image is 5; expected a str\.',
    ),
    'number for truth': (
        put('guard', 'deadman', value=1),
        r'guard\.deadman is 1; expected a bool\.',
    ),
    'repeated joint': (
        put('joints', 1, 'name', value='panda_joint1'),
        r"joint names \['panda_joint1', 'panda_joint1', .* repeat; each must be unique\.",
    ),
    'limits reversed': (
        put('joints', 0, 'lower_rad', value=3.0),
        r'panda_joint1 has lower_rad=3\.0 and upper_rad=2\.8973; expected lower below upper\.',
    ),
    'no speed': (
        put('joints', 0, 'velocity_rad_s', value=0.0),
        r'panda_joint1 has velocity 0\.0 rad/s and acceleration 15\.0 .*; expected both above 0',
    ),
    'endless speed': (put('joints', 0, 'velocity_rad_s', value=math.inf), r'velocity.* inf'),
    'speed that is no number': (put('joints', 0, 'velocity_rad_s', value=math.nan), r'nan'),
    'acceleration that is no number': (
        put('joints', 0, 'acceleration_rad_s2', value=math.nan),
        r'nan',
    ),
    'limit that is no number': (
        put('joints', 0, 'upper_rad', value=math.nan),
        r'panda_joint1 has lower_rad=-2\.8973 and upper_rad=nan',
    ),
    'negative margin': (
        put('limits', 'position_margin_rad', value=-0.5),
        r'position_margin_rad is -0\.5; expected',
    ),
    'fraction above one': (
        put('limits', 'velocity_fraction', value=1.5),
        r'limits\.velocity_fraction is 1\.5; expected \(0, 1\]\.',
    ),
    'fraction of zero': (
        put('limits', 'acceleration_fraction', value=0.0),
        r'limits\.acceleration_fraction is 0\.0; expected \(0, 1\]\.',
    ),
    'home outside': (
        put('home_rad', 3, value=0.0),
        r'home_rad of panda_joint4 is 0\.0; expected it inside the position limits',
    ),
    'home inside the margin': (
        put('home_rad', 0, value=2.89),
        r'home_rad of panda_joint1 is 2\.89; expected it inside the position limits less the',
    ),
    'home of the wrong length': (
        put('home_rad', value=[0.0] * 6),
        r'home_rad has 6 values, expected 7, one for each joint\.',
    ),
    'home that is no list': (
        put('home_rad', value=0.0),
        r'arm\.yaml: home_rad is 0\.0; expected a list of numbers\.',
    ),
    'home with text': (
        put('home_rad', 0, value='zero'),
        r"home_rad is \['zero', .*; expected a list of numbers\.",
    ),
    'no rate': (
        put('policy', 'rate_hz', value=0.0),
        r'policy\.rate_hz is 0\.0; expected \(0, 1000\] Hz\.',
    ),
    'rate too high': (
        put('guard', 'rate_hz', value=1e4),
        r'guard\.rate_hz is 10000\.0; expected \(0, 1000\] Hz\.',
    ),
    'no image': (put('policy', 'image_width', value=0), r'image_width is 0; expected'),
    'image larger than the camera': (
        put('policy', 'image_height', value=480),
        r'image_height is 480; expected',
    ),
    'negative age': (
        put('joint_states', 'max_age_s', value=-1.0),
        r'max_age_s is -1\.0; expected',
    ),
    'action from nowhere': (
        put('action', value={'source': 'guessed'}),
        r"arm: action\.source is 'guessed'; expected one of auto, commanded, measured\.",
    ),
    'unknown key of the action': (
        put('action', value={'cutoff': 5.0}),
        r"arm\.yaml: action has unknown keys \['cutoff'\] and lacks \[\]; expected exactly "
        r"\['cutoff_hz', 'source'\]",
    ),
    'text for a cutoff': (
        put('action', value={'cutoff_hz': 'low'}),
        r"arm\.yaml: action\.cutoff_hz is 'low'; expected a float\.",
    ),
    'cutoff that joint states are too slow for': (
        put('action', value={'source': 'measured', 'cutoff_hz': 50.0}),
        r'arm: action\.cutoff_hz is 50\.0; expected above 0 and below half of '
        r'joint_states\.rate_hz, 50 Hz\.',
    ),
    'no cutoff': (put('action', value={'cutoff_hz': 0.0}), r'action\.cutoff_hz is 0\.0; expected'),
    'cutoff that is no number': (
        put('action', value={'cutoff_hz': math.nan}),
        r'action\.cutoff_hz is nan; expected above 0',
    ),
    'endless say of a silent source': (
        put('guard', 'source_timeout_s', value=math.inf),
        r'source_timeout_s is inf; expected',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistake_is_refused_with_what_was_got_and_what_was_expected(
    load: Load, document: dict[str, Any], mistake: str
) -> None:
    change, message = MISTAKES[mistake]
    change(document)
    with pytest.raises(ConfigError, match=message):
        load(document)


def test_file_that_is_not_yaml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'arm.yaml'
    path.write_text('joints: [')
    with pytest.raises(ConfigError, match=r'Robot file .*arm\.yaml is not valid YAML'):
        load_robot(path)


def test_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'arm.yaml'
    path.write_bytes(b'\xff\xfe\x00\x01\x80')
    with pytest.raises(ConfigError, match=r'Robot file .*arm\.yaml is not valid YAML'):
        load_robot(path)


def test_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'arm.yaml'
    path.write_text('')
    with pytest.raises(ConfigError, match=r'arm\.yaml is None; expected a mapping of'):
        load_robot(path)


def test_unknown_name_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(ConfigError, match=r"No robot file 'toaster'; .*one of .*sim_panda"):
        load_robot('toaster')


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No robot file '.*/none\.yaml'; expected a path"):
        load_robot(tmp_path / 'none.yaml')
