"""Whose iptables chains there are: kube-proxy's, the CNI's, the masquerade agent's."""

from __future__ import annotations

import pandas as pd

__all__ = ["by_owner"]

#: Chain names by what made them, the first that fits; kube-proxy's Services and endpoints apart.
OWNERS = {
    r"KUBE-SV[CL]-.*": "Services of kube-proxy (KUBE-SVC-*)",
    r"KUBE-SEP-.*": "endpoints of kube-proxy (KUBE-SEP-*)",
    r"KUBE-.*": "kube-proxy and kubelet, the rest (KUBE-*)",
    r"CILIUM_.*": "Cilium (CILIUM_*)",
    r"FLANNEL-.*": "flannel (FLANNEL-*)",
    r"IP-MASQ.*": "masquerade agent (IP-MASQ-*)",
    r"AZURE-NPM.*": "Azure NPM (AZURE-NPM*)",
    r"cali-.*": "Calico (cali-*)",
}
BUILT_IN, OTHER = "built in", "others"


def by_owner(chains: pd.DataFrame) -> pd.DataFrame:
    """Chains and rules of an arm's nodes together, of frame CHAINS with `arm` and `node`.

    A row for each arm, table and owner: `nodes`, `chains` and `rules` of all its nodes. Empty chains that
    only mark a table as seen (`*-CANARY`, `*-HINT`) count as chains. Unused tables have no row.
    """
    owner = pd.Series(OTHER, index=chains.index, dtype="str").mask(chains["policy"].notna(), BUILT_IN)
    for pattern, name in reversed(OWNERS.items()):
        owner = owner.mask(chains["chain"].str.fullmatch(pattern), name)
    grouped = chains.assign(owner=owner).groupby(["arm", "table", "owner"], sort=False)
    counted = grouped.agg(nodes=("node", "nunique"), chains=("chain", "size"), rules=("rules", "sum"))
    return counted.reset_index().astype({"nodes": "Int64", "chains": "Int64", "rules": "Int64"})
