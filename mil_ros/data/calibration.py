"""Camera calibration as the ROS package ``camera_calibration`` writes it."""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any, Final

import yaml

from mil_ros.core.errors import ConfigError

# Number of distortion coefficients; plumb_bob may be written without its last terms.
_MODELS: Final = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
_HOW: Final = 'Calibrate again with `ros2 run camera_calibration cameracalibrator`.'


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What ``sensor_msgs/CameraInfo`` says about a lens; matrices row by row.

    Attributes:
        width: Columns of the images it was made from.
        height: Rows of them.
        model: Distortion model, such as ``plumb_bob``.
        d: Its coefficients.
        k: Camera matrix, 9 numbers, in pixels.
        r: Rectification matrix, 9 numbers.
        p: Projection matrix, 12 numbers, in pixels.
    """

    width: int
    height: int
    model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]


def load_calibration(path: Path, width: int, height: int) -> Calibration:
    """Read a calibration for images of one size.

    Raises:
        ConfigError: If it is missing, not such a file, or of images of another size.
    """
    document = _read(path)
    size = tuple(_get(document, f'image_{side}', path) for side in ('width', 'height'))
    if size != (width, height):
        raise ConfigError(
            f'Calibration {path.name} is of {size[0]}x{size[1]} images, the camera delivers '
            f'{width}x{height}; expected the same size, for a calibration holds for one. {_HOW}'
        )
    model = str(_get(document, 'distortion_model', path))
    d = _read_matrix(document, 'distortion_coefficients', path)
    if len(d) not in _MODELS.get(model, ()):
        raise ConfigError(
            f'Calibration {path.name} has {len(d)} coefficients of the distortion model '
            f'{model!r}; expected one of '
            + ', '.join(f'{m} with {" or ".join(map(str, n))}' for m, n in _MODELS.items())
            + f'. {_HOW}'
        )
    k = _read_matrix(document, 'camera_matrix', path, 9)
    if not (k[0] > 0.0 and k[4] > 0.0):
        raise ConfigError(
            f'Calibration {path.name} has focal lengths {k[0]:g} and {k[4]:g} pixels; expected '
            f'both above 0. {_HOW}'
        )
    r = _read_matrix(document, 'rectification_matrix', path, 9)
    p = _read_matrix(document, 'projection_matrix', path, 12)
    return Calibration(width=width, height=height, model=model, d=d, k=k, r=r, p=p)


def _read(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        reason = err.strerror if isinstance(err, OSError) else 'it is not YAML'
        raise ConfigError(
            f'Calibration {path} cannot be read ({reason}); expected a file written by '
            'camera_calibration, or none for a camera that is not calibrated.'
        ) from err
    if not isinstance(document, dict):
        raise ConfigError(
            f'Calibration {path.name} holds {document!r}; expected a mapping with image_width, '
            f'camera_matrix and so on. {_HOW}'
        )
    return document


def _get(document: dict[str, Any], key: str, path: Path) -> Any:
    if key not in document:
        raise ConfigError(
            f'Calibration {path.name} lacks {key}; expected a file written by '
            f'camera_calibration. {_HOW}'
        )
    return document[key]


def _read_matrix(
    document: dict[str, Any], key: str, path: Path, count: int | None = None
) -> tuple[float, ...]:
    matrix = _get(document, key, path)
    try:
        values = tuple(float(v) for v in matrix['data'])
    except (KeyError, TypeError, ValueError):
        values = (math.nan,)
    if not all(map(math.isfinite, values)) or (count is not None and len(values) != count):
        raise ConfigError(
            f'Calibration {path.name}: {key} is {matrix!r}; expected `data` with '
            f'{count or "its"} finite numbers. {_HOW}'
        )
    return values
