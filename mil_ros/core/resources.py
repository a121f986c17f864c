"""Finding the files that the package ships (robot files, bundles)."""

from __future__ import annotations

import os
from pathlib import Path

from mil_ros.core.errors import ConfigError


def share_dir() -> Path:
    """Return the folder that holds ``config/``, ``launch/`` and ``models/``.

    A source checkout (and an editable install of one) is its own share folder; an installed
    package is found through ``AMENT_PREFIX_PATH``, as the ament index does.

    Raises:
        ConfigError: If neither exists.
    """
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / 'package.xml').is_file():
        return checkout
    prefixes = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep) if p]
    for prefix in prefixes:
        share = Path(prefix) / 'share' / 'mil_ros'
        if (share / 'package.xml').is_file():
            return share
    raise ConfigError(
        f'No share folder of mil_ros: got AMENT_PREFIX_PATH={os.pathsep.join(prefixes)!r}, '
        "expected a prefix with share/mil_ros/package.xml; source the workspace's setup file."
    )
