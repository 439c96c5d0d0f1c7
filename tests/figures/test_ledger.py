import pandas as pd

from labkit.figures.ledger import ledger

ROWS = [
    ("setup", "a-claim", "overlay", "supported"),
    ("setup", "a-claim", "cilium", "refuted"),
    ("routing", "b-claim", "overlay", "inconclusive"),
    ("routing", "c-claim", "cilium vs overlay", "supported"),
    ("policies", "d-claim", "cilium", "refuted"),
]


def frame(rows):
    return pd.DataFrame(rows, columns=["topic", "claim", "arm", "verdict"])


def test_a_cell_a_finding_with_a_sign_besides_the_colour():
    figure = ledger(frame(ROWS))
    signs = [text.get_text() for ax in figure.axes for text in ax.texts if len(text.get_text()) == 1]
    assert sorted(signs) == sorted("✔✘?✔✘")
    assert sum(len(ax.patches) for ax in figure.axes) == len(ROWS)


def test_every_claim_is_named_once_and_topics_stay_together():
    figure = ledger(frame(ROWS))
    names = [[label.get_text() for label in ax.get_yticklabels()] for ax in figure.axes]
    assert names in (
        [["a-claim"], ["b-claim", "c-claim", "d-claim"]],
        [["a-claim", "b-claim", "c-claim"], ["d-claim"]],
    )


def test_one_topic_and_none():
    assert len(ledger(frame(ROWS[:2])).axes) == 1
    assert ledger(frame([])).axes[0].texts[0].get_text() == "no findings"
