"""Long output is a file from the tool to the frame: memory holds a piece of it, and nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from labkit.errors import ConnectionLost, RecordingError
from labkit.exec import Exec, Reply
from labkit.exec.output import IN_MEMORY, Stored, is_text, kept, pieces, sha256, spool
from labkit.exec.recording import Recorder, Recording
from labkit.exec.redaction import MARK, Redaction
from labkit.exec.remote import Remote, Server
from labkit.exec.replay import Replay
from labkit.parse import pcap
from tests.exec.test_recording import Parrot
from tests.kube.cluster import TOOLBOX, kubeconfig
from tests.netns.conftest import require

MIB = 1 << 20
#: A capture of $0 packets of 256 KiB, and then whatever $1 says.
CAPTURE = r"""
printf '\324\303\262\241\002\000\004\000\000\000\000\000\000\000\000\000\000\000\004\000\001\000\000\000'
for _ in $(seq "$0"); do
  printf '\000\361\123\145\000\000\000\000\000\000\004\000\000\000\004\000'
  head -c 262144 /dev/zero
done
eval "$1"
"""
ASKED = Exec(step="s", target="node/a", argv=("tcpdump",))
#: Passes captures of 2 MiB and of 64 MiB from `arm` to frames; tells by how many MiB the second took more memory.
ROUND = """
import re, sys
from pathlib import Path
from labkit.exec import Exec
from labkit.exec.recording import Recorder, Recording
from labkit.exec.remote import Remote, Server
from labkit.exec.replay import Replay
from labkit.parse import pcap
from tests.exec.test_output import CAPTURE
{made}
folder = Path(sys.argv[1])
def peak(pid):
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path(f"/proc/{{pid}}/status").read_text())[1])
def grown(pids):
    return [peak(pid) for pid in pids]
recorder = Recorder(arm, folder / "x")
with Server(recorder, folder / "socket"):
    there = Remote(folder / "socket")
    def through(packets):
        asked = Exec(step="s", target={target!r}, argv=("sh", "-c", CAPTURE, str(packets), ""))
        there.run(asked)
        for executor in (there, Replay(Recording.open(folder / "x"))):
            reply = executor.run(asked)
            assert reply.output == recorder.run(asked).output
            assert reply.exit_code == 0 and len(reply.output) == 24 + packets * (16 + 262144)
            assert len(pcap.packets(reply.data)) == packets and not pcap.is_cut(reply.data)
    through(8)
    before = grown(pids)
    through(256)
print(*((after - was) // 1024 for after, was in zip(grown(pids), before)))
recorder.close()
"""
NETNS = """
from labkit.exec.netns import Netns
arm = Netns("routed")
def tree(pid):
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in below for found in tree(int(child)))]
pids = ["self", *(p for p in tree(arm.pid) if b"labkit.netns" in Path(f"/proc/{p}/cmdline").read_bytes())]
"""
LIVE = """
from labkit.exec.live import Live
arm = Live("fake", kubeconfig=sys.argv[2])
pids = ["self"]
"""


def long(data):
    """Output that came by a spool."""
    with spool() as out:
        out.write(data)
        return kept(out)


def answer(data):
    return Reply("x", ASKED, datetime.now(UTC), 0.1, 0, long(data))


class Says(Parrot):
    """Answers with replies as they are."""

    def run(self, request):
        return replace(self.says.pop(0), request=request)


@pytest.fixture
def on_disk(tmp_path_factory, monkeypatch):
    """A folder of its own for what is spooled, with a name that leaves room for a lab's socket in it."""
    folder = tmp_path_factory.mktemp("s")
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def held(folder):
    """The files of a folder that this process has open, also those without a name."""
    found = []
    for number in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile, as the one that lists them
            found.append(number.readlink())
    return [file for file in found if folder in file.parents]


def test_short_output_is_bytes_and_long_output_is_a_file_without_a_name(on_disk):
    assert long(b"x" * IN_MEMORY) == b"x" * IN_MEMORY
    data = os.urandom(3 * IN_MEMORY + 7)
    stored = long(data)
    assert isinstance(stored, Stored)
    assert (len(stored), sha256(stored)) == (len(data), sha256(data))
    assert max(map(len, pieces(stored))) < IN_MEMORY
    assert b"".join(pieces(stored)) == stored.mapped()[:] == data
    assert stored == long(data)
    assert stored != long(data[:-1] + b"\0")
    assert (list(on_disk.iterdir()), len(held(on_disk))) == ([], 1)
    del stored
    assert held(on_disk) == [], "the file goes with whoever held it last"


def test_a_file_is_text_if_all_of_it_is():
    snowman = "\N{SNOWMAN}".encode()
    text = b"x" + snowman * IN_MEMORY  # a letter at the end of most pieces is cut in two
    assert is_text(long(text))
    assert not is_text(long(text + b"\xff"))
    assert not is_text(long(text[:-1]))


def test_what_is_no_text_is_recorded_as_it_came_and_stays_a_file(tmp_path, on_disk):
    data = os.urandom(5 * MIB)
    recorder = Recorder(Says(answer(data)), tmp_path / "x")
    reply = recorder.run(ASKED)
    recorder.close()
    assert isinstance(reply.output, Stored)
    assert (tmp_path / "x" / "blobs" / "r00001.bin").read_bytes() == reply.stdout == data
    recording = Recording.open(tmp_path / "x")
    assert Replay(recording).run(ASKED) == reply
    assert recording.verify() == []
    with Server(Replay(recording), tmp_path / "arm"):
        assert Remote(tmp_path / "arm").run(ASKED) == reply
    assert list(on_disk.iterdir()) == []


def test_a_file_of_text_loses_its_secrets():
    secret = b"x" * IN_MEMORY + b"\nAuthorization: Bearer abcdefghijkl\n"
    clean = Redaction().reply(answer(secret)).stdout
    assert clean == secret.replace(b"abcdefghijkl", MARK.encode())
    for harmless in (answer(b"x" * 2 * IN_MEMORY), answer(secret + b"\xff")):
        assert Redaction().reply(harmless) is harmless


def test_a_file_that_was_altered_or_taken_away_is_told(tmp_path):
    recorder = Recorder(Says(answer(os.urandom(2 * MIB))), tmp_path / "x")
    reply = recorder.run(ASKED)
    recorder.close()
    blob = tmp_path / "x" / "blobs" / "r00001.bin"
    with blob.open("r+b") as file:
        file.write(b"altered")
    with pytest.raises(RecordingError, match="it was altered"):
        Recording.open(tmp_path / "x").find(ASKED)
    blob.unlink()
    with pytest.raises(RecordingError, match="cannot be read any more"):
        _ = reply.stdout


def grown(made, target, *args):
    """By how many MiB the processes on the way grew, at the most, for 62 MiB more."""
    code = ROUND.format(made=made, target=target)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_memory_stays_flat_from_a_lab_to_the_frame_of_a_replay(tmp_path, on_disk):
    require("routed")
    grew = grown(NETNS, "node/node-1", tmp_path)
    assert len(grew) >= 2, "the lab's process is one of them"
    assert max(grew) < 16
    assert list(on_disk.iterdir()) == []


def test_memory_stays_flat_from_an_api_server_to_the_frame_of_a_replay(kube, tmp_path, on_disk):
    (grew,) = grown(LIVE, TOOLBOX, tmp_path, kubeconfig(tmp_path, kube))
    assert grew < 16
    assert list(on_disk.iterdir()) == []


def test_a_long_stream_that_is_cut_is_no_reply_and_leaves_nothing(kube, live, tmp_path, on_disk):
    recorder = Recorder(live(), tmp_path / "x")
    cut = Exec(step="s", target=TOOLBOX, argv=("sh", "-c", CAPTURE, "24", "sleep 30"))
    kube.faults.add("GET .*/exec", cut_frame=True, cut_after=3 * MIB)
    with pytest.raises(ConnectionLost, match="before the command's exit code was told") as lost:
        recorder.run(cut)
    recorder.failed(cut, lost.value)
    with pytest.raises(ConnectionLost, match="before the command's exit code was told"):
        Replay(Recording.open(tmp_path / "x")).run(cut)
    assert list((tmp_path / "x" / "blobs").iterdir()) == list(on_disk.iterdir()) == []
    assert held(on_disk) == []
    recorder.close()


def test_a_long_capture_that_its_limit_cut_off_keeps_what_came(live):
    ends = "printf '\\000\\361\\123\\145\\000'; sleep 30"
    reply = live(limit_s=2.0).run(Exec(step="s", target=TOOLBOX, argv=("sh", "-c", CAPTURE, "12", ends)))
    assert reply.exit_code is None
    assert isinstance(reply.output, Stored)
    assert len(pcap.packets(reply.data)) == 12
    assert pcap.is_cut(reply.data)


#: Records one long reply after the other, and more than one at a time.
WRITER = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from labkit.exec import Exec
from labkit.exec.recording import Recorder
from tests.exec.test_output import Says, answer
path = Path(sys.argv[1])
class Endless(Says):
    def run(self, request):
        return answer(os.urandom(1 << 20) * 9)
if (path / "recording.json").exists():
    recorder = Recorder.open(Endless(), path)
else:
    recorder = Recorder(Endless(), path)
first = len(recorder._recording)
print("writes", flush=True)
with ThreadPoolExecutor(2) as pool:
    list(pool.map(lambda n: recorder.run(Exec(step="s", target="node/a", argv=("true",), sample=n)), range(first, 999)))
"""


def test_what_a_killed_writer_of_long_output_leaves_is_whole_and_nothing_else(tmp_path, on_disk):
    path, stray = tmp_path / "x", 0
    for turn in range(4):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"writes\n"
            time.sleep(0.2 + 0.037 * turn)
            os.kill(writer.pid, signal.SIGKILL)
        assert list(on_disk.iterdir()) == []
        recording = Recording.open(path)
        assert [p for p in recording.verify() if "not ended" not in p and "no reply refers" not in p] == []
        stray += len(recording.stray())
    Recorder.open(Parrot(), path).close()
    recording = Recording.open(path)
    assert len(recording) > 0
    assert (recording.verify(), recording.stray()) == ([], [])
