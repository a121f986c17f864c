"""Least privilege on paper, and code that neither runs data nor listens to the network."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import re
from xml.etree import ElementTree

import pytest
from sros2_policy import COMMON, Endpoints, PATH, PREFIX, read_document, read_rights

from mil_ros.bringup import NODES
from mil_ros.core.resources import share_dir
from mil_ros.core.robot import load_robot

ROOT = Path(__file__).parent.parent
ROBOTS = sorted(path.stem for path in (share_dir() / 'config' / 'robots').glob('*.yaml'))
RIGHTS = read_rights()
OPERATOR = RIGHTS['operator']
NODE_RIGHTS = {name: rights for name, rights in RIGHTS.items() if name != 'operator'}

# What the tools of SROS2 accept: parent -> children, attributes that must be there, and may be
CHILDREN = {
    'policy': ({'enclaves'}, {'version'}, set()),
    'enclaves': ({'enclave'}, set(), set()),
    'enclave': ({'profiles'}, {'path'}, set()),
    'profiles': ({'profile'}, set(), set()),
    'profile': ({'topics', 'services'}, {'ns', 'node'}, set()),
    'topics': ({'topic'}, set(), {'publish', 'subscribe'}),
    'services': ({'service'}, set(), {'reply', 'request'}),
    'topic': (set(), set(), set()),
    'service': (set(), set(), set()),
}


# --- The policy ------------------------------------------------------------------------------


def who_may(verb: str, name: str) -> set[str]:
    return {enclave for enclave, rights in RIGHTS.items() if name in getattr(rights, verb)}


def granted_by(verb: str, enclaves: dict[str, Endpoints] = NODE_RIGHTS) -> set[str]:
    return {name for rights in enclaves.values() for name in getattr(rights, verb)}


def test_policy_has_the_form_that_sros2_reads() -> None:
    root = read_document()
    assert (root.tag, root.get('version')) == ('policy', '0.2.0')
    for element in root.iter():
        children, required, optional = CHILDREN[element.tag]
        assert {child.tag for child in element} <= children, element.tag
        assert bool(children) == bool(len(element)), f'<{element.tag}> is empty'
        assert required <= set(element.attrib) <= required | optional, element.attrib
        if optional:
            assert set(element.attrib.values()) == {'ALLOW'}, 'rights are granted by name alone'


def test_no_comment_stands_where_sros2_expects_an_enclave() -> None:
    builder = ElementTree.TreeBuilder(insert_comments=True)
    root = ElementTree.parse(PATH, ElementTree.XMLParser(target=builder)).getroot()
    (enclaves,) = root.iter('enclaves')
    assert {child.tag for child in enclaves} == {'enclave'}  # a comment would have no path


def names_in_policy() -> list[ElementTree.Element]:
    root = read_document()
    return [*root.iter('topic'), *root.iter('service')]


def test_policy_has_no_wildcard_and_no_relative_name() -> None:
    assert len(names_in_policy()) > 100
    for element in names_in_policy():
        assert re.fullmatch(r'~?(/[A-Za-z_]\w*)+', str(element.text)), element.text


def test_no_right_is_granted_twice() -> None:
    for profile in read_document().iter('profile'):
        rules = [(*sorted(group.attrib), e.text) for group in profile for e in group]
        assert len(rules) == len(set(rules)), profile.attrib


def test_every_node_has_an_enclave_of_its_own_and_people_have_one() -> None:
    nodes = [spec.name for spec in NODES if not spec.is_simulation]
    paths = [enclave.get('path') for enclave in read_document().iter('enclave')]
    assert sorted(map(str, paths)) == sorted(PREFIX + name for name in [*nodes, 'operator'])
    for enclave in read_document().iter('enclave'):
        profiles = [profile.attrib for profile in enclave.iter('profile')]
        if enclave.get('path') != f'{PREFIX}operator':
            name = str(enclave.get('path')).removeprefix(PREFIX)
            assert profiles == [{'ns': '/', 'node': name}]


@pytest.mark.parametrize('robot_name', ROBOTS)
def test_nobody_but_the_guard_commands_any_shipped_arm(robot_name: str) -> None:
    topics = load_robot(robot_name).topics
    assert who_may('publish', topics.command) == {'guard'}
    assert who_may('request', topics.switch_command_type) == {'guard'}
    assert who_may('request', topics.pause_servo) <= {'guard', 'planner'}


@pytest.mark.parametrize('robot_name', ROBOTS)
def test_names_of_every_shipped_robot_file_are_granted(robot_name: str) -> None:
    topics = load_robot(robot_name).topics
    for topic in (topics.joint_states, topics.servo_status):
        assert who_may('subscribe', topic) >= {'guard', 'recorder', 'operator'}
    assert who_may('subscribe', topics.image) >= {'control', 'recorder', 'operator'}
    assert who_may('publish', topics.image) == {'camera'}
    assert 'planner' in who_may('request', topics.pause_servo)


def test_only_people_call_the_services_of_nodes() -> None:
    assert OPERATOR.request >= granted_by('reply') >= {'/guard/estop', '/control/change_state'}
    assert granted_by('request') & granted_by('reply') == set()


def test_people_call_nothing_of_the_arm_that_moves_it() -> None:
    assert OPERATOR.request - granted_by('reply') == {
        '/controller_manager/list_controllers',
        '/servo_node/get_parameters',
    }


def test_every_topic_is_published_by_one_node_alone() -> None:
    shared = COMMON | {'/diagnostics'}
    for topic in granted_by('publish', RIGHTS) - shared:
        assert len(who_may('publish', topic)) == 1, topic


def test_people_publish_what_a_teleoperator_does_and_nothing_else() -> None:
    assert OPERATOR.publish - COMMON == {'/joy', '/teleop/deadman', '/teleop/joint_jog'}


def test_people_may_watch_everything() -> None:
    assert OPERATOR.subscribe == granted_by('publish') | granted_by('subscribe')


def test_common_topics_are_granted_to_all() -> None:
    for name, rights in NODE_RIGHTS.items():
        assert rights.publish >= COMMON, name
        assert '/clock' in rights.subscribe, name


# --- The code --------------------------------------------------------------------------------

# Modules that run what they read, or that listen to the network
RUNS_DATA = {'cloudpickle', 'code', 'dill', 'joblib', 'jsonpickle', 'marshal', 'pickle', 'shelve'}
NETWORK = {
    *('aiohttp', 'asyncio', 'fastapi', 'flask', 'ftplib', 'grpc', 'http', 'paramiko', 'requests'),
    *('selectors', 'socket', 'socketserver', 'ssl', 'telnetlib', 'tornado', 'urllib', 'uvicorn'),
    *('websockets', 'wsgiref', 'xmlrpc', 'zmq'),
}
# Talks to children of its own in pickles, which training and simulation may
CHILDREN_OF_TOOLS = {'multiprocessing'}
FILES = sorted(path for folder in ('mil_ros', 'launch') for path in (ROOT / folder).rglob('*.py'))


def find_risks(source: str, in_tools: bool = False) -> Iterator[str]:
    """Yield what in a module could run data or listen to the network."""
    refused = RUNS_DATA | NETWORK | (set() if in_tools else CHILDREN_OF_TOOLS)
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or '']
        yield from (name for name in names if name.split('.')[0] in refused)
        if isinstance(node, ast.Call):
            yield from find_risky_call(node)


def find_risky_call(call: ast.Call) -> Iterator[str]:
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name in ('eval', 'exec', 'compile', '__import__', 'os.system', 'os.popen'):
        yield name
    if name in ('yaml.load', 'yaml.unsafe_load', 'yaml.full_load', 'yaml.load_all'):
        yield name
    if name == 'torch.load' and given.get('weights_only') != 'True':
        yield name
    if given.get('allow_pickle', 'False') != 'False' or given.get('shell', 'False') != 'False':
        yield name


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_module_neither_runs_data_nor_opens_a_port(path: Path) -> None:
    assert list(find_risks(path.read_text(), 'tools' in path.parts)) == []


@pytest.mark.parametrize(
    'source',
    [
        'import pickle',
        'import numpy, pickle as p',
        'from pickle import loads',
        'import http.server',
        'def f():\n    from socket import create_server',
        'import multiprocessing',
        'eval(text)',
        'x = [exec(line) for line in lines]',
        'np.load(path, allow_pickle=True)',
        'yaml.load(text, Loader=yaml.Loader)',
        'torch.load(path)',
        'torch.load(path, weights_only=False)',
        'subprocess.run(line, shell=True)',
        'os.system(line)',
    ],
)
def test_rule_sees_every_spelling(source: str) -> None:
    assert list(find_risks(source))


@pytest.mark.parametrize(
    'source',
    [
        'graph.eval()',
        'np.load(path, allow_pickle=False)',
        'torch.load(path, weights_only=True)',
        'yaml.safe_load(text)',
        'subprocess.run([name])',
    ],
)
def test_rule_lets_harmless_calls_pass(source: str) -> None:
    assert list(find_risks(source)) == []
