"""A lab of network namespaces behind the fake API server: real commands and real packets for the official client."""

from __future__ import annotations

import json
import time

from labkit.errors import ApiError
from labkit.exec.netns import Netns
from labkit.exec.request import Apply, Delete, Exec, Logs, Read
from labkit.netns.kinds import KINDS
from tests.kube.backend import STDERR, STDOUT


class Lab:
    """Asks the lab's executor. The API is the lab's own; only watches are made of lists here."""

    def __init__(self, topology: str):
        self.executor = Netns(topology)
        self.store = Objects(self)

    def read(self, path):
        try:
            return 200, self.executor.run(Read(step="", path=path)).stdout
        except ApiError as error:
            told = {"kind": "Status", "message": str(error), "reason": error.reason, "code": error.status}
            return error.status, json.dumps(told).encode()

    def run(self, target, argv, send):
        reply = self.executor.run(Exec(step="", target=target, argv=tuple(argv)))
        for channel, data in ((STDOUT, reply.stdout), (STDERR, reply.stderr)):
            for i in range(0, len(data), 32 * 1024):
                send(channel, data[i : i + 32 * 1024])
        return reply.exit_code

    def logs(self, target, tail):
        return self.executor.run(Logs(step="", target=target, tail=tail)).stdout

    def end(self, namespace, pod):
        """Its deletion ends it."""

    def close(self):
        self.executor.close()


class Objects:
    """The store of a lab, as the server asks for it."""

    def __init__(self, lab: Lab):
        self._lab = lab

    def get(self, kind, namespace, name):
        status, body = self._lab.read(f"{path(kind, namespace)}/{name}")
        return json.loads(body) if status == 200 else None

    def list(self, kind, namespace=""):
        listed = json.loads(self._lab.read(path(kind, namespace))[1])
        return listed["items"], int(listed["metadata"]["resourceVersion"])

    def apply(self, manifest):
        meta = manifest["metadata"]
        old = self.get(manifest["kind"], meta.get("namespace", ""), meta["name"])
        self._change(Apply, manifest)
        return self.get(manifest["kind"], meta.get("namespace", ""), meta["name"]), old is None

    def delete(self, kind, namespace, name):
        one = self.get(kind, namespace, name)
        self._change(Delete, {**one, "apiVersion": KINDS[kind].api_version, "kind": kind})
        return one

    def events(self, kind, namespace, since, limit_s):
        """What changed since a version, and what went since the watch began, by looking again and again."""
        before = {one["metadata"]["uid"]: one for one in self.list(kind, namespace)[0]}
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            now = {one["metadata"]["uid"]: one for one in self.list(kind, namespace)[0]}
            for uid in before.keys() - now.keys():
                yield "DELETED", before[uid]
            for one in now.values():
                if int(one["metadata"]["resourceVersion"]) > since:
                    yield "MODIFIED", one
            since = max([since, *(int(one["metadata"]["resourceVersion"]) for one in now.values())])
            before = now
            yield None
            time.sleep(0.05)

    def _change(self, how, manifest):
        names = (f"{manifest['kind']}/{manifest['metadata']['name']}",)
        self._lab.executor.run(how(step="", objects=names, manifest=json.dumps([manifest])))


def path(kind, namespace):
    of = KINDS[kind]
    inside = f"/namespaces/{namespace}" if namespace and of.namespaced else ""
    return f"{of.prefix}{inside}/{of.plural}"
