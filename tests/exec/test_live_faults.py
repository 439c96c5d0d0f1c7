"""What goes wrong between labkit and a cluster: each fault gives its typed error, or is recovered from."""

import json
import threading
import time

import pytest

from labkit.errors import ApiError, ConnectionLost, NoTarget, SourceError
from labkit.exec import Apply, Delete, Exec, Read
from labkit.exec.live import Live
from tests.exec.test_live import ask, until
from tests.exec.test_live_config import proxy, with_cluster
from tests.exec.test_live_objects import DEPLOYMENT, change
from tests.kube.backend import Local
from tests.kube.cluster import TOOLBOX, certificate, kubeconfig, populate
from tests.kube.server import FakeKube

EXEC = "GET .*/exec"


def test_a_socket_cut_in_a_frame_is_no_reply_and_leaves_no_process(kube, live):
    kube.faults.add(EXEC, cut_frame=True)
    arm = live()
    with pytest.raises(ConnectionLost, match="cut before the command's exit code was told"):
        ask(arm, "sh", "-c", "echo some output; sleep 75")
    until(lambda: kube.backend.running() == [])
    assert ask(arm, "echo", "next").stdout == b"next\n"


def test_a_command_whose_exit_code_is_lost_is_no_reply_and_is_not_repeated(kube, live):
    kube.faults.add(EXEC, no_status=True)
    with pytest.raises(ConnectionLost, match="before the command's exit code was told"):
        ask(live(), "echo", "whole")
    assert sum("/toolbox-0/exec" in path for _, path in kube.seen) == 1


def test_a_command_that_only_looks_is_asked_again(kube, live):
    arm = live()
    kube.faults.add(EXEC, nth=1, cut_frame=True)
    kube.faults.add(EXEC, nth=1, no_status=True)
    assert ask(arm, "cat", "/proc/version").stdout.startswith(b"Linux")
    assert kube.execs >= 3
    kube.faults.add(EXEC, nth=0, no_status=True)
    with pytest.raises(ConnectionLost, match="before the command's exit code was told"):
        ask(arm, "cat", "/proc/uptime")


def test_a_slow_link_gives_the_whole_output(kube, live):
    kube.faults.add(EXEC, drip=True)
    assert ask(live(), "printf", "%s", "\N{SNOWMAN}" * 1000).stdout == ("\N{SNOWMAN}" * 1000).encode()


def test_a_message_in_many_frames_is_one(kube, live):
    kube.faults.add(EXEC, fragments=True)
    assert ask(live(), "printf", "%s", "\N{SNOWMAN}" * 1000).stdout == ("\N{SNOWMAN}" * 1000).encode()


@pytest.mark.parametrize("reset", [False, True])
def test_a_slow_reader_gets_all_or_an_error(secure, live, tmp_path, reset):
    """Of a connection that is reset the kernel forgets what was not read: then nothing is passed on."""
    server, ca = secure
    server.faults.add(EXEC, reset=reset)
    path = kubeconfig(tmp_path, server, user={"token": server.token}, ca=ca)
    sent = tmp_path / "sent"
    with proxy("me:pw", pause_s=0.02) as (port, _):
        arm = live(kubeconfig=with_cluster(path, **{"proxy-url": f"http://me:pw@127.0.0.1:{port}"}))
        argv = ("sh", "-c", 'head -c 8000000 /dev/urandom | tee "$0"', str(sent))
        if reset:
            with pytest.raises(ConnectionLost, match="before the command's exit code was told"):
                ask(arm, *argv)
        else:
            assert ask(arm, *argv).stdout == sent.read_bytes()


def test_a_frame_that_stalls_does_not_outlast_the_time_limit(kube, live):
    kube.faults.add(EXEC, nth=1, drip=True)
    arm = live(limit_s=0.3)
    arm._commands._without_timeout.add(arm._targets.find(TOOLBOX, None))
    begun = time.monotonic()
    assert ask(arm, "sh", "-c", "seq 1 1000; sleep 74").exit_code is None
    assert time.monotonic() - begun < 10
    until(lambda: kube.backend.running() == [])


def test_a_pod_replaced_under_the_command_is_found_anew(kube, live):
    kube.faults.add(EXEC, replaced=True)
    arm = live()
    with pytest.raises(ConnectionLost):
        ask(arm, "sh", "-c", "echo begun; sleep 73", target="node/node-1")
    until(lambda: kube.backend.running() == [])
    assert ask(arm, "echo", "next", target="node/node-1").stdout == b"next\n"
    assert "/network-analyzer-1-2/exec" in kube.seen[-1][1]


@pytest.mark.parametrize("refusal", [
    'container not found ("toolbox")',
    "unable to upgrade connection: pod does not exist",
])  # fmt: skip
@pytest.mark.parametrize("upgraded", [True, False])
def test_a_container_that_has_gone_is_no_target(kube, live, refusal, upgraded):
    told = f"Internal error occurred: {refusal}"
    kube.faults.add(EXEC, **({"refusal": told} if upgraded else {"status": 500, "message": told}))
    begun = time.monotonic()
    with pytest.raises(NoTarget):
        ask(live(), "true")
    assert time.monotonic() - begun < 2


def test_a_command_that_was_never_started_is_tried_again(kube, live):
    kube.faults.add(EXEC, nth=1, status=429, headers={"Retry-After": "1"})
    kube.faults.add(EXEC, nth=1, status=503)
    kube.faults.add(EXEC, nth=1, refusal="Internal error occurred: error dialing backend: EOF")
    sending = (
        'error sending request: Post "https://10.0.0.4:10250/exec/…": dial tcp: connect: connection refused'
    )
    kube.faults.add(EXEC, nth=1, refusal=f"Internal error occurred: {sending}")
    begun = time.monotonic()
    assert ask(live(), "echo", "once").stdout == b"once\n"
    assert time.monotonic() - begun > 1
    assert kube.execs == 3


def test_a_refusal_nobody_knows_is_an_error_and_not_a_reply(kube, live):
    kube.faults.add(EXEC, refusal="Internal error occurred: something new")
    with pytest.raises(ApiError, match="something new"):
        ask(live(), "true")


def test_an_overloaded_server_is_given_the_time_it_asks_for(kube, live):
    arm = live()
    kube.faults.add("GET /version", status=429, headers={"Retry-After": "1"})
    begun = time.monotonic()
    assert arm.run(Read(step="s", path="/version")).exit_code == 0
    assert 1 <= time.monotonic() - begun < 4
    kube.faults.add("GET /apis$", nth=0, status=429, headers={"Retry-After": "3600"})
    with pytest.raises(ApiError, match="overloaded") as error:
        arm.run(Read(step="s", path="/apis"))
    assert error.value.status == 429


@pytest.mark.parametrize("how", [{"drop": True}, {"half": True}, {"status": 500}])
def test_a_read_that_failed_is_repeated_until_it_is_whole(kube, live, how):
    arm = live()
    kube.faults.add("GET /api/v1/pods", **how)
    listed = json.loads(arm.run(Read(step="s", path="/api/v1/pods")).stdout)
    assert len(listed["items"]) == 4


def test_patience_ends(kube, live):
    arm = live(patience_s=0.5)
    kube.faults.add("GET /api/v1/pods", nth=0, half=True)
    with pytest.raises(ConnectionLost, match="GET /api/v1/pods: the connection was cut"):
        arm.run(Read(step="s", path="/api/v1/pods"))


def test_a_restarting_api_server_is_waited_for(kube, live):
    arm = live(patience_s=20.0)
    ask(arm, "true", target="node/node-0")
    kube.stop()
    threading.Timer(0.7, kube.start).start()
    assert arm.run(Read(step="s", path="/version")).exit_code == 0
    kube.stop()
    threading.Timer(0.7, kube.start).start()
    assert ask(arm, "echo", "up", target="node/node-0").stdout == b"up\n"
    kube.stop()
    threading.Timer(0.7, kube.start).start()
    assert arm.run(change(Apply, DEPLOYMENT)).exit_code == 0


def test_a_restart_under_a_command_is_a_lost_connection(kube, live):
    arm = live()
    threading.Timer(0.5, kube.stop).start()
    with pytest.raises(ConnectionLost, match="before the command's exit code was told"):
        ask(arm, "sleep", "5", target="node/node-0")
    kube.start()
    assert ask(arm, "true", target="node/node-0").exit_code == 0


def test_a_watch_that_is_too_old_reads_the_list_again(kube, live):
    kube.store.lingers_s = 1.0
    arm = live()
    arm.run(change(Apply, DEPLOYMENT))
    threading.Timer(0.4, kube.store.compact).start()
    assert arm.run(change(Delete, DEPLOYMENT)).exit_code == 0
    assert sum("watch=true" in path for _, path in kube.seen) >= 2


def test_latency_costs_an_exec_two_round_trips(kube, live):
    arm = live()
    ask(arm, "true")
    kube.latency_s = 0.2
    assert 0.4 <= ask(arm, "true", sample=1).duration_s < 0.9


def test_a_server_that_takes_the_request_and_says_nothing_is_left(kube, live):
    arm = live(patience_s=1.0)
    arm._api.answer_s = 0.5
    kube.faults.add("GET /apis$", nth=0, stall_s=3)
    with pytest.raises(ConnectionLost, match="no answer in time"):
        arm.run(Read(step="s", path="/apis"))


@pytest.fixture
def expired(tmp_path):
    backend = Local()
    populate(backend.store)
    files = certificate(tmp_path, days=-1)
    server = FakeKube(backend, tls=files)
    yield kubeconfig(tmp_path, server, ca=files[0])
    server.stop()


def test_an_expired_certificate_is_told_at_once(expired):
    begun = time.monotonic()
    with pytest.raises(SourceError, match="certificate has expired; renew it, or check this machine's clock"):
        Live("fake", kubeconfig=expired)
    assert time.monotonic() - begun < 5


def test_a_certificate_that_expires_under_way_is_a_lost_connection(live, tmp_path):
    files = certificate(tmp_path)
    backend = Local()
    populate(backend.store)
    server = FakeKube(backend, tls=files)
    arm = live(kubeconfig=kubeconfig(tmp_path, server, ca=files[0]))
    assert ask(arm, "true").exit_code == 0
    server.stop()
    server.tls = certificate(tmp_path, days=-1)
    server.start()
    for request in (Read(step="s", path="/version"), Exec(step="s", target=TOOLBOX, argv=("true",))):
        with pytest.raises(ConnectionLost, match="certificate"):
            arm.run(request)
    server.stop()


def test_nobody_is_there(tmp_path, kube):
    path = kubeconfig(tmp_path, kube)
    kube.stop()
    with pytest.raises(SourceError, match="connection refused") as error:
        Live("fake", kubeconfig=path, patience_s=0.3)
    assert "127.0.0.1" not in str(error.value)
