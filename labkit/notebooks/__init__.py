"""Notebooks: found, run in parallel with papermill, and stored with fresh outputs.

    book     what a notebook is: its title, its parameters, those that a person may set
    nursery  a process that has imported what notebooks import, and forks kernels
    kernels  where the kernels of a run come from, and how they all end
    execute  one notebook through papermill; many at once
    gate     arms that are measured must be alike
    holding  the live arms of a run, held once and served to its kernels
    running  a run, from its checks to its end; and going on with one
    runs     the folder a run leaves
    golden   the outputs that are committed with the notebooks

papermill and nbformat take over a second to import, so they are imported inside functions; `labkit
--help` never pays for them.
"""

from labkit.notebooks.book import Notebook, discover, find_folder, select
from labkit.notebooks.execute import Outcome, Watch
from labkit.notebooks.golden import refresh
from labkit.notebooks.running import resume, run
from labkit.notebooks.runs import Run

__all__ = [
    "Notebook", "Outcome", "Run", "Watch",
    "discover", "find_folder", "refresh", "resume", "run", "select",
]  # fmt: skip
