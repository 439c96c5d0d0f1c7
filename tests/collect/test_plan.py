"""A plan is what an arm's header says, and what its commands do."""

import json

import pytest

from labkit.collect.plan import FULL, IPERF_MODES, QUICK, Plan
from labkit.collect.plan_words import named
from labkit.errors import ParameterError
from tests.conftest import RECORDINGS, arm


@pytest.mark.parametrize("plan", [Plan(), FULL, QUICK])
def test_a_plan_survives_its_header(plan):
    about = {"plan": json.loads(json.dumps(plan.to_json()))}
    assert Plan.from_about(about) == plan


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_without_a_plan_did_the_default(name):
    assert Plan.from_about(arm(name).about) == Plan()
    assert Plan().steps == ("services-100", "services-1000")


def test_each_way_of_iperf3():
    said = {mode: " ".join(Plan().iperf3("10.0.0.1", mode)) for mode in IPERF_MODES}
    assert said == {
        "tcp": "iperf3 -J -c 10.0.0.1 -t 3 -O 1",
        "tcp-4": "iperf3 -J -c 10.0.0.1 -t 3 -O 1 -P 4",
        "tcp-reverse": "iperf3 -J -c 10.0.0.1 -t 3 -O 1 -R",
        "udp": "iperf3 -J -c 10.0.0.1 -u -b 500M -l 1200 -t 3",
    }
    assert " ".join(QUICK.iperf3("10.0.0.1", "tcp")) == "iperf3 -J -c 10.0.0.1 -t 1"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"repetitions": 0}, "must measure something"),
        ({"listen_s": 1}, "listen for 4 seconds"),
        ({"modes": ("sctp",)}, "no mode sctp"),
        ({"services": (1000, 100)}, "must grow"),
        ({"services": (200_000,)}, "at most 100,000"),
        ({"policies": (0, 1)}, "numbers of policies must grow"),
        ({"policies": (20_000,)}, "at most 10,000"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong, said):
    with pytest.raises(ParameterError, match=said):
        Plan(**wrong)


def test_a_header_of_a_newer_labkit_is_refused():
    with pytest.raises(ParameterError, match="unknown part colour"):
        Plan.from_about({"plan": {"colour": "red"}})


def test_a_plan_in_words():
    assert named("quick") == QUICK
    found = named("full:services=1,100,20000:repetitions=15:policies=")
    assert (found.services, found.repetitions, found.policies) == ((1, 100, 20_000), 15, ())
    assert (found.steps[-1], found.policy_steps, FULL.policy_steps[-1]) == (
        "services-20000",
        (),
        "policies-100",
    )
    assert found.pings == FULL.pings


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("long", "no plan 'long'; there are: quick, full"),
        ("full:colour=3", "no part 'colour' of a plan can be set; these can: repetitions"),
        ("full:waits=1", "no part 'waits'"),
        ("full:turns=1", "no part 'turns'"),
        ("full:services=many", "services=many: not whole numbers"),
        ("full:repetitions", "repetitions: not whole numbers"),
        ("full:services=100,1", "must grow"),
    ],
)
def test_words_that_are_no_plan_are_refused(words, said):
    with pytest.raises(ParameterError, match=said):
        named(words)
