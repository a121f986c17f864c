"""The reach family: touch the object whose colour was shown, among distractors.

A *task* is a set of three colours, the first of which is the target; a *layout* is where the
three objects stand. Training and test colours are disjoint, so a test task can only be solved by
what its demonstration shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError

OBJECTS = 3  # the target and two distractors
OBJECT_RADIUS_M = 0.038
OBJECT_HEIGHT_M = 0.06
WORKSPACE_M = ((0.36, 0.64), (-0.24, 0.24))  # x and y range of the objects' centres
MIN_SPACING_M = 0.14
TOUCH_DISTANCE_M = 0.003  # between the surfaces of tip and object; contacts are a little soft
MIN_COLOUR_DISTANCE = 50.0  # CIE76 in CIELAB, between the colours of one task
SPLITS = ('train', 'test')

_LEVELS = np.linspace(0.0, 1.0, 9)
_TEST_SHARE = 0.2
_PALETTE_SEED = 20170914  # fixed for good: changing it would leak test colours into training


@dataclass(frozen=True, eq=False, slots=True)
class ReachTask:
    """Which colours stand on the table.

    Attributes:
        split: ``train`` or ``test``.
        index: Number of the task within its split and seed.
        colours: RGB in [0, 1], target first, (3, 3).
    """

    split: str
    index: int
    colours: NDArray[np.float64]

    @property
    def target_hex(self) -> str:
        """The target's colour, such as ``#ff8000``."""
        return '#' + ''.join(f'{round(255 * c):02x}' for c in self.colours[0])


def rgb_to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB in [0, 1] to CIELAB (D65), (..., 3) each."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@lru_cache(maxsize=1)
def palettes() -> dict[str, NDArray[np.float64]]:
    """Return the colours of each split, (N, 3) RGB in [0, 1]; no colour is in both.

    The palette is the nine-level RGB grid without greys and pastels, which would look like the
    table or the arm.
    """
    grid = np.array(list(product(_LEVELS, repeat=3)))
    lab = rgb_to_lab(grid)
    vivid = grid[np.hypot(lab[:, 1], lab[:, 2]) > 40.0]
    order = np.random.default_rng(_PALETTE_SEED).permutation(len(vivid))
    held_out = round(len(vivid) * _TEST_SHARE)
    return {'test': vivid[order[:held_out]], 'train': vivid[order[held_out:]]}


def sample_task(split: str, seed: int, index: int) -> ReachTask:
    """Return task `index` of a split; the same arguments give the same task.

    Raises:
        ConfigError: If the split is not ``train`` or ``test``.
    """
    if split not in SPLITS:
        raise ConfigError(f'Split is {split!r}; expected one of {SPLITS}.')
    rng = np.random.default_rng([seed, index, SPLITS.index(split)])
    palette = palettes()[split]
    while True:
        colours = palette[rng.choice(len(palette), OBJECTS, replace=False)]
        lab = rgb_to_lab(colours)
        gaps = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(OBJECTS, 1)]
        if gaps.min() >= MIN_COLOUR_DISTANCE:
            return ReachTask(split, index, colours)


def sample_layout(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return table positions of the objects, none closer than the spacing, (3, 2) in m."""
    low, high = np.array(WORKSPACE_M).T
    while True:
        layout = rng.uniform(low, high, size=(OBJECTS, 2))
        gaps = np.linalg.norm(layout[:, None] - layout[None], axis=-1)
        if gaps[np.triu_indices(OBJECTS, 1)].min() >= MIN_SPACING_M:
            return layout
