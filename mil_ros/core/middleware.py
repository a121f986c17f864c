"""Settings of the middleware, without which camera images get lost on their way."""

from __future__ import annotations

from mil_ros.core.resources import share_dir

# The first name is that of Fast DDS 2 (Humble, Jazzy), the second that of Fast DDS 3.
_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def make_environment() -> dict[str, str]:
    """Return environment variables that all nodes of a graph should have.

    Raises:
        ConfigError: If the package's share folder is not found.
    """
    profile = str(share_dir() / 'config' / 'fastdds.xml')
    return dict.fromkeys(_VARIABLES, profile)
