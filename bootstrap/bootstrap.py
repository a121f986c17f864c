"""Makes .venv so that mil_ros runs on a machine without ROS.

Standard library only. Run it as often as you like: it does only what is out of date. ``PYTHON``
in the environment chooses the interpreter.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile

from commands import replace_text, report, run, SetupError
from environment import INTERFACES, Venv
from host import (
    check_platform,
    find_missing,
    find_python,
    install_system_packages,
    probe_python,
)

ROOT = Path(__file__).resolve().parents[1]

# As it is, learn2learn wants gym, torchvision and more, and ships C code that Cython made for
# Python 3.10: its setup.py runs Cython anew when the words of the build have build_ext among them.
_PEER_OPTIONS = (
    '--no-deps',
    '--no-build-isolation',
    '--use-pep517',
    '--config-settings=--build-option=build_ext',
)


def install_packages(venv: Venv, log: Path) -> None:
    """Install the pinned Python packages."""
    venv.unfinished.touch()
    folder = venv.root / 'bootstrap'
    files = {'-r': ('requirements.txt', 'requirements-dev.txt'), '-c': ('constraints.txt',)}
    pins = [word for flag in files for name in files[flag] for word in (flag, str(folder / name))]
    hint = (
        'Every pin in bootstrap/*.txt must be installable for this Python '
        '({}.{}.{}): check the network and the package index.'.format(*venv.read_version())
    )
    try:
        run([*_pip_install(venv), *pins], log, hint)
        peers = _read_requirements(folder / 'requirements-peers.txt')
        run([*_pip_install(venv), *_PEER_OPTIONS, *peers], log, hint, mode='a')
    except SetupError:
        venv.unfinished.unlink()  # it failed in good order: the next run can go on from here
        raise
    venv.unfinished.unlink()


def _read_requirements(path: Path) -> list[str]:
    """Return the requirements of a file: pip 23 ignores --config-settings for what -r names."""
    lines = (line.partition('#')[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def build_interfaces(venv: Venv, log: Path) -> None:
    """Build the message packages that no wheel brings, then see that they can be imported."""
    relocate_cmake_files(venv)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        builds = [
            pool.submit(_build_interface, venv, name, Path(folder, name), log.parent)
            for name in INTERFACES
        ]
        for build in builds:
            build.result()
    imports = 'import rclpy; from control_msgs import msg; from moveit_msgs import msg, srv'
    hint = 'The interfaces do not fit the ROS 2 packages: remove .venv.'
    run([str(venv.python), '-c', imports], log, hint)


def _build_interface(venv: Venv, name: str, folder: Path, logs: Path) -> None:
    log = logs / f'{name}.log'
    definitions = {
        'BUILD_TESTING': 'OFF',
        'CMAKE_BUILD_TYPE': 'Release',  # a debug build aborts on a wrongly typed field
        'CMAKE_INSTALL_PREFIX': venv.path,
        'CMAKE_PREFIX_PATH': venv.path,
        'Python3_EXECUTABLE': venv.python,
    }
    options = [f'-D{key}={value}' for key, value in definitions.items()]
    source = venv.root / 'bootstrap' / 'interfaces' / name
    jobs = max(1, (os.cpu_count() or 1) // len(INTERFACES))
    configure = ['cmake', '-S', str(source), '-B', str(folder), *options]
    build = ['cmake', '--build', str(folder), '--target', 'install', '--parallel', str(jobs)]
    hint = 'It takes CMake 3.20 or newer and a C++17 compiler.'
    run(configure, log, hint, ros_prefix=venv.path)
    run(build, log, hint, ros_prefix=venv.path, mode='a')


def relocate_cmake_files(venv: Venv) -> None:
    """Point the wheels' CMake files to this Python: they name that of the build machine."""
    code = 'import sysconfig as s; print(*map(s.get_paths().get, ("include", "purelib")), sep="|")'
    answer = subprocess.run([venv.python, '-c', code], capture_output=True, text=True, check=True)
    include, site_packages = answer.stdout.strip().split('|')
    major, minor = venv.read_version()[:2]
    prefix = f'/opt/python/cp{major}{minor}-cp{major}{minor}'
    for path in venv.path.glob('share/*/cmake/*.cmake'):
        text = path.read_text()
        if prefix in text:
            text = text.replace(f'{prefix}/include/python{major}.{minor}', include)
            text = text.replace(f'{prefix}/lib/python{major}.{minor}/site-packages', site_packages)
            replace_text(path, text)


def install_mil_ros(venv: Venv, log: Path) -> None:
    """Install the package itself, editable."""
    # Offline, with the pinned setuptools: an isolated build would fetch another one.
    options = ['--no-build-isolation', '--no-deps', '--no-index', '--editable', str(venv.root)]
    run([*_pip_install(venv), *options], log, 'Check setup.py and pyproject.toml.')


def _pip_install(venv: Venv) -> list[str]:
    pip = [str(venv.python), '-m', 'pip', '--disable-pip-version-check', '--no-input']
    return [*pip, 'install']


ACTIONS = {
    'packages': ('Python packages, some minutes the first time', install_packages),
    'interfaces': ('control_msgs and moveit_msgs', build_interfaces),
    'mil_ros': ('mil_ros itself', install_mil_ros),
}


def set_up(root: Path, requested: str | None) -> None:
    """Do what is out of date."""
    check_platform(platform.system(), platform.machine())
    venv = Venv(root)
    logs = root / 'log' / 'bootstrap'
    wanted = find_python(requested) if requested else None
    fault = venv.find_fault(wanted)
    base = None
    if fault:
        base = wanted or find_python(None)
    elif 'interfaces' in venv.find_pending():
        base = probe_python(str(venv.python))

    missing = find_missing(base)
    if missing:
        with report(f'system packages: {" ".join(missing)}'):
            install_system_packages(missing, logs / 'apt.log')
    if base and fault:
        with report(f'virtual environment, {base.name} ({fault})'):
            venv.create(base, logs / 'venv.log')
    pending = venv.find_pending()
    if pending:
        venv.forget(pending)
    for stage in pending:
        title, action = ACTIONS[stage]
        with report(title):
            action(venv, logs / f'{stage}.log')
            venv.mark_done(stage)
    print('setup: .venv is ready, Python {}.{}.{}'.format(*venv.read_version()), flush=True)


def main() -> int:
    """Set up the checkout that this script lies in."""
    try:
        set_up(ROOT, os.environ.get('PYTHON') or None)
    except (OSError, SetupError) as err:
        print(f'setup: {err}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('setup: interrupted; repeat it to go on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
