"""The recorder over DDS: what is recorded, what is refused, what is reported, what survives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticStatus
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
import numpy as np
import pytest
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rig import Driver, Rig
from rosbags.interfaces import ConnectionExtRosbag2, Qos, QosDurability, QosReliability
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image, Joy
from std_msgs.msg import String

from mil_ros.core.robot import RobotDescription
from mil_ros.data.baseline import count_with_rosbags
from mil_ros.data.episode import load_demo, read_provenance
from mil_ros.data.inspection import read_quality, read_times
from mil_ros.data.messages import deserialize, stamp_ns
from mil_ros.data.repair import repair_episode
from mil_ros.ros.node import LATCHED

pytestmark = pytest.mark.ros

IMAGE, JOINTS = '/camera/image_raw', '/joint_states'


@pytest.fixture(scope='module')
def running(
    tmp_path_factory: pytest.TempPathFactory, tiny_robot_file: Path, tiny_robot: RobotDescription
) -> Iterator[Rig]:
    directory = tmp_path_factory.mktemp('recorder') / 'episodes'
    rig = Rig(tiny_robot_file, tiny_robot, directory)
    try:
        yield rig
    finally:
        rig.close()


@pytest.fixture
def rig(running: Rig) -> Rig:
    """The one rig, with nothing being recorded and all streams alive."""
    running.settle()
    return running


# --- What is recorded ------------------------------------------------------------------------


def test_an_episode_holds_what_came_before_and_after_the_call(rig: Rig) -> None:
    description = rig.node.create_publisher(String, '/robot_description', LATCHED)
    description.publish(String(data='<robot/>'))
    rig.wait(lambda: rig.value('/robot_description') == 'OK', 'the latched topic')
    rig.wait(lambda: rig.value('/robot_description') == 'IDLE', 'it to be old')
    rig.wait_for_messages(250)
    asked_ns = time.time_ns()
    path = rig.start()
    rig.wait_for_messages(150)
    is_saved, answer = rig.call('stop')
    rig.node.destroy_publisher(description)
    assert is_saved, answer
    assert answer.startswith(f'Saved {path}: ')

    counts = count_with_rosbags(path)
    assert counts[JOINTS] >= 150
    assert counts[IMAGE] >= 50
    assert counts['/robot_description'] == 1
    for stream in read_times(path).streams:
        assert stream.received_ns[0] < asked_ns, stream.topic
    assert_readers_agree(path)
    rig.wait(lambda: rig.announced == [str(path)], 'the announcement')


def assert_readers_agree(path: Path) -> None:
    """Compare message for message what independent readers find, and what they make of it."""
    (file,) = path.glob('*.mcap')
    with Reader(path) as reader, file.open('rb') as stream:
        mcap = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for (connection, log_ns, data), decoded in zip(
            reader.messages(), mcap.iter_decoded_messages(), strict=True
        ):
            message = decoded.message
            assert (connection.topic, log_ns) == (decoded.channel.topic, message.log_time)
            assert data == message.data
            ours, theirs = deserialize(data, connection.msgtype), decoded.decoded_message
            if connection.topic == JOINTS:
                assert list(ours.name) == list(theirs.name)
                assert ours.position.tolist() == list(theirs.position)
            elif connection.topic == IMAGE:
                assert stamp_ns(ours.header) == stamp_ns(theirs.header)
                assert ours.data.tobytes() == bytes(theirs.data)


def test_bag_knows_types_and_offered_qos(rig: Rig) -> None:
    path = rig.start()
    rig.wait_for_messages(10)
    rig.call('stop')

    def offered(topic: str) -> Qos:
        extension = found[topic].ext
        assert isinstance(extension, ConnectionExtRosbag2)
        (qos,) = extension.offered_qos_profiles
        return qos

    with Reader(path) as reader:
        found = {c.topic: c for c in reader.connections}
    assert offered(IMAGE).reliability == QosReliability.BEST_EFFORT
    assert offered(JOINTS).reliability == QosReliability.RELIABLE
    assert offered(JOINTS).durability == QosDurability.VOLATILE
    assert found[IMAGE].digest.startswith('RIHS01_')


def test_labels_and_outcome_are_kept(rig: Rig) -> None:
    path = rig.start()
    rig.wait_for_messages(150)
    rig.call('stop')
    assert rig.call('mark_failure') == (True, f'Marked {path} as failure.')
    assert rig.call('mark_success') == (True, f'Marked {path} as success.')
    found = read_provenance(path)
    assert (found['task'], found['operator'], found['outcome']) == ('reach red', 'Ada', 'success')
    assert path.name.endswith('_reach_red')
    assert read_quality(found)['motion_rad'] > 0.1


def test_an_arm_that_nobody_commands_is_a_demonstration(rig: Rig) -> None:
    """Led by hand: the driver publishes positions alone, and nobody publishes commands."""
    path = rig.start()
    rig.wait_for_messages(150)
    assert rig.call('stop')[0]
    assert read_provenance(path)['action_source'] == 'measured'
    robot = rig.robot
    patient = replace(  # a busy machine holds messages up
        robot,
        camera=replace(robot.camera, max_age_s=5.0),
        joint_states=replace(robot.joint_states, max_age_s=5.0),
    )
    demo = load_demo(path, patient)
    assert demo.action_source == 'measured'
    assert len(demo) >= 10
    assert np.abs(demo.joint_velocities).max() > 0.2


def test_many_cycles_give_as_many_good_bags(rig: Rig) -> None:
    for _ in range(10):
        asked_ns = time.time_ns()
        path = rig.start()
        rig.wait_for_messages(10)
        assert rig.call('stop')[0]
        assert {IMAGE, JOINTS} <= set(count_with_rosbags(path))
        assert read_times(path).start_ns < asked_ns


def test_a_discarded_episode_is_set_aside(rig: Rig) -> None:
    path = rig.start()
    rig.wait_for_messages(10)
    is_done, answer = rig.call('discard')
    assert is_done
    assert f'{path}.discarded' in answer
    assert not path.exists()
    assert rig.announced == []


# --- What is refused -------------------------------------------------------------------------


def test_a_second_start_is_refused(rig: Rig) -> None:
    path = rig.start()
    assert rig.call('start') == (
        False,
        f'Already recording {path.name}; call /recorder/stop or /recorder/discard first.',
    )


def test_a_required_topic_that_nobody_publishes_is_named(rig: Rig) -> None:
    rig.driver.close()
    try:
        rig.expect_refusal(
            'Recording refused: nobody publishes /camera/image_raw, expected '
            'sensor_msgs/msg/Image 30 times a second; start the camera or the driver, or correct '
            'the topics of the robot file.',
            is_known=False,  # it takes a moment to be noticed
        )
    finally:
        rig.driver = Driver(rig.node, rig.robot)


def test_a_required_topic_that_is_silent_is_named(rig: Rig) -> None:
    rig.driver.joints_on = False
    rig.wait(lambda: float(rig.value(f'{JOINTS} age_s')) > 1.1, 'more than a short stall')
    answer = rig.expect_refusal('Recording refused: nothing came on /joint_states for ')
    assert answer.endswith(
        's from its 1 publishers, expected sensor_msgs/msg/JointState 100 times a second; check '
        'that they run.'
    )


def test_a_topic_of_another_type_is_named(rig: Rig) -> None:
    context = rclpy.Context()  # one participant may not have two types for a topic
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    other = Node('other', context=context)
    other.create_publisher(String, IMAGE, 10)
    rig.wait(lambda: len(rig.node.get_publishers_info_by_topic(IMAGE)) == 2, 'the publisher')
    try:
        rig.expect_refusal(
            'Recording refused: /camera/image_raw is published as std_msgs/msg/String, expected '
            'sensor_msgs/msg/Image; correct the topics of the robot file or the publisher.',
            is_known=False,  # it takes a moment to be discovered
        )
    finally:
        other.destroy_node()
        rclpy.shutdown(context=context)


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'zero_stamps': True}, '/camera/image_raw has 1 of 1 messages stamped zero; expected'),
        ({'image_lag_s': 3600.0}, '/camera/image_raw is stamped 360'),
        ({'encoding': 'thermal'}, "/camera/image_raw: Image encoding 'thermal' cannot be turned"),
        ({'size': (30, 40)}, '/camera/image_raw brings images of 40x30, the robot file expects'),
        (
            {'names': [f'ur5e_joint{i}' for i in range(7)]},
            "/joint_states has 7 values for joints ['ur5e_joint0', ",
        ),
    ],
)
def test_messages_that_cannot_be_used_are_refused(
    rig: Rig, change: dict[str, object], sentence: str
) -> None:
    for name, value in change.items():
        setattr(rig.driver, name, value)
    rig.wait_for_messages(250)  # until nothing else is in the pre-roll any more
    rig.expect_refusal(f'Recording refused: {sentence}')


def test_a_folder_that_cannot_be_written_is_named(rig: Rig) -> None:
    kept = rig.directory.with_name('kept')
    rig.directory.rename(kept)
    rig.directory.write_text('in the way')
    try:
        answer = rig.expect_refusal(f'Cannot write to {rig.directory}/')
        assert answer.endswith('choose a writable folder with the parameter `directory`.')
    finally:
        rig.directory.unlink()
        kept.rename(rig.directory)


@pytest.mark.parametrize(
    ('parameter', 'sentence'),
    [
        ('preroll_s:=60.0', 'Parameter preroll_s of node recorder is 60.0; expected a number'),
        ('queue_mb:=much', "Parameter queue_mb of node recorder is 'much'; expected a whole"),
        ('topics:=all', 'Parameter topics cannot be used ('),
        ('compression:=gzip', "Parameter compression is 'gzip'; expected one of ['', 'lz4', 'zs"),
        ('joy_stop_button:=7', "Two actions share a button: {'start': 7, 'stop': 7}"),
    ],
)
def test_a_wrong_parameter_is_one_sentence(parameter: str, sentence: str) -> None:
    command = [sys.executable, '-m', 'mil_ros.ros.recorder_node', '--ros-args']
    command += ['-p', 'joy_start_button:=7', '-p', parameter]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert sentence in ended.stderr
    assert 'Traceback' not in ended.stderr


# --- What is reported ------------------------------------------------------------------------


def test_status_tells_of_every_topic(rig: Rig) -> None:
    def is_steady() -> bool:  # a driver that was held up hurries for a while
        is_ok = {rig.value(topic) for topic in (JOINTS, IMAGE)} == {'OK'}
        return is_ok and 80.0 < float(rig.value(f'{JOINTS} rate_hz')) < 120.0

    rig.wait(is_steady, 'full rates')
    assert rig.status.level == DiagnosticStatus.OK
    assert rig.status.message == 'READY'
    assert float(rig.value(f'{IMAGE} age_s')) <= 0.5
    assert rig.value(f'{IMAGE} dropped') == '0'
    assert rig.value('/teleop/joint_jog') == 'IDLE'
    count = len(rig.statuses)
    rig.wait(lambda: len(rig.statuses) > count + 2, 'more of them')


def let_images_stall(rig: Rig) -> float:
    """Return how old the newest image was when its absence was reported, in s."""
    rig.wait(lambda: rig.value(IMAGE) in ('OK', 'SLOW'), 'images')
    rig.statuses.clear()
    rig.driver.images_on = False
    rig.wait(lambda: rig.value(IMAGE) == 'STALLED', 'the stall')
    (first, *_) = [s for s in rig.statuses if '/camera/image_raw is STALLED' in s.message]
    assert first.level == DiagnosticStatus.ERROR
    rig.driver.images_on = True
    return float({v.key: v.value for v in first.values}[f'{IMAGE} age_s'])


def test_a_stalled_topic_is_reported_within_a_second_and_fails_the_verdict(rig: Rig) -> None:
    path = rig.start()
    rig.wait_for_messages(100)
    # A machine that is busy may hold up the report too; it will not do so each time.
    ages_s = [let_images_stall(rig)]
    while ages_s[-1] >= 1.0 and len(ages_s) < 5:
        ages_s.append(let_images_stall(rig))
    assert 0.5 <= ages_s[-1] < 1.0, ages_s
    rig.wait(lambda: rig.value(IMAGE) != 'STALLED', 'the recovery')
    is_saved, answer = rig.call('stop')
    assert is_saved, 'a rejected episode is saved all the same'
    assert 'Verdict reject because ' in answer
    assert 'nothing came on /camera/image_raw for ' in answer
    assert read_provenance(path)['verdict'] == 'reject'


def test_a_publisher_whose_qos_cannot_match_fails_the_verdict(rig: Rig) -> None:
    path = rig.start()
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = rig.node.create_publisher(rig.driver.joints.msg_type, JOINTS, best_effort)
    rig.wait_for_messages(200)
    _, answer = rig.call('stop')
    rig.node.destroy_publisher(other)
    sentence = (
        "/joint_states: node 'rig' offers BEST_EFFORT, VOLATILE, expected RELIABLE, VOLATILE as "
        'its other publishers do; nothing comes from it. Give all publishers of a topic the same '
        'QoS.'
    )
    assert sentence in answer
    assert sentence in read_quality(read_provenance(path))['reasons']


def test_joystick_buttons_start_stop_and_discard(rig: Rig) -> None:
    joystick = rig.node.create_publisher(Joy, '/pad', 10)
    rig.wait(lambda: joystick.get_subscription_count() == 1, 'the recorder')

    def press(button: int, state: str) -> None:
        held, times = Joy(buttons=[int(i == button) for i in range(3)]), count(1)

        def is_done() -> bool:
            # A busy machine may refuse: then it is let go and pressed again, as a person would.
            joystick.publish(held if next(times) % 100 else Joy(buttons=[0, 0, 0]))
            return rig.state == state

        rig.wait(is_done, state)
        for _ in range(10):  # held, which must not act again
            joystick.publish(held)
            rig.wait_for_messages(2)
        joystick.publish(Joy(buttons=[0, 0, 0]))
        rig.wait_for_messages(20)
        assert rig.state == state

    joystick.publish(Joy(buttons=[0, 0, 0]))
    rig.wait_for_messages(20)
    discarded = len(list(rig.directory.glob('*.discarded')))
    press(0, 'RECORDING')
    press(1, 'READY')
    rig.wait(lambda: len(rig.announced) == 1, 'the announcement')
    press(0, 'RECORDING')
    press(2, 'READY')
    rig.node.destroy_publisher(joystick)
    assert len(list(rig.directory.glob('*.discarded'))) == discarded + 1
    assert len(rig.announced) == 1


# --- What survives ---------------------------------------------------------------------------


@pytest.fixture
def small_disk(rig: Rig) -> Iterator[Path]:
    """A file system of 50 MB where episodes go, where one may be mounted."""
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=50m', 'tmpfs', str(rig.directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip('only root may mount a small file system')
    yield rig.directory
    subprocess.run(['umount', '-l', str(rig.directory)], check=True)


def test_a_disk_that_fills_up_ends_the_episode_readable_and_the_node_alive(
    rig: Rig, small_disk: Path
) -> None:
    big = rig.node.create_publisher(Image, '/big', 10)
    rig.wait(lambda: '/big' in {v.key for v in rig.status.values}, 'the large topic')
    path = rig.start()
    message = Image()
    message.data.frombytes(bytes(1_000_000))
    while rig.status.level != DiagnosticStatus.ERROR:
        big.publish(message)
        rig.wait_for_messages(2)
    rig.node.destroy_publisher(big)
    assert 'No space left on device' in rig.status.message
    is_saved, answer = rig.call('stop')
    assert not is_saved
    assert answer.startswith(f'Episode {path} is incomplete: writing failed after ')
    assert count_with_rosbags(path)['/big'] > 10
    quality = read_quality(read_provenance(path))
    assert quality['verdict'] == 'reject'
    assert quality['streams']['/big']['dropped'] > 0
    assert rig.announced == []

    for file in path.iterdir():
        file.unlink()
    rig.wait_for_messages(300)  # until nothing large is in the pre-roll any more
    again = rig.start()
    rig.wait_for_messages(50)
    assert rig.call('stop')[0]
    assert count_with_rosbags(again)


def test_a_killed_recorder_leaves_an_episode_that_can_be_repaired(rig: Rig) -> None:
    """The last test: it leaves no recorder behind."""
    path = rig.start()
    rig.wait_for_messages(150)
    killed_ns = time.time_ns()
    rig.recorder.send_signal(signal.SIGKILL)
    rig.recorder.wait()
    report = repair_episode(path)
    assert count_with_rosbags(path) == report.counts
    assert (killed_ns - read_times(path).end_ns) / 1e9 < 1.0
    assert read_provenance(path)['robot'] == rig.robot.name
