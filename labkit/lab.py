"""What a notebook holds: the arms, and where to leave its tables and figures."""

from __future__ import annotations

import io
import json
import logging
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from labkit.errors import MissingFeature, NotReady, ParameterError, ReplayMiss, RequestError
from labkit.schema import concat
from labkit.source import connect, is_live, new_folder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    import pandas as pd
    from matplotlib.figure import Figure

    from labkit.cluster import Cluster
    from labkit.collect.gather import Collector

__all__ = ["UNANSWERED", "Gap", "Lab", "Picture"]

#: File in `out` with what live arms did not answer, a line each: the run that it is in is partial.
UNANSWERED = "unanswered.jsonl"

#: Dots an inch of a drawn figure: sharp enough for a report, and small enough for a notebook.
DPI = 110

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gap:
    """What an arm could not answer, and why. `failed`: it should have, and another try may succeed."""

    arm: str
    asked: str
    reason: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure that is drawn already: one drawing for the notebook and for the file."""

    name: str
    figure: Figure
    png: bytes = field(repr=False)

    def _repr_png_(self) -> bytes:
        return self.png

    def __repr__(self) -> str:
        return f"<figure {self.name}>"


@dataclass(slots=True)
class Lab:
    """The arms of a comparison, by name, in the order they were given.

    >>> lab = Lab({"overlay": "replay:overlay-vxlan", "cilium": "replay:cilium"})
    >>> sorted(lab.arms)
    ['cilium', 'overlay']

    `out` is a folder for tables and figures; empty leaves none. Live arms record into `recordings/` there,
    else in a folder of their own under `runs/`, and are put back by `close`, at the end of a `with`, and when
    the kernel ends. Opening a Lab makes pandas show whole cells in this process: the notes and reasons in
    them are sentences.
    """

    sources: Mapping[str, str]
    out: str = ""
    #: Clusters that are open already, by arm; the others are connected to. `close` closes only its own.
    opened: Mapping[str, Cluster] = field(default_factory=dict, repr=False)
    arms: dict[str, Cluster] = field(init=False)
    gaps: list[Gap] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ParameterError("no arms; write arms = {'overlay': 'replay:overlay-vxlan', …}")
        import pandas as pd  # noqa: PLC0415

        pd.set_option("display.max_colwidth", 400)
        names = "-".join(self.sources)
        folder = Path(self.out) if self.out else new_folder(names)
        with ExitStack() as opening:
            self.arms = {}
            for arm, source in self.sources.items():
                self.arms[arm] = self.opened.get(arm) or connect(source, arm, record=_free(folder, arm))
                if arm not in self.opened:
                    opening.callback(self.arms[arm].close)
            opening.pop_all()  # all are there: they stay open

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put back what was changed for live arms, and end their recordings. Closing twice is no error."""
        with ExitStack() as closing:
            for arm, cluster in self.arms.items():
                if arm not in self.opened:
                    closing.callback(cluster.close)

    def each(self, collect: Collector[...], /, *, step: str = "baseline", **options: object) -> pd.DataFrame:
        """One frame from every arm, under each other, with a first column `arm`.

        An arm that lacks the feature, whose recording does not hold the answer, or that fails to answer, is
        left out and noted in `gaps` with the reason. Where no arm has it, the frame is empty and still has
        its columns.
        """
        frames = [self._with_arm(collect.schema.empty(), "")]
        for arm, cluster in self.arms.items():
            try:
                frames.append(self._with_arm(collect(cluster.at(step), **options), arm))
            except MissingFeature as missing:
                self._note(Gap(arm, collect.schema.name, missing.reason))
            except ReplayMiss as miss:
                said = f"not recorded: {miss.request.words[:60]} in step {miss.request.step}"
                self._note(Gap(arm, collect.schema.name, said))
            except (RequestError, NotReady) as error:
                self._note(Gap(arm, collect.schema.name, f"not answered: {error}", failed=True))
        return concat(frames)

    def each_of(self, collectors: Mapping[str, Collector[...]]) -> dict[str, pd.DataFrame]:
        """`each` of several collectors, by name."""
        return {name: self.each(collect) for name, collect in collectors.items()}

    def origins(self) -> pd.DataFrame:
        """Where each arm's answers come from: source, origin, time and what the source says of itself."""
        import pandas as pd  # noqa: PLC0415

        rows = [
            (arm, c.source, c.origin, str(c.about["recorded_at"])[:16].replace("T", " "), c.about["note"])
            for arm, c in self.arms.items()
        ]
        return pd.DataFrame(rows, columns=["arm", "source", "origin", "recorded_at", "note"], dtype="str")

    def missing(self) -> pd.DataFrame:
        """What the arms could not answer so far: arm, what was asked, why not."""
        import pandas as pd  # noqa: PLC0415

        rows = [(gap.arm, gap.asked, gap.reason) for gap in self.gaps]
        return pd.DataFrame(rows, columns=["arm", "asked", "inconclusive because"], dtype="str")

    def table(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """Leave a frame as `tables/<name>.parquet` and `.csv`, and hand it on to be shown."""
        if self.out:
            folder = self._folder("tables")
            frame.to_parquet(folder / f"{name}.parquet", index=False)
            frame.to_csv(folder / f"{name}.csv", index=False)
        return frame

    def figure(self, figure: Figure, name: str) -> Picture:
        """Draw a figure, leave it as `figures/<name>.svg` and `.png`, and give what a notebook shows of it."""
        from matplotlib import rc_context  # noqa: PLC0415

        drawn = io.BytesIO()
        with rc_context({"svg.hashsalt": "labkit"}):  # or ids in the SVG are random
            figure.savefig(drawn, format="png", dpi=DPI, bbox_inches="tight")
            if self.out:
                folder = self._folder("figures")
                (folder / f"{name}.png").write_bytes(drawn.getvalue())
                figure.set_layout_engine("none")  # it is laid out: that need not be done again
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None}, bbox_inches="tight")
        return Picture(name, figure, drawn.getvalue())

    @staticmethod
    def _with_arm(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
        import pandas as pd  # noqa: PLC0415

        frame.insert(0, "arm", pd.Series([arm] * len(frame), frame.index, dtype="str"))
        return frame

    def _folder(self, kind: str) -> Path:
        folder = Path(self.out) / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _note(self, gap: Gap) -> None:
        log.info("%s: %s is missing: %s", gap.arm, gap.asked, gap.reason)
        if gap in self.gaps:
            return
        self.gaps.append(gap)
        if gap.failed and self.out and is_live(self.arms[gap.arm].source):
            line = json.dumps({"arm": gap.arm, "asked": gap.asked, "reason": gap.reason}, ensure_ascii=False)
            with (Path(self.out) / UNANSWERED).open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def _free(folder: Path, arm: str) -> Path:
    """Where a live arm records: a folder that is not there yet."""
    first = folder / "recordings" / arm
    others = (first.with_name(f"{arm}-{n}") for n in range(2, 1000))
    return first if not first.exists() else next(path for path in others if not path.exists())
