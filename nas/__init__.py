"""Graph neural architecture search for recommender systems.

import nas
run = nas.search("ml-100k")            # or a YAML file, or a mapping
run.pareto, run.summary
run.export("my-recommender")
nas.Recommender.load("my-recommender").recommend("1", k=10)
"""

import os

# OpenMP's threads spin while they wait. Beside another job on the same two cores that made a LightGCN epoch 17 times
# slower (5.5 s against 0.33 s asleep); on idle cores sleeping costs some tens of percent (0.18 s against 0.13 s).
# OpenMP reads this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.run import Run, search
from nas.recommender import Recommender

__all__ = ["Experiment", "Recommender", "Run", "UserError", "search"]
