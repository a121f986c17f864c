"""Control and guard over real DDS: what they refuse, and that nothing comes back by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from control_msgs.msg import JointJog
from lifecycle_msgs.msg import Transition
import pytest
from running import PATIENCE_S, RunningGraph
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from trajectory_msgs.msg import JointTrajectory

from mil_ros.bringup import NODES
from mil_ros.core.errors import MilError
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot, RobotDescription
from mil_ros.ros.node import COMMAND, LATCHED, NEWEST
from mil_ros.tools.client import GraphClient
from mil_ros.tools.graph import Graph
from mil_ros.tools.loop import Episode

pytestmark = pytest.mark.ros

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
REFUSED = r"Node 'control' refused transition"


class Alone:
    """Chosen nodes of the graph, and what they log."""

    def __init__(self, out: Path, client: GraphClient) -> None:
        self.out, self.client = out, client

    def log(self, node: str) -> str:
        return (self.out / 'logs' / f'{node}.log').read_text()

    def refuse(self, transition: int, sentence: str) -> None:
        with pytest.raises(MilError, match=REFUSED):
            self.client.change_state('control', transition)
        self.client.wait(lambda: sentence in self.log('control'), PATIENCE_S, 'the reason')
        assert 'Traceback' not in self.log('control')


@contextmanager
def start_alone(out: Path, *names: str, **values: str) -> Iterator[Alone]:
    specs = [spec for spec in NODES if spec.name in names]
    with Graph({'dry_run': 'false', **values}, out / 'logs', specs=specs) as graph:
        client = GraphClient(load_robot('sim_panda'), graph.check)
        try:
            yield Alone(out, client)
        finally:
            client.close()


def test_control_stays_inactive_without_a_guard(tmp_path: Path) -> None:
    with start_alone(tmp_path, 'control') as alone:
        alone.refuse(CONFIGURE, 'Nobody listens on /control/joint_jog, expected the guard; start')
        assert not alone.client.values('control/state'), 'nothing of it is left'


def test_control_stays_inactive_while_another_speaks_for_it(tmp_path: Path) -> None:
    with start_alone(tmp_path, 'control', 'guard') as alone:
        node = alone.client.node
        rival = node.create_publisher(JointJog, '/control/joint_jog', COMMAND)
        alone.refuse(CONFIGURE, '/mil_client may publish on /control/joint_jog too, expected this')
        node.destroy_publisher(rival)
        alone.client.wait(
            lambda: node.count_publishers('/control/joint_jog') == 0, PATIENCE_S, 'it to go'
        )
        alone.client.change_state('control', CONFIGURE)
        alone.client.change_state('control', ACTIVATE)


def test_lifecycle_in_the_wrong_order_is_refused(tmp_path: Path) -> None:
    with start_alone(tmp_path, 'control', 'guard') as alone:
        alone.refuse(ACTIVATE, 'number 3 refused: this node is unconfigured, expected one of: con')
        alone.client.change_state('control', CONFIGURE)
        alone.refuse(CONFIGURE, 'number 1 refused: this node is inactive, expected one of: activ')
        with pytest.raises(MilError, match=r'the control node is not active; activate it first'):
            alone.client.trigger('/control/start')


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'robot': 'r2d2'}, "No robot file 'r2d2'; expected a path"),
        ({'bundle': '/nowhere'}, 'No policy bundle at /nowhere: expected a folder'),
        ({'robot': 'panda', 'bundle': str(share_dir() / 'models' / 'reach')}, 'reach'),
    ],
    ids=['robot', 'bundle', 'bundle of another robot'],
)
def test_a_mistake_leaves_control_unconfigured(
    tmp_path: Path, values: dict[str, str], sentence: str
) -> None:
    with start_alone(tmp_path, 'control', **values) as alone:
        alone.refuse(CONFIGURE, sentence)


# --- With the whole graph --------------------------------------------------------------------


@pytest.fixture(scope='module')
def adapted(running: RunningGraph) -> RunningGraph:
    """The graph with a policy that may run."""
    running.loop.demonstrate(Episode(0, 'any'))
    running.client.adapt(PATIENCE_S)
    return running


def start(running: RunningGraph) -> None:
    if running.client.values('guard/state').get('state') == 'fault':
        running.loop.recover()  # a busy machine disturbed the test before
    running.loop.new_layout()
    running.client.wait(
        lambda: running.client.values('guard/state').get('state') == 'ready', PATIENCE_S, 'guard'
    )
    running.client.trigger('/control/start')
    running.wait_until_moving()


def stop(running: RunningGraph) -> None:
    """End the run, if it has not ended by itself, and let the arm come to rest."""
    if running.client.values('control/state')['running'] == 'True':
        running.client.trigger('/control/stop')
    running.wait_until_resting()


def reset(running: RunningGraph) -> str:
    """Reset the guard as soon as it allows it."""
    answers: list[str] = []

    def is_cleared() -> bool:
        try:
            answers.append(running.client.trigger('/guard/reset'))
        except MilError:
            running.client.spin_for(0.1)
        return bool(answers)

    running.client.wait(is_cleared, PATIENCE_S, 'the guard to be reset')
    return answers[0]


def expect_no_motion(running: RunningGraph) -> None:
    running.wait_until_resting()
    assert running.measure_speed(100) < 0.01
    assert running.client.values('control/state')['running'] == 'False'


def test_an_emergency_stop_ends_the_run_and_a_reset_does_not_bring_it_back(
    adapted: RunningGraph,
) -> None:
    start(adapted)
    adapted.client.trigger('/guard/estop')
    expect_no_motion(adapted)
    assert "the guard is in state 'fault'" in adapted.client.states['control/state'].message
    with pytest.raises(MilError, match=r"the guard is in state 'fault' .*call /guard/reset and"):
        adapted.client.trigger('/control/start')
    assert reset(adapted) == 'Cleared: Emergency stop was called on ~/estop.'
    expect_no_motion(adapted)


def test_whether_the_arm_moves_cannot_be_changed_in_a_run(adapted: RunningGraph) -> None:
    start(adapted)
    with pytest.raises(MilError, match=r'refused dry_run=.*a run is going, expected none; call'):
        adapted.client.set_parameter('control', 'dry_run', True)
    stop(adapted)


def test_a_gripper_on_the_topic_of_the_joint_states_does_no_harm(adapted: RunningGraph) -> None:
    node = adapted.client.node
    gripper = node.create_publisher(JointState, adapted.robot.topics.joint_states, 5)

    def follow(arm: JointState) -> None:
        """Publish right behind the arm, so that a queue of one would hold nothing else."""
        if list(arm.name) == ['finger']:
            return
        message = JointState(name=['finger'], position=[0.04], velocity=[0.0])
        message.header.stamp = arm.header.stamp
        gripper.publish(message)

    topic = adapted.robot.topics.joint_states
    heard = node.create_subscription(JointState, topic, follow, 10)
    start(adapted)
    adapted.client.spin_for(1.0)
    state = adapted.client.values('control/state')
    assert state['running'] == 'True' or adapted.client.is_success
    assert adapted.client.values('guard/state')['state'] in ('policy', 'ready')
    node.destroy_subscription(heard)
    node.destroy_publisher(gripper)
    stop(adapted)


def make_urdf(robot: RobotDescription, upper: Callable[[float], float]) -> str:
    joints = ''.join(
        f'<link name="link{i}"/><joint name="{joint.name}" type="revolute">'
        f'<parent link="{f"link{i - 1}" if i else "base"}"/><child link="link{i}"/>'
        f'<axis xyz="0 0 1"/><limit lower="{joint.lower_rad}" upper="{upper(joint.upper_rad)}" '
        f'velocity="{joint.velocity_rad_s}" effort="10"/></joint>'
        for i, joint in enumerate(robot.joints)
    )
    return f'<robot name="arm"><link name="base"/>{joints}</robot>'


def test_a_urdf_that_disagrees_keeps_the_arm_at_rest(adapted: RunningGraph) -> None:
    client = adapted.client
    publisher = client.node.create_publisher(String, '/robot_description', LATCHED)
    publisher.publish(String(data=make_urdf(adapted.robot, lambda upper: upper - 0.5)))
    client.wait(
        lambda: client.values('guard/state')['state'] == 'waiting', PATIENCE_S, 'the guard'
    )
    assert 'panda_joint1' in client.states['guard/state'].message
    adapted.loop.new_layout()
    with pytest.raises(MilError, match=r"the guard is in state 'waiting' .*panda_joint1"):
        client.trigger('/control/start')
    publisher.publish(String(data=make_urdf(adapted.robot, lambda upper: upper)))
    client.wait(lambda: client.values('guard/state')['state'] == 'ready', PATIENCE_S, 'the guard')
    start(adapted)
    stop(adapted)
    client.node.destroy_publisher(publisher)


def test_a_person_may_stop_the_policy_by_hand(adapted: RunningGraph) -> None:
    teleop = adapted.client.node.create_publisher(JointJog, '/teleop/joint_jog', COMMAND)
    start(adapted)
    names = list(adapted.robot.joint_names)
    timer = adapted.client.node.create_timer(
        0.02, lambda: teleop.publish(JointJog(joint_names=names, velocities=[0.0] * len(names)))
    )
    adapted.wait_until_resting()
    assert adapted.client.values('guard/state')['state'] == 'teleop'
    adapted.client.node.destroy_timer(timer)
    adapted.client.node.destroy_publisher(teleop)
    adapted.spin_until(
        lambda: adapted.client.values('guard/state')['state'] != 'teleop', 'the person to let go'
    )
    stop(adapted)


def test_a_dry_run_shows_where_it_would_go_and_moves_nothing(adapted: RunningGraph) -> None:
    client, paths = adapted.client, []
    client.set_parameter('control', 'dry_run', True)
    seen = client.node.create_subscription(
        JointTrajectory, '/control/preview_trajectory', paths.append, NEWEST
    )
    adapted.loop.new_layout()
    client.trigger('/control/start')
    client.wait(lambda: len(paths) > 5, PATIENCE_S, 'the preview')
    assert adapted.measure_speed(20) < 0.01
    client.trigger('/control/stop')
    first, last = paths[-1].points[0], paths[-1].points[-1]
    assert list(paths[-1].joint_names) == list(adapted.robot.joint_names)
    assert last.time_from_start.sec == 1
    for begin, end, velocity in zip(first.positions, last.positions, first.velocities):
        assert end - begin == pytest.approx(velocity, abs=1e-6)
    client.node.destroy_subscription(seen)
    client.set_parameter('control', 'dry_run', False)
