"""What a lab needs of the machine is named before anything is made."""

import json
import subprocess
import sys

import pytest

from labkit.netns.needs import missing
from labkit.netns.topology import TOPOLOGIES
from tests.netns.conftest import require

SHOW = (
    "import json; from labkit.netns.needs import missing; from labkit.netns.topology import TOPOLOGIES; "
    "print(json.dumps([[n.what, n.why, n.remedy] for n in missing(TOPOLOGIES['vxlan'])]))"
)


def where(hide):
    """What is missing for `vxlan` in a mount namespace of its own where something is hidden."""
    script = f'{hide}; exec "$0" -c "$1"'
    argv = ["unshare", "--mount", "--net", "sh", "-ec", script, sys.executable, SHOW]
    return json.loads(subprocess.run(argv, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("topology", ["vxlan", "routed"])
def test_a_machine_that_has_all(topology):
    require(topology)
    assert missing(TOPOLOGIES[topology]) == []


def test_a_program_that_is_not_there():
    require("vxlan")
    hide = 'for one in $(which -a iperf3 dig); do mount --bind /dev/null "$one"; done'
    assert where(hide) == [
        ["the program iperf3", "to measure throughput", "apt-get install iperf3"],
        ["the program dig", "to ask for names", "apt-get install bind9-dnsutils"],
    ]


def test_a_feature_that_does_not_work():
    require("vxlan")
    hide = "mount --bind /dev/null $(find /usr/lib -name libxt_statistic.so)"
    ((what, why, remedy),) = where(hide)
    assert (what, why) == ("the kernel feature iptables statistic", "for the choice of a backend")
    assert remedy.startswith("this must work as root: iptables -t nat -A OUTPUT -m statistic")
