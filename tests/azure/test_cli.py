"""`labkit up`, `down` and `reap` as a person would type them."""

import json
import os
import stat
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from labkit.cli import arms
from labkit.errors import OwnershipError, ParameterError, ParityError, PlanError, ProvisionError
from tests.azure.conftest import BEFORE_AFTER, ENVIRON, NOW, SUBSCRIPTION, TWO_ARMS, pace

APP = typer.Typer()
arms.register(APP)


@pytest.fixture
def outside(options, tmp_path):
    environ = {**ENVIRON, "PATH": "", "HOME": str(tmp_path / "home")}
    return arms.Outside({**options}, environ, pace())


@pytest.fixture
def run(outside, tmp_path):
    """Runs a command in a folder with a plan; its folder of state is `run`."""
    plan = tmp_path / "plan.toml"
    plan.write_text(TWO_ARMS)

    def command(name, *words, answer="", obj=outside):
        asked = [name, *words]
        if name != "reap":
            asked += ["--plan", str(plan), "--folder", str(tmp_path / "run")]
        return CliRunner().invoke(APP, asked, obj=obj, input=answer)

    command.plan = plan
    command.folder = tmp_path / "run"
    return command


def test_a_dry_run_sends_nothing(arm, run):
    done = run("up", "--dry-run")
    assert done.exit_code == 0, done.exception
    assert arm.seen == []
    assert not run.folder.exists()
    assert "nothing was sent" in done.stdout
    assert SUBSCRIPTION not in done.stdout


def test_a_dry_run_prints_what_up_sends(arm, run):
    told = json.loads(run("up", "--dry-run", "--json").stdout)
    assert run("up").exit_code == 0
    sent = [*arm.sent("put group"), *arm.sent("put cluster")]
    assert [
        (r["method"], r["path"].format(subscription=SUBSCRIPTION), r["api_version"], r["body"])
        for r in told["requests"]
    ] == [(s.method, s.path, s.api_version, s.body) for s in sent]


def test_the_estimate_counts_hours_and_invents_no_price(run):
    told = json.loads(run("up", "--dry-run", "--json").stdout)
    assert [(e["arm"], e["node_hours"], e["cost"], e["lacks"]) for e in told["estimate"]] == [
        ("overlay", 24.0, None, "prices.node"),
        ("cilium", 24.0, None, "prices.node"),
    ]
    assert "cost: unknown, for want of prices" in run("up", "--dry-run").stdout
    run.plan.write_text(TWO_ARMS + '[prices]\ncurrency = "EUR"\nnode = 0.25\n')
    assert "cost: 12.00 EUR" in run("up", "--dry-run").stdout
    assert all(sentence for sentence in told["assumptions"])


def test_up_then_down(arm, run):
    done = run("up")
    assert done.exit_code == 0, done.exception
    assert (
        "labkit run --arm overlay=live:labkit-cni-overlay --arm cilium=live:labkit-cni-cilium" in done.stdout
    )
    assert "expires 2026-11-23T17:00:00Z" in done.stdout
    assert "cilium: ready, node pool system: Succeeded" in done.stderr
    assert stat.S_IMODE((run.folder / "kubeconfig").stat().st_mode) == 0o600
    done = run("down", "--yes")
    assert done.exit_code == 0, done.exception
    assert done.stdout == "nothing is left\n"
    assert arm.groups == {}


def test_up_as_json(run):
    told = json.loads(run("up", "--json").stdout)
    assert told["contexts"] == {"overlay": "labkit-cni-overlay", "cilium": "labkit-cni-cilium"}
    assert {row["status"] for row in told["parity"]} == {"same", "allowed"}


def test_the_kubeconfig_of_the_person_is_left_alone_unless_asked(run, outside):
    run("up")
    assert not outside.merged.exists()
    run("up", "--merge-kubeconfig")
    assert "labkit-cni-overlay" in outside.merged.read_text()
    assert stat.S_IMODE(outside.merged.stat().st_mode) == 0o600
    run("down", "--yes")
    assert "labkit-cni-overlay" not in outside.merged.read_text()


def test_the_kubeconfig_of_the_person_is_the_first_of_kubeconfig(outside, tmp_path):
    outside.environ["KUBECONFIG"] = os.pathsep.join([str(tmp_path / "first"), str(tmp_path / "second")])
    assert outside.merged == tmp_path / "first"


def test_down_asks_and_shows_what_it_would_delete(arm, run):
    run("up")
    done = run("down", answer="n\n")
    assert done.exit_code == 1
    assert "Microsoft.ContainerService/ManagedClusters" in done.stderr
    assert "labkit-cni" in arm.groups
    assert run("down", answer="y\n").exit_code == 0
    assert arm.groups == {}


def test_down_where_nobody_can_answer_deletes_nothing(arm, run):
    run("up")
    assert run("down").exit_code == 1
    assert "labkit-cni" in arm.groups


def test_what_is_left_is_a_failure_and_is_listed(arm, run):
    run("up")
    arm.fail("delete group", status=409, code="ScopeLocked", message="locked", nth=0)
    done = run("down", "--yes")
    assert done.exit_code == 1
    assert done.stdout.startswith("still there:\nwhat ")
    assert "resource group labkit-cni" in done.stdout


def test_a_difference_in_the_plan_stops_before_anything_is_created(arm, run):
    run.plan.write_text(TWO_ARMS + "nodes = 5\n")
    done = run("up")
    assert isinstance(done.exception, ParityError)
    assert arm.seen == []
    assert run("up", "--allow", "node-count").exit_code == 0
    assert json.loads((run.folder / "state.json").read_text())["about"]["allowed"] == ["node-count"]


def test_allowing_what_is_no_fact_is_misuse(arm, run):
    done = run("up", "--allow", "weather")
    assert isinstance(done.exception, ParameterError)
    assert arm.seen == []


def test_a_difference_that_azure_made_stops_when_the_arms_stand(arm, run):
    """They are told first, since they stand and cost."""
    run("up")
    pool = arm.clusters["labkit-cni", "overlay"]["properties"]["agentPoolProfiles"][0]
    pool["nodeImageVersion"] = "another"
    done = run("up")
    assert isinstance(done.exception, ParityError)
    assert "labkit-cni-overlay" in done.stdout
    assert run("up", "--allow", "node image").exit_code == 0


def test_move_says_so_and_asks(arm, run):
    run.plan.write_text(BEFORE_AFTER)
    told = run("up")
    assert "measure that first, then `labkit up --move after`" in told.stdout
    done = run("up", "--move", "after", answer="n\n")
    assert done.exit_code == 1
    assert "cannot be undone" in done.stderr
    assert len(arm.sent("put cluster")) == 1
    done = run("up", "--move", "after", "--yes")
    assert done.exit_code == 0, done.exception
    assert "cannot be undone" in done.stderr
    assert len(arm.sent("put cluster")) == 2


def test_ctrl_c_says_that_azure_goes_on(arm, run, outside):
    def pressed(_seconds):
        raise KeyboardInterrupt

    arm.polls = 50
    done = run(
        "up", obj=arms.Outside(outside.options, outside.environ, arms.Pace(wait=pressed, now=lambda: NOW))
    )
    assert done.exit_code == 130
    assert "the same command continues, `labkit down` removes" in done.stderr
    assert run("down", "--yes").exit_code == 0
    assert arm.groups == {}


def test_reap_shows_and_removes_what_has_expired(arm, run, outside):
    run("up")
    plan = ["--plan", str(run.plan)]
    done = run("reap", *plan)
    assert done.exit_code == 0, done.exception
    assert "labkit-cni" in done.stderr
    assert done.stdout == "nothing is left\n"
    later = arms.Outside(outside.options, outside.environ, pace(now=NOW.replace(hour=20)))
    assert run("reap", *plan, obj=later, answer="n\n").exit_code == 1
    assert "labkit-cni" in arm.groups
    done = run("reap", *plan, "--yes", obj=later)
    assert done.stdout == "removed: labkit-cni; nothing of it is left\n"
    assert arm.groups == {}


def test_reap_needs_no_plan(arm, run, outside):
    run("up")
    later = arms.Outside(outside.options, outside.environ, pace(now=NOW.replace(hour=20)))
    assert run("reap", "--owner", "ada", "--yes", obj=later).exit_code == 0
    assert arm.groups == {}


def test_reap_without_a_subscription_is_misuse(run, outside):
    nowhere = arms.Outside(outside.options, {"PATH": ""}, pace())
    assert isinstance(run("reap", obj=nowhere).exception, ParameterError)


def test_a_group_of_somebody_else_is_refused(arm, run):
    arm.add_group("labkit-cni", {"environment": "production"})
    for command in (("up",), ("down", "--yes")):
        assert isinstance(run(*command).exception, OwnershipError)
    assert {seen.method for seen in arm.seen} == {"GET"}


def test_without_a_subscription_one_can_plan_and_not_send(arm, run, outside):
    nowhere = arms.Outside(outside.options, {"PATH": ""}, pace())
    assert run("up", "--dry-run", obj=nowhere).exit_code == 0
    for command in (("up",), ("down", "--yes")):
        assert isinstance(run(*command, obj=nowhere).exception, ParameterError)
    assert arm.seen == []


def test_a_plan_that_is_wrong_is_misuse(arm, run):
    run.plan.write_text('name = "cni"\n[arms.overlay]\n')
    assert isinstance(run("up").exception, PlanError)
    assert arm.seen == []


def test_a_failure_tells_what_exists(arm, run):
    arm.fail(
        "put cluster",
        status=400,
        code="ErrCode_InsufficientVCPUQuota",
        message="Insufficient vcpu quota",
        nth=2,
    )
    done = run("up")
    assert isinstance(done.exception, ProvisionError)
    assert "exists now, and costs: resource group labkit-cni, cluster overlay (Succeeded)" in str(
        done.exception
    )


def test_the_commands_load_nothing_heavy():
    code = "import sys, labkit.cli.arms; print([m for m in ('azure', 'pandas', 'yaml', 'rich') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
