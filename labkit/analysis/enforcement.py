"""Whether an arm enforces NetworkPolicies at all, and what a verdict on it is then worth.

The API server takes a NetworkPolicy whether or not anything enforces it. So before any verdict there is a
canary: flows that worked while no policy was there, by the address of a pod, so that neither the name
server nor a Service is in the way, and that a deny of everything must stop.
"""

from __future__ import annotations

import pandas as pd

__all__ = ["canary", "gate"]

#: The step without policies, and the one in which everything is denied.
BEFORE, DENIED = "policy-none", "policy-deny-all"
NOT_ENFORCED = "not enforced"


def canary(compared: pd.DataFrame) -> pd.DataFrame:
    """One row an arm, of probes beside what is expected of them (see `connectivity.compare`).

    The canaries are the TCP flows to a pod's address that the policies of both steps speak of clearly: may
    pass before, may not pass under the deny. `worked` of them did before, `stopped` of those did not after.
    `canary` is `enforced` if all were stopped, `not enforced` if none was, `partly enforced` in between, and
    `inconclusive` where no canary worked before. `replies` are the ids of what it rests on.
    """
    by = [c for c in ("arm",) if c in compared]
    keys = [*by, "pod", "dst_ip"]
    flows = compared[(compared["kind"] == "pod") & (compared["protocol"] == "TCP")]
    columns = [*keys, "outcome", "reply"]
    before = flows[(flows["step"] == BEFORE) & (flows["expected"] == "allowed")][columns]
    denied = flows[(flows["step"] == DENIED) & (flows["expected"] == "blocked")][columns]
    both = before.merge(denied, on=keys, suffixes=("_before", "_denied"), validate="one_to_one")
    both["worked"] = both["outcome_before"] == "allowed"
    both["stopped"] = both["worked"] & (both["outcome_denied"] == "blocked")
    rows = [
        {**({"arm": arm} if arm else {}), **_verdict(mine)}
        for arm, mine in ((arm, both[both["arm"] == arm] if arm else both) for arm in _arms(compared))
    ]
    return pd.DataFrame(
        rows, columns=[*by, "canaries", "worked", "stopped", "canary", "replies"]
    ).convert_dtypes()


def _arms(frame: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(frame["arm"])) if "arm" in frame else [""]


def _verdict(flows: pd.DataFrame) -> dict[str, object]:
    worked, stopped = int(flows["worked"].sum()), int(flows["stopped"].sum())
    words = "inconclusive" if not worked else "enforced" if stopped == worked else "partly enforced"
    return {
        "canaries": len(flows),
        "worked": worked,
        "stopped": stopped,
        "canary": NOT_ENFORCED if worked and not stopped else words,
        "replies": ",".join([*flows["reply_before"], *flows["reply_denied"]]),
    }


def gate(compared: pd.DataFrame, canaries: pd.DataFrame) -> pd.DataFrame:
    """`compared` with a `verdict` that a reader can trust.

    Where the canary says that nothing is enforced, no later probe of the arm agrees or differs: it is `not
    enforced`, also where it passed and was expected to. Where the canary is inconclusive, it is `unknown`.
    The step before the first policy keeps its verdicts.
    """
    keys = [c for c in ("arm",) if c in compared]
    state = canaries.set_index(keys)["canary"] if keys else canaries["canary"]
    said = compared["arm"].map(state) if keys else pd.Series(state.iloc[0], index=compared.index)
    later = compared["step"] != BEFORE
    verdict = compared["verdict"].mask(later & (said == NOT_ENFORCED), NOT_ENFORCED)
    return compared.assign(verdict=verdict.mask(later & (said == "inconclusive"), "unknown"))
