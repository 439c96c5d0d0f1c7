"""Services as entries of maps."""

import struct

import pytest

from labkit.errors import ProvisionError
from labkit.netns.ebpf import layout
from labkit.netns.ebpf.services import Services, arranged, ports_of
from tests.netns.ebpf_lab import endpoint_slice, service

PORTS = [(80, 8080, "TCP"), (53, 53, "UDP")]


@pytest.mark.parametrize(
    ("before", "wanted", "after"),
    [
        ([], ["b", "a"], ["a", "b"]),
        (["a", "b"], ["c", "b", "a"], ["a", "b", "c"]),
        (["a", "b", "c"], ["b", "c"], ["c", "b"]),  # the last one moves into the hole
        (["a", "b"], ["c", "b"], ["c", "b"]),
        (["a"], [], []),
    ],
)
def test_backends_keep_their_slots(before, wanted, after):
    assert arranged(before, wanted) == after


def test_entries_of_a_service():
    found = Services("node-1").entries(
        ports_of(
            [service("s", "10.0.0.7", PORTS)], [endpoint_slice("s", ["10.244.0.2", "10.244.1.2"], PORTS)]
        )
    )
    assert {name: len(entries) for name, entries in found.items()} == {"backends": 4, "services": 2}
    number, backends, affinity_s = struct.unpack(
        "=III", found["services"][layout.frontend("10.0.0.7", 80, 6)]
    )
    assert (backends, affinity_s) == (2, 0)
    assert found["backends"][layout.slot(number, 1)] == layout.backend("10.244.1.2", 8080)


def test_a_service_without_endpoints_is_known_too_and_a_headless_one_is_not():
    found = Services("node-1").entries(
        ports_of([service("s", "10.0.0.7", PORTS), service("headless", "None", PORTS)], [])
    )
    assert [struct.unpack("=III", value)[1] for value in found["services"].values()] == [0, 0]


def test_local_traffic_policy_keeps_to_the_node_and_affinity_has_its_time():
    ips = ["10.244.0.2", "10.244.1.2"]
    pieces = [endpoint_slice("s", ips, PORTS, {ips[0]: "node-1", ips[1]: "node-2"})]
    local = service("s", "10.0.0.7", PORTS, internalTrafficPolicy="Local", sessionAffinity="ClientIP")
    found = Services("node-2").entries(ports_of([local], pieces))
    assert set(found["backends"].values()) == {layout.backend(ips[1], 8080), layout.backend(ips[1], 53)}
    assert {struct.unpack("=III", value)[2] for value in found["services"].values()} == {10800}


def test_numbers_stay_and_are_not_given_again():
    mine = Services("node-1")
    first, second = service("a", "10.0.0.1", PORTS), service("b", "10.0.0.2", PORTS)
    before = mine.entries(ports_of([first, second], []))["services"]
    alone = mine.entries(ports_of([second], []))["services"]
    assert alone.items() < before.items()
    after = mine.entries(ports_of([first, second], []))["services"]
    numbers = [struct.unpack("=III", value)[0] for value in {*before.values(), *after.values()}]
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6]


def test_what_has_no_room_is_refused_with_its_numbers():
    full = {"services": dict.fromkeys(map(str.encode, map(str, range(layout.CAPACITY["services"] + 1))), b"")}
    with pytest.raises(ProvisionError, match="services of node-1 has room for 65536 entries, 65537"):
        layout.check_room("node-1", full)
