"""The virtual environment, and what has been done in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
import shutil

from commands import replace_text, run
from host import NEWEST, OLDEST, Python

INTERFACES = ('control_msgs', 'moveit_msgs')

# What each stage is made from. A stage that is out of date makes the later ones so too.
STAGES = {
    'packages': ('bootstrap/*.py', 'bootstrap/*.txt'),
    'interfaces': tuple(f'bootstrap/interfaces/{name}/**/*' for name in INTERFACES),
    'mil_ros': ('package.xml', 'pyproject.toml', 'setup.cfg', 'setup.py'),
}


@dataclass(frozen=True)
class Venv:
    """The environment of a checkout, with the notes that the setup keeps in it."""

    root: Path

    @property
    def path(self) -> Path:
        """The environment's folder."""
        return self.root / '.venv'

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.path / 'bin' / 'python'

    @property
    def config(self) -> Path:
        """What makes the folder an environment."""
        return self.path / 'pyvenv.cfg'

    @property
    def stamps(self) -> Path:
        """The hashes of the finished stages."""
        return self.path / 'mil_ros-stamps.json'

    @property
    def unfinished(self) -> Path:
        """Exists while pip works: no pip repairs the half of a package that a kill leaves."""
        return self.path / 'mil_ros-unfinished'

    def read_version(self) -> tuple[int, ...]:
        """Return the Python version that it was made with; empty if it says none."""
        for line in self.config.read_text().splitlines() if self.config.is_file() else ():
            key, _, value = line.partition('=')
            if key.strip() == 'version':
                return tuple(int(part) for part in value.strip().split('.')[:3])
        return ()

    def find_fault(self, wanted: Python | None) -> str:
        """Return why it must be made, in a few words; empty if it need not."""
        pip = self.path / 'bin' / 'pip'
        version = self.read_version()[:2]
        faults = {
            'new': not self.path.exists(),
            'again: interrupted': self.unfinished.exists(),
            'again: incomplete': not (version and self.python.exists() and pip.is_file()),
            'again: moved': pip.is_file() and str(self.path) not in pip.read_text(),
            'again: unsupported Python': not OLDEST <= version <= NEWEST,
            'again: other Python': wanted is not None and wanted.version != version,
        }
        return next((fault for fault, is_so in faults.items() if is_so), '')

    def create(self, python: Python, log: Path) -> None:
        """Make an empty environment; it counts as unfinished."""
        if self.path.exists():
            # Goes first, so that what an interruption leaves is not taken for an environment.
            self.config.unlink(missing_ok=True)
            shutil.rmtree(self.path)
        self.path.mkdir()
        self.unfinished.touch()
        hint = 'Check that the disk is not full and that this Python is complete.'
        run([python.path, '-m', 'venv', str(self.path)], log, hint)

    def find_pending(self) -> list[str]:
        """Return the stages that are out of date."""
        done = self._read_stamps()
        return [name for name, stamp in self._compute_stamps().items() if done.get(name) != stamp]

    def forget(self, stages: Sequence[str]) -> None:
        """Remove the stamps of stages that are about to run, and may fail half-way."""
        kept = {name: stamp for name, stamp in self._read_stamps().items() if name not in stages}
        replace_text(self.stamps, json.dumps(kept, indent=1))

    def mark_done(self, stage: str) -> None:
        """Stamp a finished stage."""
        stamps = {**self._read_stamps(), stage: self._compute_stamps()[stage]}
        replace_text(self.stamps, json.dumps(stamps, indent=1))

    def _compute_stamps(self) -> dict[str, str]:
        running = hashlib.sha256(f'{self.path} {self.read_version()}'.encode())
        stamps = {}
        for stage, patterns in STAGES.items():
            for path in self._find_inputs(patterns):
                running.update(f'\0{path.relative_to(self.root)}\0'.encode() + path.read_bytes())
            stamps[stage] = running.hexdigest()
        return stamps

    def _find_inputs(self, patterns: tuple[str, ...]) -> Iterator[Path]:
        for pattern in patterns:
            yield from (path for path in sorted(self.root.glob(pattern)) if path.is_file())

    def _read_stamps(self) -> dict[str, str]:
        try:
            stamps = json.loads(self.stamps.read_text())
        except (OSError, ValueError):  # missing or damaged: do everything
            return {}
        return stamps if isinstance(stamps, dict) else {}
