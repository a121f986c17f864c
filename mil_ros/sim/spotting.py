"""Finding in one picture what stood somewhere in another, by colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import DemoError
from mil_ros.core.types import Image

if TYPE_CHECKING:
    from mil_ros.sim.simulation import Simulation

_STANDS_OUT = 15.0  # CIELAB distance from the table's colour
_ALIKE = 25.0  # CIELAB distance from the nearest of a thing's colours
_FEWEST_PIXELS = 6

Point = NDArray[np.float64]  # (2,): x and y on the table in m, or column and row in an image
Lab = NDArray[np.float32]  # (H, W, 3) CIELAB
Mask = NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True, eq=False, slots=True)
class Viewpoint:
    """A pinhole camera where it is meant to stand; where it really stands is not known.

    Attributes:
        position: (3,) in m.
        rotation: Maps camera coordinates (x right, y up, z backward) into the base frame, (3, 3).
        focal_px: Focal length.
        centre_px: Column and row of the optical axis, (2,).
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    focal_px: float
    centre_px: Point

    @classmethod
    def of(cls, simulation: Simulation) -> Viewpoint:
        """Return the camera of a simulation as it stands, at the policy's image size."""
        simulation.refresh()
        size = simulation.robot.policy
        camera = simulation.data.camera('camera')
        half_fovy = np.deg2rad(simulation.model.camera('camera').fovy[0]) / 2
        return cls(
            camera.xpos.copy(),
            camera.xmat.reshape(3, 3).copy(),
            size.image_height / 2 / np.tan(half_fovy),
            np.array([size.image_width - 1, size.image_height - 1]) / 2,
        )

    def to_pixel(self, point: Point, height_m: float) -> Point:
        """Return where a point at some height above the table is seen, (2,)."""
        x, y, z = self.rotation.T @ (np.append(point, height_m) - self.position)
        return self.centre_px + self.focal_px * np.array([x, -y]) / -z

    def to_plane(self, pixel: Point, height_m: float) -> Point:
        """Return what is seen at a pixel if it is at that height above the table, (2,) in m."""
        x, y = (pixel - self.centre_px) / self.focal_px
        ray = self.rotation @ (x, -y, -1.0)
        along = (height_m - self.position[2]) / ray[2]
        return (self.position + along * ray)[:2]

    def to_pixels(self, length_m: float, point: Point) -> float:
        """Return how long a length across the view at a point of the table appears."""
        depth_m = np.linalg.norm(np.append(point, 0.0) - self.position)
        return float(self.focal_px * length_m / depth_m)


@dataclass(frozen=True, eq=False, slots=True)
class Sight:
    """How a thing looks.

    Attributes:
        patch: Its bounding box, (h, w, 3) CIELAB.
        mask: Which pixels of the patch are its own, (h, w).
        centroid: Of these pixels, from the corner of the patch, (2,).
        pixel: The same from the corner of the picture, (2,).
        radius_px: How far it may extend from there.
    """

    patch: Lab
    mask: Mask
    centroid: Point
    pixel: Point
    radius_px: float


def look_at(image: Image, pixel: Point, radius_px: float) -> Sight:
    """Return what stands out from the table around a pixel.

    Args:
        image: (H, W, 3) RGB.
        pixel: Where its middle is expected, (2,).
        radius_px: How far it may extend from there.

    Raises:
        DemoError: If nothing stands out.
    """
    lab = _to_lab(image)
    mask = _stands_out(lab) & (_distances(lab, pixel) <= radius_px)
    if mask.sum() < _FEWEST_PIXELS:
        raise DemoError(
            f'Nothing stands out from the table within {radius_px:.0f} pixels of column '
            f'{pixel[0]:.0f}, row {pixel[1]:.0f}, where the demonstration leads; expected its '
            'first frame to show the object there.'
        )
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    centroid = _centroid(mask)
    return Sight(lab[box], mask[box], centroid - (left, top), centroid, radius_px)


def find(sight: Sight, image: Image) -> Point:
    """Return where the centroid of a thing is in another picture, (2,) in pixels.

    The place where the template fits best is refined, since the thing may have been turned: what
    counts is the centroid of all pixels of its colours there.
    """
    lab = _to_lab(image)
    weights = np.repeat(sight.mask[..., None], 3, axis=2).astype(np.float32)
    misfit = cv2.matchTemplate(lab, sight.patch, cv2.TM_SQDIFF, mask=weights)
    row, column = np.unravel_index(np.argmin(misfit), misfit.shape)
    fit = np.array([column, row]) + sight.centroid
    mask = _stands_out(lab) & (_distances(lab, fit) <= sight.radius_px)
    mask &= _resembles(lab, sight.patch[sight.mask])
    return _centroid(mask) if mask.any() else fit


def _to_lab(image: Image) -> Lab:
    return np.asarray(
        cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2LAB), np.float32
    )


def _stands_out(lab: Lab) -> Mask:
    """Return which pixels differ from the table, whose colour is the median."""
    table = np.median(lab.reshape(-1, 3), axis=0)
    return np.linalg.norm(lab - table, axis=2) > _STANDS_OUT


def _resembles(lab: Lab, colours: NDArray[np.float32]) -> Mask:
    """Return which pixels have nearly one of some colours, (N, 3)."""
    gaps = np.linalg.norm(lab[:, :, None] - colours, axis=3)  # (H, W, N)
    return gaps.min(axis=2) < _ALIKE


def _distances(lab: Lab, pixel: Point) -> NDArray[np.float64]:
    """Return how far each pixel is from one, (H, W)."""
    rows, columns = np.indices(lab.shape[:2])
    return np.hypot(columns - pixel[0], rows - pixel[1])


def _centroid(mask: Mask) -> Point:
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()])
