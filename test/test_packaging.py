"""The package builds and installs: with colcon, and with make setup where there is no ROS."""

from __future__ import annotations

import ast
from collections.abc import Callable
import json
import os
from pathlib import Path
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from typing import Any
from unittest import mock
from xml.etree import ElementTree

import pytest

import bootstrap
from commands import run, SetupError
from environment import STAGES, Venv
import host
from mil_ros.core.errors import ConfigError
from mil_ros.data.lerobot_library import load_library

ROOT = Path(__file__).resolve().parents[1]
PREFIX = Path(sys.prefix).resolve()

# Also keeps the test run inside `colcon test` from starting another one: it has no .venv.
in_venv = pytest.mark.skipif(PREFIX != ROOT / '.venv', reason='needs the .venv of make setup')


# --- Metadata --------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def metadata() -> dict[str, Any]:
    """What setup.py tells setuptools."""
    with mock.patch('setuptools.setup') as setup, pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        runpy.run_path('setup.py')
    return dict(setup.call_args.kwargs)


def test_manifest_agrees_with_setup(metadata: dict[str, Any]) -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    for key in ('name', 'version', 'license', 'maintainer'):
        assert manifest.findtext(key) == metadata[key]
    assert manifest.find(f'maintainer[@email="{metadata["maintainer_email"]}"]') is not None
    assert f"__version__ = '{metadata['version']}'" in (ROOT / 'mil_ros/__init__.py').read_text()


def test_each_entry_point_names_a_function_that_exists(metadata: dict[str, Any]) -> None:
    for entry in metadata['entry_points']['console_scripts']:
        module, function = entry.partition(' = ')[2].split(':')
        source = ROOT.joinpath(*module.split('.')).with_suffix('.py')
        assert source.is_file(), f'{entry}: no {source}'
        tree = ast.parse(source.read_text())
        assert function in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


def test_extra_that_a_message_names_brings_the_library(
    metadata: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'lerobot.datasets.lerobot_dataset', None)
    with pytest.raises(ConfigError) as caught:
        load_library()
    named = re.findall(r'mil_ros\[(\w+)\]', str(caught.value))
    assert len(named) == 1
    assert 'lerobot[dataset]>=0.4' in metadata['extras_require'][named[0]]


# --- colcon ----------------------------------------------------------------------------------


def call(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}
    )
    assert done.returncode == 0, f'{command}\n{done.stdout}\n{done.stderr}'
    return done.stdout


@pytest.fixture(scope='module')
def sources() -> list[Path]:
    """What a clone would hold, relative to the root."""
    if not (ROOT / '.git').exists():
        pytest.skip('needs a git checkout')
    options = ('-z', '--cached', '--others', '--exclude-standard')
    listed = call('git', 'ls-files', *options, cwd=ROOT).split('\0')
    return [Path(name) for name in listed if (ROOT / name).is_file()]


@pytest.fixture(scope='module')
def workspace(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a copy of the package, built."""
    workspace = tmp_path_factory.mktemp('workspace')
    for path in sources:
        target = workspace / 'src' / 'mil_ros' / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target)
    call(PREFIX / 'bin' / 'colcon', 'build', cwd=workspace, COLCON_HOME=str(workspace))
    return workspace


@in_venv
def test_colcon_installs_what_ros2_looks_for(
    workspace: Path, sources: list[Path], metadata: dict[str, Any]
) -> None:
    install = workspace / 'install' / 'mil_ros'
    code = 'import ament_index_python as index; print(index.get_package_share_path("mil_ros"))'
    prefixes = f'{install}{os.pathsep}{PREFIX}'
    found = call(sys.executable, '-c', code, cwd=workspace, AMENT_PREFIX_PATH=prefixes)
    share = Path(found.strip())
    assert share == install / 'share' / 'mil_ros'

    data = [path for path in sources if path.parts[0] in ('config', 'launch', 'models')]
    assert [path for path in data if not (share / path).is_file()] == []
    scripts = [entry.split(' = ')[0] for entry in metadata['entry_points']['console_scripts']]
    executables = install / 'lib' / 'mil_ros'
    assert sorted(path.name for path in executables.iterdir()) == sorted(scripts)


@in_venv
def test_installed_command_runs_from_the_installed_package(
    workspace: Path, sources: list[Path], metadata: dict[str, Any]
) -> None:
    install = workspace / 'install' / 'mil_ros'
    (site_packages,) = install.glob('lib/python3*/site-packages')
    package = [path for path in sources if path.parts[0] == 'mil_ros']
    assert [path for path in package if not (site_packages / path).is_file()] == []

    mil = install / 'lib' / 'mil_ros' / 'mil'
    version = call(mil, '--version', cwd=workspace, PYTHONPATH=str(site_packages))
    assert version == f'mil_ros {metadata["version"]}\n'


@in_venv
def test_colcon_test_runs_the_tests(workspace: Path) -> None:
    call(
        *(PREFIX / 'bin' / 'colcon', 'test', '--return-code-on-test-failure'),
        *('--pytest-args', 'test/test_packaging.py', '-k', 'manifest'),
        cwd=workspace,
        COLCON_HOME=str(workspace),
    )
    suite = ElementTree.parse(workspace / 'build/mil_ros/pytest.xml').find('testsuite')
    assert suite is not None
    assert (suite.get('tests'), suite.get('skipped')) == ('1', '0')


# --- make train ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('task', 'verbs'),
    [
        ('place', ['collect', 'train', 'export']),
        ('push', ['collect', 'train', 'train', 'export']),  # goes on from its first training
        ('reach-video', ['collect', 'train', 'export', 'train', 'export']),
    ],
)
def test_one_command_makes_a_bundle(task: str, verbs: list[str]) -> None:
    """What it would call is understood by the command line."""
    from mil_ros.tools.cli import build_parser, VERBS

    if shutil.which('make') is None:
        pytest.skip('needs make')
    printed = call('make', '--dry-run', 'train', f'TASK={task}', cwd=ROOT).replace('\\\n', ' ')
    lines = [shlex.split(line) for line in printed.splitlines()]
    calls = [line for line in lines if {'.venv/bin/mil', 'mil_ros.tools.cli'} & set(line)]
    words = [line[next(i for i, w in enumerate(line) if w in VERBS) :] for line in calls]
    parsed = [build_parser(line[0]).parse_args(line) for line in words]
    assert [args.verb for args in parsed] == verbs
    assert parsed[0].task == task.partition('-')[0]
    assert parsed[-1].out == Path('models') / task
    assert parsed[-1].checkpoint.parent == parsed[-2].out


# --- The interfaces that make setup builds ---------------------------------------------------


@in_venv
@pytest.mark.parametrize(
    ('name', 'type_hash'),
    [
        (
            'control_msgs/msg/JointJog',
            'RIHS01_ba249455a20f70168a1acb7bf43b776b72ff1f7eb5fc4cfea443f749e963c6e7',
        ),
        (
            'moveit_msgs/msg/ServoStatus',
            'RIHS01_882a75f7648d6f8a9bf528e4787f51c58f2d5d88b702e450443d99f270e6936b',
        ),
        (
            'moveit_msgs/srv/ServoCommandType',
            'RIHS01_2065f4daf271249330596d344ecd48f5c2d2a52e3b21b1fc56d99c52b8eeae22',
        ),
    ],
)
def test_interface_is_the_same_on_the_wire_as_that_of_ros(name: str, type_hash: str) -> None:
    description = json.loads((PREFIX / 'share' / f'{name}.json').read_text())
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[name] == type_hash


@in_venv
def test_interfaces_can_be_imported() -> None:
    from control_msgs.msg import JointJog
    from moveit_msgs.msg import ServoStatus
    from moveit_msgs.srv import ServoCommandType

    assert JointJog.get_fields_and_field_types() == {
        'header': 'std_msgs/Header',
        'joint_names': 'sequence<string>',
        'displacements': 'sequence<double>',
        'velocities': 'sequence<double>',
        'duration': 'double',
    }
    assert (ServoStatus.INVALID, ServoStatus.JOINT_BOUND) == (-1, 6)
    assert ServoCommandType.Request.POSE == 2


# --- make setup ------------------------------------------------------------------------------


@pytest.fixture
def venv(tmp_path: Path) -> Venv:
    """A checkout whose setup is done, as far as the notes in .venv tell."""
    for patterns in STAGES.values():
        for path in (path for pattern in patterns for path in ROOT.glob(pattern)):
            if path.is_file():
                target = tmp_path / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    venv = Venv(tmp_path)
    venv.python.parent.mkdir(parents=True)
    venv.python.symlink_to(sys.executable)
    (venv.path / 'bin' / 'pip').write_text(f'#!{venv.python}\n')
    (venv.path / 'pyvenv.cfg').write_text('home = /usr/bin\nversion = 3.11.7\n')
    for stage in STAGES:
        venv.mark_done(stage)
    return venv


def test_second_setup_does_nothing(
    venv: Venv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, 'ACTIONS', {})
    monkeypatch.setattr(bootstrap, 'find_missing', lambda python: [])
    monkeypatch.setattr(bootstrap, 'check_platform', lambda system, machine: None)
    bootstrap.set_up(venv.root, None)
    assert capsys.readouterr().out == 'setup: .venv is ready, Python 3.11.7\n'


@pytest.mark.parametrize(
    ('changed', 'pending'),
    [
        ('bootstrap/constraints.txt', ['packages', 'interfaces', 'mil_ros']),
        ('bootstrap/interfaces/control_msgs/msg/JointJog.msg', ['interfaces', 'mil_ros']),
        ('setup.py', ['mil_ros']),
        ('.venv/pyvenv.cfg', ['packages', 'interfaces', 'mil_ros']),
        ('.venv/mil_ros-stamps.json', ['packages', 'interfaces', 'mil_ros']),
    ],
)
def test_change_repeats_its_stage_and_the_later_ones(
    venv: Venv, changed: str, pending: list[str]
) -> None:
    assert venv.find_pending() == []
    path = venv.root / changed
    path.write_text(path.read_text().replace('3.11.7', '3.12.1') + '#')
    assert venv.find_pending() == pending


def test_failed_stage_is_repeated_even_if_its_inputs_are_put_back(
    venv: Venv, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise SetupError

    monkeypatch.setattr(bootstrap, 'find_missing', lambda python: [])
    monkeypatch.setattr(bootstrap, 'check_platform', lambda system, machine: None)
    monkeypatch.setitem(bootstrap.ACTIONS, 'packages', ('packages', fail))
    path = venv.root / 'bootstrap/requirements.txt'
    original = path.read_text()
    path.write_text('nonsense')
    with pytest.raises(SetupError):
        bootstrap.set_up(venv.root, None)
    path.write_text(original)
    assert venv.find_pending() == list(STAGES)


def break_by_interruption(venv: Venv) -> None:
    venv.unfinished.touch()


def break_by_losing_python(venv: Venv) -> None:
    venv.python.unlink()


def break_by_moving(venv: Venv) -> None:
    (venv.path / 'bin' / 'pip').write_text('#!/elsewhere/.venv/bin/python\n')


@pytest.mark.parametrize(
    ('break_it', 'fault'),
    [
        (break_by_interruption, 'interrupted'),
        (break_by_losing_python, 'incomplete'),
        (break_by_moving, 'moved'),
    ],
)
def test_broken_environment_is_made_again(
    venv: Venv, break_it: Callable[[Venv], None], fault: str
) -> None:
    assert venv.find_fault(None) == ''
    break_it(venv)
    assert venv.find_fault(None) == f'again: {fault}'


def test_other_python_makes_another_environment(venv: Venv) -> None:
    python = host.Python('python3.12', (3, 12), has_venv=True, has_headers=True)
    assert venv.find_fault(python) == 'again: other Python'


def test_unusable_python_is_named_with_what_is_expected(tmp_path: Path) -> None:
    old = tmp_path / 'python3'
    old.write_text('#!/bin/sh\necho "[3, 9, true, true]"\n')
    old.chmod(0o755)
    with pytest.raises(SetupError, match=r'python3 is python3\.9; expected python3\.10 to pyth'):
        host.find_python(str(old))
    with pytest.raises(SetupError, match=r'nowhere does not run; .*PYTHON=/path/to/python3\.12'):
        host.find_python(str(tmp_path / 'nowhere'))


def test_missing_system_packages_come_with_the_line_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('PATH', str(tmp_path))
    monkeypatch.setattr(os, 'geteuid', lambda: 1000)
    python = host.Python('python3.12', (3, 12), has_venv=False, has_headers=False)
    missing = host.find_missing(python)
    assert {'cmake', 'g++', 'make', 'python3.12-dev', 'python3.12-venv'} <= set(missing)
    with pytest.raises(SetupError) as caught:
        host.install_system_packages(missing, tmp_path / 'apt.log')
    assert f'sudo apt-get install -y {" ".join(missing)}' in str(caught.value)


def test_other_platform_is_sent_to_the_packages_of_ros() -> None:
    with pytest.raises(SetupError, match=r'Darwin on arm64; .* Linux on x86_64 only'):
        host.check_platform('Darwin', 'arm64')


def test_failed_command_says_what_why_how_and_where(tmp_path: Path) -> None:
    log = tmp_path / 'log' / 'stage.log'
    script = 'echo begin; echo "ERROR: no such pin"; echo end; exit 3'
    with pytest.raises(SetupError) as caught:
        run(['sh', '-c', script], log, 'Check the network.')
    message = str(caught.value)
    assert 'exit code 3, expected 0: ERROR: no such pin\n' in message
    assert message.endswith(f'Check the network. Then repeat. Log: {log}')


def test_failure_ends_in_a_sentence_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv('PYTHON', '/nowhere/python')
    monkeypatch.setattr(bootstrap, 'check_platform', lambda system, machine: None)
    assert bootstrap.main() == 1
    assert capsys.readouterr().err.startswith('setup: No usable Python: /nowhere/python does not')
