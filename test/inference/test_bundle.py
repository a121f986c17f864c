"""A bundle is whole and fits the robot, or is refused with what is wrong."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
import shutil
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import BundleError
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.inference.bundle import Bundle, check_robot, hash_files, load_bundle, write_manifest

FILES = ('policy.onnx', 'adapt.onnx', 'weights.safetensors')


@pytest.fixture
def copy(tiny_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(tiny_bundle.path, tmp_path / 'copy'))


def edit_manifest(path: Path, **changes: Any) -> None:
    manifest = json.loads((path / 'manifest.json').read_text())
    (path / 'manifest.json').write_text(json.dumps({**manifest, **changes}))


def test_whole_bundle_loads(tiny_bundle: Bundle) -> None:
    assert tiny_bundle.name == 'tiny'
    assert not tiny_bundle.is_adapted
    assert 'head.weight' in tiny_bundle.weights
    assert 'step_size.fc0.weight' in tiny_bundle.weights


def test_everyone_may_read_what_everyone_may_run(tiny_bundle: Bundle) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in tiny_bundle.path.iterdir()}
    assert len(set(modes.values())) == 1, modes


def test_path_may_be_text(tiny_bundle: Bundle) -> None:
    assert load_bundle(str(tiny_bundle.path)).sha256 == tiny_bundle.sha256


def test_copy_has_the_same_hash_and_other_results_do_not_change_it(
    tiny_bundle: Bundle, copy: Path
) -> None:
    edit_manifest(copy, results={'adapted': {'success': 0.9}})
    assert load_bundle(copy).sha256 == tiny_bundle.sha256


def test_hash_depends_on_every_file_and_on_no_order() -> None:
    assert hash_files({'a': '1', 'b': '2'}) == hash_files({'b': '2', 'a': '1'})
    assert hash_files({'a': '1', 'b': '2'}) != hash_files({'a': '2', 'b': '1'})


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r'No policy bundle at .*none: expected a folder with ma'
    ):
        load_bundle(tmp_path / 'none')


def test_folder_without_manifest_is_no_bundle(copy: Path) -> None:
    (copy / 'manifest.json').unlink()
    with pytest.raises(
        BundleError, match=r'No policy bundle at .*copy: expected a folder with ma'
    ):
        load_bundle(copy)


@pytest.mark.parametrize('name', FILES)
def test_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(
        BundleError, match=rf'Bundle file .*{name} is missing; expected the one wi'
    ):
        load_bundle(copy)


@pytest.mark.parametrize('name', FILES)
def test_damaged_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1  # a single bit
    (copy / name).write_bytes(content)
    message = (
        rf'Bundle file .*{name} is damaged: SHA-256 is \w+\.\.\., the manifest says \w+\.\.\.'
    )
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


@pytest.mark.parametrize('name', ['policy.onnx', 'weights.safetensors'])
def test_file_that_the_manifest_does_not_vouch_for_is_refused(
    tiny_bundle: Bundle, copy: Path, name: str
) -> None:
    files = {key: value for key, value in tiny_bundle.manifest['files'].items() if key != name}
    edit_manifest(copy, files=files)
    with pytest.raises(BundleError, match=name):
        load_bundle(copy)


def test_other_format_is_refused(copy: Path) -> None:
    edit_manifest(copy, format=1)
    with pytest.raises(
        BundleError, match=r'has format 1, this version reads 2; export it again\.'
    ):
        load_bundle(copy)


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{}', b'null', b'\xff\xfe\x00'])
def test_manifest_of_another_kind_is_refused(copy: Path, content: bytes) -> None:
    (copy / 'manifest.json').write_bytes(content)
    with pytest.raises(BundleError, match=r'manifest\.json is not a bundle manifest \(.*export'):
        load_bundle(copy)


@pytest.mark.parametrize('key', ['format', 'files', 'name', 'parent', 'robot', 'policy'])
def test_lacking_entry_of_the_manifest_is_named(tiny_bundle: Bundle, copy: Path, key: str) -> None:
    manifest = {k: v for k, v in tiny_bundle.manifest.items() if k != key}
    (copy / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=rf"is not a bundle manifest \(KeyError: '{key}'\)"):
        load_bundle(copy)


def test_manifest_is_replaced_in_one_step(tiny_bundle: Bundle, copy: Path) -> None:
    write_manifest(copy, {**tiny_bundle.manifest, 'results': {'trials': 3}})
    assert load_bundle(copy).manifest['results'] == {'trials': 3}
    assert sorted(path.name for path in copy.iterdir()) == sorted([*FILES, 'manifest.json'])


# --- Does it fit the robot? ------------------------------------------------------------------


@pytest.fixture
def change_robot(
    tiny_robot_file: Path, tmp_path: Path
) -> Callable[[Callable[[dict[str, Any]], None]], RobotDescription]:
    def change_robot(change: Callable[[dict[str, Any]], None]) -> RobotDescription:
        document = yaml.safe_load(tiny_robot_file.read_text())
        change(document)
        path = tmp_path / 'arm.yaml'
        path.write_text(yaml.safe_dump(document))
        return load_robot(path)

    return change_robot


def test_bundle_fits_the_robot_that_it_was_made_for(
    tiny_bundle: Bundle, tiny_robot: RobotDescription
) -> None:
    check_robot(tiny_bundle, tiny_robot)


def rename_joint(document: dict[str, Any]) -> None:
    document['joints'][6]['name'] = 'wrist'


def swap_joints(document: dict[str, Any]) -> None:
    for key in ('joints', 'home_rad'):
        document[key][4], document[key][6] = document[key][6], document[key][4]


def widen_image(document: dict[str, Any]) -> None:
    document['policy']['image_width'] = 20


def slow_down(document: dict[str, Any]) -> None:
    document['policy']['rate_hz'] = 5.0


@pytest.mark.parametrize(
    ('change', 'difference'),
    [
        (rename_joint, r"joints \[.*'panda_joint7'\] instead of \[.*'wrist'\]"),
        (swap_joints, r"joints \[.*'panda_joint7'\] instead of \[.*'panda_joint5'\]"),
        (widen_image, r'image size 16x12 instead of 20x12'),
        (slow_down, r'policy rate 10\.0 Hz instead of 5\.0 Hz'),
    ],
)
def test_difference_to_the_robot_is_named(
    tiny_bundle: Bundle,
    change_robot: Callable[..., RobotDescription],
    change: Callable[[dict[str, Any]], None],
    difference: str,
) -> None:
    message = (
        rf"Bundle 'tiny' was made for robot 'tiny' and does not fit 'arm': it has {difference}\. "
        r"Use a bundle trained for 'arm' or start with robot:=tiny\."
    )
    with pytest.raises(BundleError, match=message):
        check_robot(tiny_bundle, change_robot(change))


def test_every_difference_is_named_at_once(
    tiny_bundle: Bundle, change_robot: Callable[..., RobotDescription]
) -> None:
    def change(document: dict[str, Any]) -> None:
        rename_joint(document)
        widen_image(document)
        slow_down(document)

    with pytest.raises(BundleError, match=r'joints .*; image size .*; policy rate '):
        check_robot(tiny_bundle, change_robot(change))


def test_change_that_the_policy_does_not_see_is_allowed(
    tiny_bundle: Bundle, change_robot: Callable[..., RobotDescription]
) -> None:
    def change(document: dict[str, Any]) -> None:
        document['limits']['velocity_fraction'] = 0.1
        document['topics']['image'] = '/other/image'

    check_robot(tiny_bundle, change_robot(change))
