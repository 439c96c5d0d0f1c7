"""Arms that are live to all but the source of their answers: a recording talks, and everything above it is real."""

import threading
from dataclasses import replace
from datetime import UTC, datetime

from labkit.chain import Chain
from labkit.errors import ApiError
from labkit.exec.recording import Recorder, Recording
from labkit.exec.redaction import Redaction
from labkit.exec.replay import Replay
from labkit.exec.request import Read
from labkit.source import find_recording


class Talks:
    """Answers from a recording, as of now. Counts what it is asked, and says no where it is told to."""

    def __init__(self, name, *, refuses=()):
        self.name = name
        self.replay = Replay(Recording.open(find_recording(name)))
        self.refuses, self.asked, self.closed = tuple(refuses), [], 0
        self._lock = threading.Lock()

    @property
    def about(self):
        return {**self.replay.about, "name": "talks", "recorded_at": datetime.now(UTC).isoformat()}

    def run(self, request):
        with self._lock:
            self.asked.append(request.key)
        if any(part in request.words for part in self.refuses):
            raise ApiError(
                f"{request.words}: the server is busy", request, status=429, reason="TooManyRequests"
            )
        reply = self.replay.run(replace(request, sample=0) if isinstance(request, Read) else request)
        return replace(reply, request=request)

    def wait(self, seconds):
        """Nothing to wait for."""

    def close(self):
        self.closed += 1


class Opens:
    """Makes chains as `open_chain` does; `talkers` are what talks, by source."""

    def __init__(self, **talkers):
        self.talkers = {source.replace("_", ":"): talker for source, talker in talkers.items()}
        self.terms = []

    def __call__(self, source, arm, path, terms, watch=print):
        self.terms.append(terms)
        inner, redaction = self.talkers[source], Redaction(ips=terms.redact_ips)
        if (path / "recording.json").is_file():
            recorder = Recorder.open(inner, path, redaction=redaction)
        else:
            about = {"source": source, "name": arm, "recorded_at": terms.recorded_at}
            recorder = Recorder(inner, path, about=about, redaction=redaction)
        return Chain(recorder, recorder, watch)

    def anew(self):
        """The same arms, talked to once more."""
        fresh = Opens()
        fresh.talkers = {source: Talks(talker.name) for source, talker in self.talkers.items()}
        return fresh
