"""What the ``mil`` verbs share: progress bars, results for machines, common options."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
import json
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from mil_ros.core.errors import ConfigError
from mil_ros.data.dataset import write_atomically

Item = TypeVar('Item')
console = Console(stderr=True)


def make_progress() -> Progress:
    """Return the progress bar that every verb uses."""
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn('{task.fields[note]}'),
        console=console,
    )


def track(items: Iterable[Item], description: str, total: int) -> Iterator[Item]:
    """Yield `items` behind a progress bar."""
    with make_progress() as progress:
        task = progress.add_task(description, total=total, note='')
        for item in items:
            yield item
            progress.advance(task)


def print_json(document: dict[str, Any], file: Path | None) -> None:
    """Print a result and, if asked for, write it to a file.

    Raises:
        ConfigError: If the file cannot be written; the result has been printed then.
    """
    print(json.dumps(document, indent=2))
    if file is not None:
        write_json(document, file)


def write_json(document: dict[str, Any], file: Path) -> None:
    """Write a result that has been shown already.

    Raises:
        ConfigError: If the file cannot be written.
    """
    text = json.dumps(document, indent=2)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, (text + '\n').encode())
    except OSError as err:
        raise ConfigError(
            f'Cannot write {file} ({err.strerror}); expected a file in a writable folder, choose '
            'another --json. The result is printed above.'
        ) from err


def parse_seed(text: str) -> int:
    """Read a seed from the command line.

    Raises:
        argparse.ArgumentTypeError: If it is not a whole number of 0 or more.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'got {text!r}, expected a whole number of 0 or more')
    return int(text)
