"""The families of tasks that the simulator knows."""

from mil_ros.core.errors import ConfigError
from mil_ros.sim.families.family import Family, Judge, Outcome, Task
from mil_ros.sim.families.place import Place
from mil_ros.sim.families.push import Push
from mil_ros.sim.families.reach import Reach

__all__ = ['FAMILIES', 'Family', 'Judge', 'Outcome', 'Task', 'get_family']

FAMILIES: dict[str, Family] = {family.name: family for family in (Reach(), Push(), Place())}


def get_family(name: str) -> Family:
    """Return a family by its name.

    Raises:
        ConfigError: If there is no such family.
    """
    if name not in FAMILIES:
        raise ConfigError(f'Task family is {name!r}; expected one of {", ".join(FAMILIES)}.')
    return FAMILIES[name]
