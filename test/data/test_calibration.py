"""A calibration is read as camera_calibration writes it, and never used for another size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mil_ros.core.errors import ConfigError
from mil_ros.data.calibration import Calibration, load_calibration

# As the tool writes it, tag by tag
TEXT = """\
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [602.5, 0. , 318.25, 0. , 603.75, 241.5, 0. , 0. , 1. ]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [0.1, -0.2, 0.001, -0.002, 0. ]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [590. , 0. , 317. , 0. , 0. , 595. , 242. , 0. , 0. , 0. , 1. , 0. ]
"""


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Calibration]:
    """Load that text with some keys changed; None takes a key away."""

    def load(width: int = 640, height: int = 480, **changes: Any) -> Calibration:
        document = {**yaml.safe_load(TEXT), **changes}
        path = tmp_path / 'lens.yaml'
        path.write_text(yaml.safe_dump({k: v for k, v in document.items() if v is not None}))
        return load_calibration(path, width, height)

    return load


def test_file_of_camera_calibration_is_read(tmp_path: Path) -> None:
    path = tmp_path / 'ost.yaml'
    path.write_text(TEXT)
    assert load_calibration(path, 640, 480) == Calibration(
        width=640,
        height=480,
        model='plumb_bob',
        d=(0.1, -0.2, 0.001, -0.002, 0.0),
        k=(602.5, 0.0, 318.25, 0.0, 603.75, 241.5, 0.0, 0.0, 1.0),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(590.0, 0.0, 317.0, 0.0, 0.0, 595.0, 242.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )


@pytest.mark.parametrize(
    ('model', 'count'), [('plumb_bob', 4), ('rational_polynomial', 8), ('equidistant', 4)]
)
def test_other_lenses_have_other_models(
    load: Callable[..., Calibration], model: str, count: int
) -> None:
    d = [0.25] * count
    lens = load(distortion_model=model, distortion_coefficients={'data': d})
    assert (lens.model, lens.d) == (model, tuple(d))


@pytest.mark.parametrize('size', [(320, 240), (480, 640)])
def test_calibration_of_another_size_is_refused(
    load: Callable[..., Calibration], size: tuple[int, int]
) -> None:
    message = (
        rf'Calibration lens\.yaml is of 640x480 images, the camera delivers {size[0]}x{size[1]}; '
        r'expected the same size.*cameracalibrator'
    )
    with pytest.raises(ConfigError, match=message):
        load(*size)


@pytest.mark.parametrize('key', sorted(yaml.safe_load(TEXT).keys() - {'camera_name'}))
def test_missing_key_is_named(load: Callable[..., Calibration], key: str) -> None:
    with pytest.raises(ConfigError, match=rf'Calibration lens\.yaml lacks {key}; expected a file'):
        load(**{key: None})


@pytest.mark.parametrize(
    ('key', 'value', 'expected'),
    [
        ('camera_matrix', {'data': [1.0] * 8}, '9 finite numbers'),
        ('camera_matrix', [1.0] * 9, '9 finite numbers'),
        ('rectification_matrix', {'data': ['x'] * 9}, '9 finite numbers'),
        ('projection_matrix', {'data': [float('nan')] * 12}, '12 finite numbers'),
        ('distortion_coefficients', {'rows': 1}, 'its finite numbers'),
    ],
)
def test_bad_matrix_is_refused(
    load: Callable[..., Calibration], key: str, value: Any, expected: str
) -> None:
    message = rf'Calibration lens\.yaml: {key} is .*; expected `data` with {expected}'
    with pytest.raises(ConfigError, match=message):
        load(**{key: value})


def test_coefficients_must_fit_the_model(load: Callable[..., Calibration]) -> None:
    message = r"has 5 coefficients of the distortion model 'fisheye'; expected one of plumb_bob"
    with pytest.raises(ConfigError, match=message):
        load(distortion_model='fisheye')


def test_matrix_of_zeros_is_no_calibration(load: Callable[..., Calibration]) -> None:
    with pytest.raises(ConfigError, match=r'focal lengths 0 and 0 pixels; expected both above 0'):
        load(camera_matrix={'data': [0.0] * 9})


def test_missing_file_is_refused(tmp_path: Path) -> None:
    message = r'Calibration .*none\.yaml cannot be read \(No such file or directory\); expected a'
    with pytest.raises(ConfigError, match=message):
        load_calibration(tmp_path / 'none.yaml', 640, 480)


@pytest.mark.parametrize('content', [b'a: b: c', b'\xff\xfe\x00'])
def test_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'lens.yaml'
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r'cannot be read \(it is not YAML\); expected a file'):
        load_calibration(path, 640, 480)


def test_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'lens.yaml'
    path.write_text('- 1\n- 2\n')
    with pytest.raises(ConfigError, match=r'lens\.yaml holds \[1, 2\]; expected a mapping with'):
        load_calibration(path, 640, 480)
