"""Graph neural architecture search for recommender systems.

    import nas
    run = nas.search("ml-100k")            # or a YAML file, or a mapping
    run.pareto, run.summary
    run.export("my-recommender")
    nas.Recommender.load("my-recommender").recommend("1", k=10)
"""

from nas.errors import UserError
from nas.experiment.config import Experiment
from nas.experiment.run import Run, search
from nas.recommender import Recommender

__all__ = ["Experiment", "Recommender", "Run", "UserError", "search"]
