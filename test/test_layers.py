"""Each layer imports only what it may, and the robot side stays light."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path
import subprocess
import sys

import pytest

import mil_ros

PACKAGE = Path(mil_ros.__file__).parent
ALLOWED = {
    'core': set(),
    'data': {'core'},
    'learning': {'core', 'data'},
    'inference': {'core'},
    'sim': {'core'},
    'ros': {'core', 'data', 'inference'},
    'tools': {'core', 'data', 'learning', 'inference', 'sim', 'ros'},
}
# They stand where the hardware stands.
EXTRA = {'ros/sim_node.py': {'sim'}, 'ros/sim_camera.py': {'sim'}}
ROS = [
    'ament_index_python',
    'builtin_interfaces',
    'control_msgs',
    'diagnostic_msgs',
    'geometry_msgs',
    'launch',
    'launch_ros',
    'lifecycle_msgs',
    'moveit',
    'moveit_configs_utils',
    'moveit_msgs',
    'rcl_interfaces',
    'rclpy',
    'rosgraph_msgs',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
    'tf2_ros',
    'trajectory_msgs',
]
OWNERS = {
    'rosbags': {'data'},
    'torch': {'learning'},
    'onnx': {'learning'},
    'onnxruntime': {'inference'},
    'mujoco': {'sim'},
    'pinocchio': {'ros'},
    'ruckig': {'ros'},
    **{name: {'ros', 'tools'} for name in ROS},
}
# Read by launch files, so they import no layer.
NO_LAYER = {'__init__.py': set(), 'bringup.py': set(), 'launching.py': {'mil_ros', *ROS}}
ROBOT_SIDE = [
    'adaptation_node',
    'camera_node',
    'control_node',
    'guard_node',
    'planner_node',
    'recorder_node',
]


def find_imports(tree: ast.AST, package: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name('.' * node.level + (node.module or ''), package)
            yield from (f'{base}.{alias.name}' for alias in node.names)


def imports_of(path: Path, *, inside_functions: bool = True) -> list[str]:
    tree = ast.parse(path.read_text())
    if not inside_functions:
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                node.body = []
    package = '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts[:-1])
    return list(find_imports(tree, package))


def files_of(layer: str) -> list[Path]:
    paths = sorted((PACKAGE / layer).rglob('*.py'))
    assert len(paths) > 1, f'layer {layer!r} has no files'
    return paths


@pytest.mark.parametrize('layer', ALLOWED)
def test_layer_imports_only_layers_to_its_left(layer: str) -> None:
    for path in files_of(layer):
        relative = path.relative_to(PACKAGE).as_posix()
        allowed = ALLOWED[layer] | {layer} | EXTRA.get(relative, set())
        for name in imports_of(path):
            top, *rest = name.split('.')
            if top == 'mil_ros' and rest and rest[0] in ALLOWED:
                assert rest[0] in allowed, f'{relative} imports {name}'


@pytest.mark.parametrize('layer', ALLOWED)
def test_library_is_imported_only_by_the_layer_that_owns_it(layer: str) -> None:
    for path in files_of(layer):
        for name in imports_of(path, inside_functions=layer != 'tools'):
            owners = OWNERS.get(name.split('.')[0], {layer})
            assert layer in owners, f'{path.relative_to(PACKAGE)} imports {name}'


def test_tools_import_no_library_of_another_layer_but_torch_even_in_functions() -> None:
    for path in files_of('tools'):
        for name in imports_of(path):
            top = name.split('.')[0]
            owners = OWNERS.get(top, {'tools'})
            assert top == 'torch' or 'tools' in owners, f'{path.relative_to(PACKAGE)}: {name}'


def test_core_needs_numpy_and_yaml_alone() -> None:
    known = {'mil_ros', 'numpy', 'scipy', 'yaml', '__future__'} | set(sys.stdlib_module_names)
    for path in files_of('core'):
        assert {name.split('.')[0] for name in imports_of(path)} <= known, path.name


@pytest.mark.parametrize('name', NO_LAYER)
def test_top_level_module_imports_no_layer(name: str) -> None:
    for imported in imports_of(PACKAGE / name):
        top, *rest = imported.split('.')
        assert top in sys.stdlib_module_names | NO_LAYER[name], f'{name} imports {imported}'
        assert rest[:1] == [] or rest[0] not in ALLOWED, f'{name} imports {imported}'


def test_every_file_of_the_package_belongs_to_a_layer() -> None:
    known = {*NO_LAYER, *ALLOWED}
    paths = (path.relative_to(PACKAGE) for path in PACKAGE.rglob('*.py'))
    assert {path.parts[0] for path in paths} <= known


@pytest.mark.parametrize(
    'source',
    [
        'from ..sim import reach',
        'from mil_ros import sim',
        'import mil_ros.sim.reach',
        'def f():\n    from mil_ros.sim import reach',
    ],
)
def test_rule_sees_every_spelling_of_an_import(source: str) -> None:
    found = find_imports(ast.parse(source), 'mil_ros.core')
    assert all(name.startswith('mil_ros.sim') for name in found)
    assert list(find_imports(ast.parse(source), 'mil_ros.core'))


def loaded_after(*modules: str) -> set[str]:
    """Return the top-level modules that a fresh Python has after importing some."""
    code = ''.join(f'import {module}\n' for module in modules)
    code += 'import sys; print("LOADED", *{name.split(".")[0] for name in sys.modules})'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.partition('LOADED')[2].split())


def test_importing_the_package_imports_no_heavy_library() -> None:
    loaded = loaded_after('mil_ros', 'mil_ros.bringup')
    assert 'mil_ros' in loaded
    assert loaded & {'torch', 'mujoco', 'onnxruntime', 'rclpy', 'numpy', 'rosbags'} == set()


def test_robot_side_needs_neither_torch_nor_mujoco_nor_pinocchio() -> None:
    pytest.importorskip('rclpy')
    loaded = loaded_after(*(f'mil_ros.ros.{name}' for name in [*ROBOT_SIDE, 'kinematics']))
    assert {'mil_ros', 'rclpy', 'onnxruntime'} <= loaded
    assert loaded & {'torch', 'mujoco', 'pinocchio', 'safetensors.torch', 'scipy'} == set()
