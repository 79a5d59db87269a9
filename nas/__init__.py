"""Graph neural architecture search for recommender systems.

import nas
run = nas.search("ml-100k")            # or a YAML file, or a mapping
run.pareto, run.summary
run.export("my-recommender")
nas.Recommender.load("my-recommender").recommend("1", k=10)
"""

import os

# OpenMP's threads spin while they wait for work. Asleep at once, they are woken up too late: small operations take twice
# as long (55 ms against 25 on two idle cores). Without end, beside another job on the same cores, an epoch took 17 times
# as long. 30,000 turns are about a third of a millisecond. OpenMP reads this once, when torch is first imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "30000")

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.pipeline import compare_baselines, search
from nas.experiment.run import Run
from nas.experiment.worker import work
from nas.recommender import Recommender

__all__ = ["Experiment", "Recommender", "Run", "UserError", "compare_baselines", "search", "work"]
