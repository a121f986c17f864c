"""Off-screen pictures of a model whose textures may change."""

from __future__ import annotations

import numpy as np

from mil_ros.core.types import Image
from mil_ros.sim.gl import mujoco

HIDDEN_GROUP = 3  # of geoms that collide but are not drawn


class Renderer:
    """Draws a model as its one camera sees it.

    `mujoco.Renderer` cannot reload a texture, and makes room for 10000 geoms.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open an OpenGL context; `close` frees it."""
        self._model = model
        self._context = mujoco.GLContext(width, height)
        self._context.make_current()
        self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._mjr)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 10)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._option.geomgroup[HIDDEN_GROUP] = 0
        self._view = mujoco.MjvCamera()
        self._view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._view.fixedcamid = 0
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), np.uint8)

    def upload_texture(self, texture: int) -> None:
        """Show what the model's texture `texture` has become."""
        self._context.make_current()
        mujoco.mjr_uploadTexture(self._model, self._mjr, texture)

    def capture(self, data: mujoco.MjData) -> None:
        """Remember what there is to see; takes microseconds, in any thread, but while drawing."""
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )

    def draw(self) -> Image:
        """Return a new picture of what was captured, (H, W, 3) uint8 RGB.

        It takes milliseconds, in the thread that the context was opened in.
        """
        self._context.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._mjr)
        return np.ascontiguousarray(self._pixels[::-1])  # OpenGL counts rows from below

    def close(self) -> None:
        """Free the context."""
        self._context.make_current()
        self._mjr.free()
        self._context.free()
