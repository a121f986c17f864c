"""Who starts what: the one table that the launch files and ``mil demo`` read."""

from __future__ import annotations

from dataclasses import dataclass

MODULES = 'mil_ros.ros'


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node, one process.

    Attributes:
        name: Of the node and of its executable.
        arguments: Deployment values that become its parameters: parameter -> argument.
        is_lifecycle: Whether it must be configured and activated.
        is_simulation: Whether the hardware takes its place on a real arm.
        is_hardware: Whether the simulated arm takes its place in simulation.
        is_replayed: Whether a replay runs it, on what was recorded of the others.
        only_with: Argument without which the node is not started; empty for always.
        shares_memory: Whether it takes part in what is too much for the network; see `NETWORK`.
    """

    name: str
    arguments: dict[str, str]
    is_lifecycle: bool = False
    is_simulation: bool = False
    is_hardware: bool = False
    is_replayed: bool = False
    only_with: str = ''
    shares_memory: bool = False

    @property
    def module(self) -> str:
        """Python module that runs the node."""
        return f'{MODULES}.{self.name}_node'

    @property
    def middleware(self) -> str:
        """Its settings of the middleware, a file of the share folder."""
        return SHARED_MEMORY if self.shares_memory else NETWORK

    @property
    def enclave(self) -> str:
        """Where its rights are found on a secured graph (docs/security.md)."""
        return f'/mil/{self.name}'


@dataclass(frozen=True, slots=True)
class ForeignSpec:
    """One node of another package, of the same name as its executable.

    `linger_s` is how much later than the others it is ended.
    """

    package: str
    executable: str
    linger_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Argument:
    """One value that whoever starts the graph may choose; without a default, must choose."""

    name: str
    default: str | None
    description: str
    kind: type = str


ARGUMENTS = (
    Argument('robot', 'sim_panda', 'robot file: a shipped name or a path to a .yaml'),
    Argument(
        'camera',
        '',
        'camera to open: 0, /dev/video0, rtsp://..., a video file or synthetic (default: none, a '
        "vendor's driver publishes the images)",
    ),
    Argument('bundle', '', 'policy bundle to adapt (default: the shipped reach policy)'),
    Argument('episodes', '~/mil_episodes', 'folder that demonstrations are recorded into'),
    Argument('policies', '~/mil_policies', 'folder that adapted policies are saved in'),
    Argument('dry_run', 'true', 'publish what the policy would do without moving', bool),
    Argument(
        'moveit',
        'false',
        "true starts the vendor's move_group and a servo_node too, servo the latter alone (the "
        "vendor's launch started the former); the driver must be running",
    ),
    Argument('family', 'reach', 'kind of simulated tasks: reach, push or place'),
    Argument('split', 'test', 'looks of the simulated tasks: train or test'),
    Argument('seed', '0', 'of the simulated tasks and scenes', int),
    Argument(
        'planner',
        'auto',
        'how to move home: moveit (around obstacles), joint_space (blindly) or auto',
    ),
)

# What an argument starts besides, on a real arm alone, by its value.
MOVEIT_ARGUMENT = 'moveit'
_SERVO = ForeignSpec('moveit_servo', 'servo_node', linger_s=2.0)  # while the guard stops the arm
MOVEIT: dict[str, tuple[ForeignSpec, ...]] = {
    'false': (),
    'servo': (_SERVO,),
    'true': (ForeignSpec('moveit_ros_move_group', 'move_group'), _SERVO),
}

EPISODE = Argument('episode', None, 'episode to replay, or a folder of episodes')

NODES = (
    NodeSpec(
        'sim',
        {'robot': 'robot', 'family': 'family', 'split': 'split', 'seed': 'seed'},
        is_simulation=True,
    ),
    NodeSpec(
        'camera',
        {'robot': 'robot', 'source': 'camera'},
        is_hardware=True,
        only_with='camera',
        shares_memory=True,
    ),
    NodeSpec('guard', {'robot': 'robot'}),
    NodeSpec('planner', {'robot': 'robot', 'backend': 'planner'}),
    NodeSpec('recorder', {'robot': 'robot', 'directory': 'episodes'}, shares_memory=True),
    NodeSpec(
        'adaptation',
        {'robot': 'robot', 'bundle': 'bundle', 'directory': 'policies'},
        is_replayed=True,
    ),
    NodeSpec(
        'control',
        {'robot': 'robot', 'bundle': 'bundle', 'dry_run': 'dry_run'},
        is_lifecycle=True,
        is_replayed=True,
    ),
)

# What every node of a replay is given: the bag's own time, and nothing moves.
REPLAY_PARAMETERS = {'use_sim_time': True, 'dry_run': True}

ENVIRONMENT = {
    # Every node is one busy thread; pools of idle ones would fight for the cores.
    'OMP_NUM_THREADS': '1',
    'OPENBLAS_NUM_THREADS': '1',
}

# Settings of the middleware, files of the share folder. Several cameras are too much for the
# network; but who shares memory with a process that is killed may be held up for seconds, so that
# nothing that moves the arm does. The first variable is read by Fast DDS 2 (Humble, Jazzy), the
# second by Fast DDS 3.
SHARED_MEMORY = 'config/fastdds.xml'
NETWORK = 'config/fastdds_udp.xml'
MIDDLEWARE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')


def nodes(simulated: bool) -> tuple[NodeSpec, ...]:
    """Return the nodes that may be started, with or without the simulated arm."""
    return tuple(
        spec for spec in NODES if not (spec.is_hardware if simulated else spec.is_simulation)
    )


def replayed() -> tuple[NodeSpec, ...]:
    """Return the nodes that a replay runs."""
    return tuple(spec for spec in NODES if spec.is_replayed)


def arguments(simulated: bool) -> tuple[Argument, ...]:
    """Return the arguments that those nodes take, each once."""
    used = {name for spec in nodes(simulated) for name in spec.arguments.values()}
    if not simulated:
        used.add(MOVEIT_ARGUMENT)
    return tuple(argument for argument in ARGUMENTS if argument.name in used)


def replay_arguments() -> tuple[Argument, ...]:
    """Return the arguments of a replay: what its nodes take and a replay leaves open."""
    used = {name for spec in replayed() for name in spec.arguments.values()}
    taken = tuple(a for a in ARGUMENTS if a.name in used - set(REPLAY_PARAMETERS))
    return (EPISODE, *taken)
