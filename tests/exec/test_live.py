"""The live executor on a fake API server: commands, reads and logs as they come from a cluster."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from labkit.errors import ApiError, ConnectionLost, NoTarget, RequestError
from labkit.exec import Exec, Logs, Read
from tests.kube.cluster import AGENT, TOOLBOX
from tests.kube.execs import NOT_FOUND, PRINTED, V4, V5


def ask(live, *argv, target=TOOLBOX, sample=0):
    return live.run(Exec(step="s", target=target, argv=argv, sample=sample))


def until(is_so, limit_s=10.0):
    end = time.monotonic() + limit_s
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)
    assert is_so()


def test_the_header_names_the_cluster_and_nothing_private(live):
    about = live().about
    assert about["origin"] == "live"
    assert about["note"] == "Kubernetes v1.36.2, 2 nodes."
    assert "127.0.0.1" not in json.dumps(about)


@pytest.mark.parametrize("protocol", [V5, V4])
def test_a_command_has_its_streams_and_exit_code(kube, live, protocol):
    kube.protocols = (protocol,)
    reply = ask(live(), "sh", "-c", "printf '\N{SNOWMAN}\\377'; echo oops >&2; exit 3")
    assert (reply.exit_code, reply.stdout, reply.stderr) == (3, "\N{SNOWMAN}".encode() + b"\xff", b"oops\n")
    assert ask(live(), "true").exit_code == 0


def test_the_client_offers_v5_first(kube, live):
    kube.protocols = ("none",)
    with pytest.raises(ApiError, match="unable to upgrade") as error:
        ask(live(), "true")
    assert error.value.status == 400


def test_an_argv_arrives_as_it_is(live):
    argv = ["a b", "", "'\"$HOME", "x&y=1%20", "\N{SNOWMAN}", "line\nbreak", "-n"]
    out = ask(live(), "printf", r"%s\0", *argv).stdout
    assert out.decode().split("\0")[:-1] == argv


@pytest.mark.parametrize("protocol", [V5, V4])
def test_big_binary_output_is_whole(kube, live, protocol, tmp_path):
    kube.protocols = (protocol,)
    sent = tmp_path / "sent"
    reply = ask(live(), "sh", "-c", 'head -c 20000000 /dev/urandom | tee "$0"', str(sent))
    assert reply.stdout == sent.read_bytes()


def test_many_commands_at_once_do_not_mix(live):
    arm, gate = live(), threading.Barrier(48)

    def one(i):
        gate.wait(20)
        return ask(
            arm, "sh", "-c", f"yes {i} | head -n 20000; exit {i}", target=f"node/node-{i % 2}", sample=i
        )

    with ThreadPoolExecutor(48) as pool:
        replies = list(pool.map(one, range(48)))
    assert [reply.exit_code for reply in replies] == list(range(48))
    assert [reply.stdout for reply in replies] == [f"{i}\n".encode() * 20000 for i in range(48)]


def test_a_node_is_the_analyzer_that_runs_on_it(kube, live):
    arm = live()
    ask(arm, "true", target="node/node-1")
    assert any("pods/network-analyzer-1/exec" in path for _, path in kube.seen)
    kube.replace("cni-lab", "network-analyzer-1")
    assert ask(arm, "echo", "again", target="node/node-1").stdout == b"again\n"
    assert any("pods/network-analyzer-1-2/exec" in path for _, path in kube.seen)
    with pytest.raises(NoTarget, match="no pod of DaemonSet network-analyzer runs on node node-9"):
        ask(arm, "true", target="node/node-9")


@pytest.mark.parametrize(
    "target", ["pod/cni-lab/gone/x", "pod/cni-lab/toolbox-0/gone", "toolbox", "pod/cni-lab"]
)
def test_what_is_not_there_is_no_target(live, target):
    with pytest.raises(NoTarget):
        ask(live(), "true", target=target)
    with pytest.raises(RequestError):
        live().run(Logs(step="s", target=target, tail=1))


KATA = 'exec failed: failed to exec in container: rpc status: message: "the file {} was not found"'
CRUN = "Internal error occurred: error executing command in container: exec failed: executable file `{}` not found"


@pytest.mark.parametrize("target", [TOOLBOX, AGENT])
@pytest.mark.parametrize("said", [NOT_FOUND, PRINTED, KATA, CRUN])
def test_a_missing_program_is_an_exit_code_and_not_silence(kube, live, tmp_path, target, said):
    kube.not_found = said
    kube.backend.image("cilium-agent", tmp_path / "image", "sleep")
    reply = ask(live(), "cilium-dbg", "status", target=target)
    assert (reply.exit_code, reply.stdout) == (127, b"")
    assert b"cilium-dbg" in reply.stderr
    assert b"timeout" not in reply.stderr


def test_reads_and_logs_are_bytes_as_they_come(live):
    listed = json.loads(live().run(Read(step="s", path="/api/v1/namespaces?labelSelector=a%3Db")).stdout)
    assert [one["metadata"]["name"] for one in listed["items"]] == ["cni-lab", "default", "kube-system"]
    assert live().run(Logs(step="s", target=TOOLBOX, tail=1)).stdout == b"last line\n"
    with pytest.raises(ApiError) as error:
        live().run(Read(step="s", path="/apis/cilium.io/v2/ciliumnodes"))
    assert (error.value.status, error.value.reason) == (404, "NotFound")


def test_the_time_limit_ends_the_process_there_too(kube, live):
    arm = live(limit_s=1.0)
    reply = ask(arm, "sh", "-c", "echo begun; sleep 77; echo never", target="node/node-0")
    assert (reply.exit_code, reply.stdout) == (None, b"begun\n")
    assert 0.9 < reply.duration_s < 5
    until(lambda: kube.backend.running() == [])


@pytest.mark.parametrize("said", [NOT_FOUND, PRINTED, KATA, CRUN])
def test_it_does_so_in_an_image_without_anything(kube, live, tmp_path, said):
    kube.not_found = said
    kube.backend.image("cilium-agent", tmp_path / "image", "sleep")
    arm = live(limit_s=1.0)
    reply = ask(arm, "sleep", "78", target=AGENT)
    assert (reply.exit_code, reply.stdout) == (None, b"")
    until(lambda: kube.backend.running() == [])


def test_a_command_that_bounds_itself_does_so_there_too_and_says_its_last_words(kube, live, tmp_path):
    kube.backend.image("cilium-agent", tmp_path / "image", "dd")
    argv = ("timeout", "-s", "INT", "1", "dd", "if=/dev/urandom", "of=/dev/null", "bs=1k")
    reply = ask(live(), *argv, target=AGENT)
    assert (reply.exit_code, b"records out" in reply.stderr) == (124, True)
    assert 0.9 < reply.duration_s < 8
    short = ask(live(), "timeout", "9", "dd", "if=/dev/null", "of=/dev/null", target=AGENT)
    assert (short.exit_code, short.duration_s < 8) == (0, True)
    until(lambda: kube.backend.running() == [])


def test_only_the_process_of_that_container_is_ended(kube, live, tmp_path):
    kube.backend.image("cilium-agent", tmp_path / "image", "sleep")
    agent = kube.store.get("Pod", "kube-system", "cilium-0")
    agent["status"]["containerStatuses"][0]["containerID"] = "containerd://of-another-cgroup"
    kube.store.apply(agent)
    assert ask(live(limit_s=1.0), "sleep", "79", target=AGENT).exit_code is None
    assert kube.backend.running() == [["sleep", "79"]]


def test_closing_ends_what_still_runs(kube, live):
    arm = live(limit_s=60.0)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, arm, "sleep", "76", target="node/node-0")
        until(lambda: any("sleep" in argv for argv in kube.backend.running()))
        arm.close()
        arm.close()
        with pytest.raises(ConnectionLost, match="closed"):
            asked.result(20)
    until(lambda: kube.backend.running() == [])
    with pytest.raises(ConnectionLost, match="closed"):
        ask(arm, "true")
