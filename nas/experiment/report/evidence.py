"""What the report is made from: the files of a run, read once."""

import json
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from nas.experiment.config import Experiment
from nas.experiment.folder import RunFolder
from nas.experiment.stages.judging import ALONE
from nas.search.constraints import violations
from nas.search.objectives import COSTS


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the sections of the report draw on.

    Attributes:
        summary: what `summary.json` holds, or will hold.
        experiment: of the run.
        searched: `trials.parquet`, a row a trial, in order.
        trials: those of them that were evaluated; what costs more than the constraints allow was not.
        architectures: of `trials`, as plain values.
        front: `pareto.json`.
        retrained: every `retrained/*/result.json`, best first by the first objective.
        environment: `environment.json`.
        fidelity: `fidelity.json`, if the supernet's fidelity was measured.
        test_reads: by what the run's test data was read each time, `search` or `baselines`.
    """

    summary: dict[str, Any]
    experiment: Experiment
    searched: pl.DataFrame
    trials: pl.DataFrame
    architectures: list[dict[str, Any]]
    front: list[dict[str, Any]]
    retrained: list[dict[str, Any]]
    environment: dict[str, Any]
    fidelity: dict[str, Any] | None
    test_reads: list[str]

    @classmethod
    def read(cls, folder: RunFolder, summary: dict[str, Any]) -> "Evidence":
        """Read a run folder whose search has ended."""
        experiment = folder.experiment()
        searched = pl.read_parquet(folder.path / "trials.parquet")
        if "feasible" not in searched.columns:
            # A run from before there were constraints.
            searched = searched.with_columns(feasible=pl.lit(True))
        trials = searched.filter(pl.col(experiment.metric).is_not_null())
        names = sorted(
            str(path.relative_to(folder.path)) for path in folder.path.glob("retrained/*/result.json")
        )
        retrained = [folder.read_json(name) for name in names]
        return cls(
            summary,
            experiment,
            searched,
            trials,
            [json.loads(text) for text in trials["architecture"]],
            folder.read_json("pareto.json") or [],
            sorted(retrained, key=lambda result: -result["validation"][experiment.metric]),
            folder.read_json("environment.json") or {},
            folder.read_json("fidelity.json"),
            # Runs of older date do not say.
            [one.get("by", "search") for one in folder.read_json("test_reads.json") or []],
        )

    @property
    def winner(self) -> dict[str, Any]:
        """The winner, as the summary has it."""
        found: dict[str, Any] = self.summary["winner"]
        return found

    @property
    def winner_name(self) -> str:
        """The name of the winner's training."""
        return training_name(self.winner)

    @property
    def objectives(self) -> tuple[str, ...]:
        """What the search optimised; the first decides."""
        return self.experiment.search.objectives

    def feasible(self) -> "Evidence":
        """Return the same with those trials alone that keep to every constraint."""
        kept = self.trials["feasible"].to_list()
        architectures = [one for one, keep in zip(self.architectures, kept, strict=True) if keep]
        return replace(self, trials=self.trials.filter(pl.col("feasible")), architectures=architectures)

    def trained(self) -> list[dict[str, Any]]:
        """Return {name, description, values} of what was trained from scratch and keeps to every constraint.

        Values are those of validation data after training, and costs of the branches as weighed then. A run of older
        date knows costs of trials alone, as all know those that are measured.
        """
        found = []
        for result in self.retrained:
            costs = (self.trial(result["id"]) or {}) | result.get("costs", {})
            values = {name: costs[name] for name in COSTS if name in costs} | result["validation"]
            if not violations(self.experiment.search.constraints, values):
                found.append(
                    {"name": training_name(result), "description": result["description"], "values": values}
                )
        return found

    def promised(self, result: dict[str, Any]) -> float | None:
        """Return what the search found the graph branch of a training to be worth alone, whatever stood beside it there.

        None where it has no such branch, or the search did not see it, or is of older date and does not say.
        """
        graph = result.get("architecture", {}).get("graph")
        if graph is None or ALONE not in self.trials.columns:
            return None
        values = zip(self.architectures, self.trials[ALONE], strict=True)
        return next((value for architecture, value in values if architecture.get("graph") == graph), None)

    def trial(self, architecture_id: str) -> dict[str, Any] | None:
        """Return the first trial of an architecture, if the search had one."""
        found = self.trials.filter(pl.col("id") == architecture_id)
        return found.row(0, named=True) if len(found) else None


def training_name(result: dict[str, Any]) -> str:
    """Return the id, and whether the recipe is the architecture's own: two trainings of one architecture differ in it.

    In a run of older date it is the id alone.
    """
    return str(result.get("name", result["id"]))
