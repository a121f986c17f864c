"""What a compiled model can put on: other meshes and other textures, without compiling again."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mil_ros.sim.gl import mujoco
from mil_ros.sim.palette import Look, paint


def add_texture(spec: mujoco.MjSpec, name: str, pixels: int, tiles: float = 1.0) -> None:
    """Add a texture that is painted at each reset, and the material `name` that wears it."""
    texture = spec.add_texture(name=name, type=mujoco.mjtTexture.mjTEXTURE_2D)
    texture.width = texture.height = pixels
    texture.nchannel = 3
    texture.data = bytes(3 * pixels * pixels)
    material = spec.add_material(name=name, specular=0.1, shininess=0.2)
    material.texrepeat = (tiles, tiles)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


class Wardrobe:
    """Changes how the geoms of a model look."""

    def __init__(self, model: mujoco.MjModel) -> None:
        """Take a model into care."""
        self._model = model
        # The compiler notes which frames coincide, to save work; meshes that change break that.
        model.geom_sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        model.body_sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
        self._repainted: set[int] = set()

    def take_repainted(self) -> set[int]:
        """Return the numbers of the textures that were painted since the last call."""
        repainted, self._repainted = self._repainted, set()
        return repainted

    def paint(self, texture: str, tile: NDArray[np.uint8]) -> None:
        """Fill a texture, (P, P, 3) RGB."""
        entry = self._model.texture(texture)
        entry.data[:] = tile.reshape(entry.data.shape)
        self._repainted.add(entry.id)

    def reshape(self, geom: str, mesh: str) -> None:
        """Give a geom another mesh.

        Its bounds, by which collisions are sought, stay those of the mesh that it was built with:
        that must have been the widest.
        """
        model = self._model
        number, asset = model.geom(geom).id, model.mesh(mesh).id
        model.geom_dataid[number] = asset
        model.geom_pos[number] = model.mesh_pos[asset]
        model.geom_quat[number] = model.mesh_quat[asset]

    def dress(self, name: str, look: Look, bank: str) -> None:
        """Give the object `name` a mesh of a bank, and its colour and pattern."""
        self.reshape(name, f'{bank}{look.shape}')
        self.paint(name, paint(look))
