"""Colours and surface patterns, split so that nothing of a test task was seen in training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from mil_ros.core.errors import ConfigError

SPLITS = ('train', 'test')
MIN_COLOUR_DISTANCE = 50.0  # CIE76 in CIELAB, between the colours of one task
TEXTURE_PIXELS = 64
TABLE_PIXELS = 128

LIGHT_ENOUGH = 30.0  # CIELAB lightness above which nothing looks like the tool

_LEVELS = np.linspace(0.0, 1.0, 9)
_TEST_SHARE = 0.2
_PALETTE_SEED = 20170914  # fixed for good: changing it would leak test colours into training
_TEXTURES = 120
_TABLES = 100
_TABLE_RGB = np.array([0.62, 0.57, 0.50])

Rgb = NDArray[np.float64]  # (3,) in [0, 1]


@dataclass(frozen=True, eq=False, slots=True)
class Look:
    """How one object appears.

    Attributes:
        colour: RGB in [0, 1], (3,).
        texture: Number of its surface pattern.
        shape: Number of its outline in the bank of its family.
    """

    colour: Rgb
    texture: int
    shape: int

    @property
    def hex(self) -> str:
        """The colour, such as ``#ff8000``."""
        return '#' + ''.join(f'{round(255 * c):02x}' for c in self.colour)


def check_split(split: str) -> None:
    """Refuse what is not a split.

    Raises:
        ConfigError: If the split is not ``train`` or ``test``.
    """
    if split not in SPLITS:
        raise ConfigError(f'Split is {split!r}; expected one of {SPLITS}.')


def divide(count: int, split: str) -> range:
    """Return which of `count` numbered things belong to a split: the last fifth is held out."""
    check_split(split)
    kept = count - round(count * _TEST_SHARE)
    return range(kept) if split == 'train' else range(kept, count)


def texture_numbers(split: str) -> range:
    """Return the surface patterns of a split."""
    return divide(_TEXTURES, split)


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


def sample_colours(
    split: str,
    count: int,
    rng: np.random.Generator,
    *,
    unlike: tuple[Rgb, ...] = (),
    min_lightness: float = 0.0,
) -> NDArray[np.float64]:
    """Return colours of a split that can be told apart, (count, 3) RGB in [0, 1].

    Args:
        split: Whose colours.
        count: How many.
        rng: Source of the choice.
        unlike: Colours already in the scene, from which these shall differ as well.
        min_lightness: CIELAB lightness below which a colour is passed over.
    """
    check_split(split)
    palette = palettes()[split]
    palette = palette[rgb_to_lab(palette)[:, 0] >= min_lightness]
    fixed = np.array(unlike).reshape(-1, 3)
    while True:
        colours = palette[rng.choice(len(palette), count, replace=False)]
        lab = rgb_to_lab(np.concatenate([colours, fixed]))
        gaps = np.linalg.norm(lab[:count, None] - lab[None], axis=-1)
        if gaps[np.triu_indices(count, 1, len(lab))].min(initial=np.inf) >= MIN_COLOUR_DISTANCE:
            return colours


def sample_looks(
    split: str,
    colours: NDArray[np.float64],
    shapes: range,
    rng: np.random.Generator,
) -> tuple[Look, ...]:
    """Return one look for each colour, (N, 3); patterns and shapes do not repeat."""
    patterns = rng.choice(texture_numbers(split), len(colours), replace=False)
    outlines = rng.choice(shapes, len(colours), replace=False)
    return tuple(
        Look(colour, int(texture), int(shape))
        for colour, texture, shape in zip(colours, patterns, outlines)
    )


def _waves(rng: np.random.Generator, pixels: int, orders: NDArray[np.int64]) -> NDArray:
    """Return the mean of plane waves that repeat seamlessly, (pixels, pixels) in [-1, 1].

    Args:
        rng: Source of the phases.
        pixels: Side of the square tile.
        orders: Whole periods along each side, (N, 2).
    """
    u = np.arange(pixels) / pixels
    phases = rng.uniform(0.0, 2 * np.pi, len(orders))
    angles = 2 * np.pi * (orders[:, :1, None] * u[:, None] + orders[:, 1:, None] * u)
    return np.cos(angles + phases[:, None, None]).mean(axis=0)


@lru_cache(maxsize=_TEXTURES)
def _pattern(number: int) -> tuple[NDArray[np.float64], float]:
    """Return where a pattern's second tone lies, (P, P) in [0, 1], and that tone's brightness."""
    rng = np.random.default_rng([_PALETTE_SEED, 1, number])
    p, q = rng.integers(1, 4), rng.integers(-2, 3)
    stripes = np.array([[p, q], [p, q]])
    checks = np.array([[p, p], [p, -p]])
    orders = (stripes, checks, rng.integers(-2, 3, (4, 2)))[number % 3]
    field = _waves(rng, TEXTURE_PIXELS, orders)
    share = rng.uniform(0.2, 0.45)
    edge = np.quantile(field, 1.0 - share)
    second = np.clip((field - edge) * 8.0 + 0.5, 0.0, 1.0)
    contrast = rng.uniform(0.15, 0.45)
    return second, float(contrast if rng.random() < 0.5 else -contrast)


def paint(look: Look) -> NDArray[np.uint8]:
    """Return the tile that covers an object, (P, P, 3) RGB."""
    second, tone = _pattern(look.texture)
    other = look.colour + tone * (1.0 - look.colour if tone > 0 else look.colour)
    rgb = look.colour + second[..., None] * (other - look.colour)
    return np.round(255 * rgb).astype(np.uint8)


def table_numbers(split: str) -> range:
    """Return the table tops of a split."""
    return divide(_TABLES, split)


@lru_cache(maxsize=_TABLES)
def paint_table(number: int) -> NDArray[np.uint8]:
    """Return the tile of a table top, (P, P, 3) RGB: subtle, so that objects stand out."""
    rng = np.random.default_rng([_PALETTE_SEED, 2, number])
    orders = rng.integers(-5, 6, (6, 2))
    if number % 3 == 0:
        orders[:, 0] = 0  # grain along one side, as of wood
    field = _waves(rng, TABLE_PIXELS, orders)
    tint = _TABLE_RGB + rng.normal(0.0, 0.02, 3)
    fine = rng.normal(0.0, 0.012, field.shape)
    shade = 1.0 + rng.uniform(0.03, 0.12) * field + fine
    return np.round(255 * np.clip(tint * shade[..., None], 0.0, 1.0)).astype(np.uint8)
