"""The best checkpoint of a training, by its success on tasks that are not trained on."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mil_ros.core.errors import CheckpointError
from mil_ros.data.dataset import write_atomically

if TYPE_CHECKING:
    from mil_ros.learning.trainer import Trainer


@dataclass(slots=True)
class Best:
    """``best.safetensors`` and, beside it in ``best.json``, how good it was.

    Attributes:
        folder: Where both are kept.
        success: Of the best checkpoint so far; None before the first validation.
    """

    folder: Path
    success: float | None = None

    @classmethod
    def load(cls, folder: Path) -> Best:
        """Return what an earlier part of the same training has left.

        Raises:
            CheckpointError: If its note is damaged.
        """
        note = folder / 'best.json'
        if not note.is_file():
            return cls(folder)
        try:
            return cls(folder, float(json.loads(note.read_bytes())['success']))
        except (ValueError, KeyError, TypeError) as err:
            raise CheckpointError(
                f'{note} is damaged ({type(err).__name__}: {err}); expected the success of '
                'best.safetensors beside it, delete both to find the best anew.'
            ) from err

    def offer(self, trainer: Trainer, success: float) -> bool:
        """Keep the present state if none was better; return whether it was kept."""
        if self.success is not None and success < self.success:
            return False
        self.success = success
        trainer.save(self.folder / 'best.safetensors')
        note = {'step': trainer.step, 'success': success}
        write_atomically(self.folder / 'best.json', json.dumps(note).encode())
        return True
