"""What fits is worked out from what one Service really holds, and what does not fit is left out, not tried."""

import json
from dataclasses import replace

import pytest

from labkit.collect import limits, scaling
from labkit.collect.plan import Plan
from labkit.errors import MissingFeature, ParseError
from labkit.exec.request import Read
from labkit.parse.service_cidr import service_cidrs
from tests.conftest import arm


class Planned:
    """A recorded arm with another plan."""

    def __init__(self, inner, cidrs=b"", **parts):
        self.inner, self.cidrs = inner, cidrs
        self.about = {**inner.about, "plan": Plan(**parts).to_json()}

    def run(self, request):
        if self.cidrs and getattr(request, "path", "") == limits.CIDRS:
            like = self.inner.run(Read(step="baseline", path="/api/v1/services"))
            return replace(like, request=request, output=self.cidrs)
        return self.inner.run(request)


def planned(name, **parts):
    known = arm(name)
    return replace(known, executor=Planned(known.executor, **parts), memo={})


def test_a_service_takes_what_the_backends_own_service_takes(cilium):
    frame = limits.limits(cilium)
    assert list(frame.columns) == limits.limits.schema.names
    # a frontend, two endpoints, and one entry for the ports that it does not have: not 1 + endpoints
    assert set(frame["each"]) == {4}
    assert frame["max_entries"].eq(65536).all()
    assert frame["most"].eq((65536 - 27) // 4).all()
    grown = (
        scaling.holdings(cilium).query("holds == 'service map slots'").groupby("services")["entries"].max()
    )
    assert (grown[107] - grown[7]) / 100 == 4  # as many as a hundred of them took then


def test_more_than_fit_are_named_with_demand_limit_and_what_would_fit(cilium):
    limits.require_room(cilium, 16377)
    with pytest.raises(MissingFeature) as refused:
        limits.require_room(cilium, 20_000)
    assert refused.value.reason == (
        "20000 Services more need 80000 entries in IPv4 service on cilium-node-0, which has room for 65536 and "
        "holds 27: at most 16377 fit. Nothing was created"
    )


def test_the_sizes_that_fit_are_measured_all_the_same():
    wide = planned("cilium", services=(100, 20_000))
    assert limits.limits(wide).groupby("services")["fits"].all().to_dict() == {100: True, 20_000: False}
    assert limits.fitting(wide) == ("services-100",)
    assert sorted(set(scaling.holdings(wide)["services"])) == [7, 107]
    with pytest.raises(MissingFeature, match="at most 16377 more Services fit, and more are planned"):
        limits.fitting(planned("cilium", services=(20_000,)))


def test_rules_of_iptables_have_no_limit(routed):
    with pytest.raises(MissingFeature, match="rules of iptables have no limit of their own"):
        limits.limits(routed)
    assert limits.fitting(planned("overlay-routed", services=(100, 20_000)))[-1] == "services-20000"
    limits.require_room(routed, 100_000)


def cidrs(*prefixes):
    """As the API documents it; no recording holds one."""
    items = [{"metadata": {"name": "kubernetes"}, "spec": {"cidrs": prefixes}}]
    return json.dumps({"kind": "ServiceCIDRList", "items": items}).encode()


def test_addresses_of_services_run_out_too():
    small = planned("overlay-routed", services=(100, 1000), cidrs=cidrs("10.0.0.0/24", "fd00::/108"))
    assert limits.fitting(small) == ("services-100",)
    with pytest.raises(
        MissingFeature, match=r"1000 Services more need 1000 entries in addresses of Services.*at most 250"
    ):
        limits.require_room(small, 1000)
    both = planned("cilium", services=(20_000,), cidrs=cidrs("10.0.0.0/16"))
    assert limits.limits(both).groupby("holds")["fits"].all().to_dict() == {
        "IPv4 service": False, "addresses of Services": True,
    }  # fmt: skip


def test_ranges_are_counted():
    frame = service_cidrs(cidrs("10.0.0.0/16", "fd00::/64")).set_index("prefix")["addresses"]
    assert frame.to_dict() == {"10.0.0.0/16": 65534, "fd00::/64": 2**32}
    with pytest.raises(ParseError, match="cannot be read"):
        service_cidrs(cidrs("10.0.0.1/16"))
    with pytest.raises(ParseError):
        service_cidrs(b'{"items": [{"metadata": {"name": "x"}}]}')
