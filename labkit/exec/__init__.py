"""The only place that talks. `Executor` is one method: a request in, a reply out."""

from labkit.exec.executor import Executor
from labkit.exec.request import Apply, Delete, Exec, Logs, Read, Reply, Request

__all__ = ["Apply", "Delete", "Exec", "Executor", "Logs", "Read", "Reply", "Request"]
