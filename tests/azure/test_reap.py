"""What has expired is shown first, and only what is one's own is removed."""

from datetime import timedelta

import pytest

from labkit.azure.down import groups, reap, to_remove
from labkit.azure.up import up
from tests.azure.conftest import HEAD, NOW, Heard, pace, plan_of

LATER = NOW + timedelta(hours=9)  # a plan lives for 8 by default


@pytest.fixture
def standing(arm, clients, plan, state):
    up(plan, clients, state, Heard(), pace())
    arm.add_group(
        "labkit-bobs", {"labkit": "0.1.0", "run": "bobs", "owner": "bob", "expiry": "2026-11-23T10:00:00Z"}
    )
    arm.add_group("labkit-odd", {"labkit": "0.1.0", "run": "odd", "owner": "ada", "expiry": "next week"})
    arm.add_group("production", {"owner": "ada"})
    return arm


@pytest.mark.usefixtures("standing")
def test_every_group_with_our_tags_is_shown(clients):
    shown = groups(clients, "ada", NOW).set_index("group")["status"].to_dict()
    assert shown == {
        "labkit-cni": "alive",
        "MC_labkit-cni_cilium_westeurope": "alive",
        "MC_labkit-cni_overlay_westeurope": "alive",
        "labkit-bobs": "someone else's",
        "labkit-odd": "not readable",
    }


@pytest.mark.usefixtures("standing")
def test_before_its_expiry_nothing_is_removed(clients):
    assert to_remove(groups(clients, "ada", NOW)).empty


def test_what_has_expired_is_removed_with_its_managed_groups(standing, clients):
    chosen = to_remove(groups(clients, "ada", LATER))["group"].tolist()
    assert chosen == ["labkit-cni"]
    assert reap(chosen, clients, "ada", Heard(), pace(now=LATER)) == []
    assert sorted(standing.groups) == ["labkit-bobs", "labkit-odd", "production"]


def test_a_group_that_got_a_new_expiry_after_it_was_shown_is_kept(standing, clients):
    chosen = to_remove(groups(clients, "ada", LATER))["group"].tolist()
    standing.groups["labkit-cni"]["tags"]["expiry"] = "2027-01-01T00:00:00Z"
    assert reap(chosen, clients, "ada", Heard(), pace(now=LATER)) == []
    assert "labkit-cni" in standing.groups


def test_somebody_elses_is_not_removed_even_when_it_is_named(standing, clients):
    assert reap(["labkit-bobs", "production"], clients, "ada", Heard(), pace(now=LATER)) == []
    assert {"labkit-bobs", "production"} <= set(standing.groups)


def test_an_orphan_of_an_expired_run_is_removed(standing, clients):
    del standing.groups["labkit-cni"]
    standing.clusters.clear()
    chosen = to_remove(groups(clients, "ada", LATER))["group"].tolist()
    assert len(chosen) == 2
    assert reap(chosen, clients, "ada", Heard(), pace(now=LATER)) == []
    assert standing.tagged() == ["labkit-bobs", "labkit-odd"]


def test_two_expired_runs_are_both_removed(standing, clients, tmp_path, state):
    other = plan_of(HEAD.replace('"cni"', '"second"') + "[arms.cilium]\n")
    up(other, clients, type(state).open(tmp_path / "second", other), Heard(), pace())
    chosen = to_remove(groups(clients, "ada", LATER))["group"].tolist()
    assert chosen == ["labkit-cni", "labkit-second"]
    assert reap(chosen, clients, "ada", Heard(), pace(now=LATER)) == []
    assert standing.tagged() == ["labkit-bobs", "labkit-odd"]
