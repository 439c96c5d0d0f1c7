from collections import Counter

import pytest

from labkit.errors import ParameterError
from labkit.measure.schedule import schedule

ARMS, SCENARIOS = ("a", "b"), ("rr", "crr", "stream")


def test_each_round_measures_everything_once_on_each_arm_and_replica():
    turns = schedule(ARMS, SCENARIOS, rounds=5, seed=1, blocks=("x", "y"))
    counted = Counter((t.round, t.block, t.scenario, t.arm, t.replica) for t in turns)
    assert len(counted) == 6 * 2 * 3 * 2 * 2
    assert set(counted.values()) == {1}
    assert [t.n for t in turns] == list(range(len(turns)))
    assert {t.round for t in turns if t.warm_up} == {-1}


def test_a_sample_is_never_asked_twice_of_an_arm():
    turns = schedule(ARMS, SCENARIOS, rounds=9, seed=1)
    assert max(Counter((t.arm, t.scenario, t.block, t.sample) for t in turns).values()) == 1


def test_the_seed_gives_the_order_and_more_rounds_leave_it_as_it_is():
    short = schedule(ARMS, SCENARIOS, rounds=3, seed=7)
    assert short == schedule(ARMS, SCENARIOS, rounds=3, seed=7)
    assert schedule(ARMS, SCENARIOS, rounds=8, seed=7)[: len(short)] == short
    assert schedule(ARMS, SCENARIOS, rounds=3, seed=8) != short


def test_arms_alternate_and_neither_comes_always_first():
    turns = schedule(ARMS, SCENARIOS, rounds=100, seed=3)
    first = Counter(turns[k].arm for k in range(0, len(turns), 4))
    assert 0.4 < first["a"] / sum(first.values()) < 0.6
    for k in range(0, len(turns), 4):
        assert len({(t.round, t.scenario) for t in turns[k : k + 4]}) == 1


@pytest.mark.parametrize("wrong", [{"arms": ()}, {"arms": ("a", "a")}, {"scenarios": ()}, {"rounds": 0}])
def test_a_schedule_of_nothing_is_refused(wrong):
    given = {"arms": ARMS, "scenarios": SCENARIOS, "rounds": 1} | wrong
    with pytest.raises(ParameterError, match="a schedule needs"):
        schedule(given.pop("arms"), given.pop("scenarios"), seed=1, **given)


def test_the_order_of_the_arms_is_no_part_of_it():
    one, other = (schedule(arms, ["rr"], rounds=4, seed=7) for arms in (["a", "b"], ["b", "a"]))
    assert one == other
