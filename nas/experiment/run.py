"""A run folder, and what can be asked of it."""

import json
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.experiment.context import Context
from nas.experiment.crew import check_workers, with_threads
from nas.experiment.everything import with_everything, with_newer
from nas.experiment.folder import RunFolder
from nas.experiment.headline import fitted_on, headline
from nas.experiment.progress import stage
from nas.experiment.stages.branches import settle_branches
from nas.experiment.stages.export import additions_of, export, ridge_file
from nas.experiment.stages.fidelity import check_measurable, measure_fidelity
from nas.experiment.stages.partners import with_partners
from nas.experiment.stages.recipe import recipe_of
from nas.experiment.stages.retrain import retrain
from nas.experiment.stages.supernet import train_supernet
from nas.experiment.workers import at_work
from nas.recommender.precision import PRECISIONS
from nas.recommender.writer import check_replaceable
from nas.space.architecture import Architecture


class Run:
    """A run folder, as far as it has come."""

    def __init__(self, path: Path | str) -> None:
        """Open a run folder; UserError if it is none."""
        self.folder = RunFolder(Path(path))
        self.experiment = self.folder.experiment()

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds; UserError if the run has not come to its end."""
        found: dict[str, Any] = self._finished("summary.json")
        return found

    @property
    def pareto(self) -> list[dict[str, Any]]:
        """The Pareto front of the search, best quality first: {id, trial, architecture, description, values}."""
        found: list[dict[str, Any]] = self._finished("pareto.json")
        return found

    def report(self) -> Path:
        """Write report.html anew from what the run holds and return its path."""
        return write_report_of(self.folder, self.summary)

    def fidelity(
        self, n: int = 50, seeds: int = 2, seed: int = 0, workers: int | None = None
    ) -> dict[str, Any]:
        """Measure how far the supernet's ranking agrees with training; write it into fidelity.json, summary and report.

        Args:
            n: architectures to draw and train alone.
            seeds: trainings of each.
            seed: of the draw, written down before anything is trained.
            workers: as in `search`.

        Returns:
            What `nas.search.fidelity.rank_fidelity` says, with a row an architecture.

        Raises:
            UserError: the run has not come to its end, a number is too small, or the run's space holds fewer
                than five graph branches.
        """
        check_workers(workers)
        summary, recipe = self.summary, recipe_of(self._finished("recipe.json"))
        check_measurable(self.experiment, n, seeds, seed)
        context = self.opened()
        with self.folder.locked():
            try:
                with at_work(context, workers):
                    weights, _ = train_supernet(context, recipe)
                    found = measure_fidelity(context, weights, recipe, n, seeds, seed)
            finally:
                context.team.dismiss()
            self.folder.write_json("fidelity.json", found)
            summary = summary | {"fidelity": {key: value for key, value in found.items() if key != "rows"}}
            self.folder.write_json("summary.json", summary)
            write_report_of(self.folder, summary)
        return found

    def retrain(self, architecture_id: str) -> dict[str, Any]:
        """Train one architecture of the search from scratch, as the best were; return its validation result.

        It is weighed with all closed-form branches of the space, as those were.

        Raises:
            UserError: no trial of the run has this architecture.
        """
        architecture, recipe = self._architecture(architecture_id), recipe_of(self._finished("recipe.json"))
        context = self.opened()
        with self.folder.locked(), with_threads(context.threads):
            space, _ = settle_branches(context)
            with stage("retrain"):
                return retrain(context, with_partners(context, space, architecture), recipe)

    def export(
        self,
        folder: Path | str,
        architecture_id: str | None = None,
        precision: str = "float32",
        *,
        onnx: bool = False,
        ann: bool = False,
        everything: bool = False,
        data: Path | str | None = None,
    ) -> Path:
        """Write the winner, or another retrained architecture, as an artefact; return its folder.

        `precision` is that of its numbers: float32, float16 or int8. For the latter two, `metrics` in its manifest.json
        say what they do to validation NDCG@20. With `onnx` the folder holds `model.onnx` too, whose answers are compared
        with the recommender's where onnxruntime is installed, with `ann` `items.usearch`, an approximate index of the item
        embeddings; the logger "nas" says how they differ, and what the index is worth.

        An artefact is fitted on training and validation part, and its test metrics are its own. With `everything` it is
        fitted on the test part too, with `data` on that file in place of the run's data: all events there are by now, in
        the columns of the run's data. Architecture, recipe, epochs and settings stay; the metrics are those found before.

        Raises:
            UserError: the architecture was not retrained, the folder holds something else, no such precision, an
                option's library is not installed, `ann` is asked of several branches, `everything` and `data`
                are both given, or `data` cannot be read or is too large for a branch; nothing is written.
        """
        if everything and data is not None:
            raise UserError(
                f"--everything --data {data}: the former is fitted on the run's data, the latter on that "
                "file; give one"
            )
        if precision not in PRECISIONS:
            raise UserError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
        winner = self.summary["winner"]["id"]
        chosen = winner if architecture_id is None else architecture_id
        result = self._retrained(chosen)
        additions = additions_of(result, onnx, ann)
        check_replaceable(Path(folder))
        whole = with_newer(self.experiment, self.folder, Path(data), result) if data is not None else None
        # The run's own data is needed no more where the ridge is chosen already, or there is none to choose.
        chosen_already = not result["architecture"].get("graph") or (self.path / ridge_file(result)).exists()
        context = whole if whole is not None and chosen_already else self.opened()
        if everything and whole is None:
            whole = with_everything(context)
        with self.folder.locked(), with_threads(context.threads):
            test, words = None, list[str]()
            if chosen == winner:
                test, rows = self.summary["winner"]["test"], self.summary["baselines"]
                words.append(headline(self.experiment.metric, self.summary["test_users"], test, rows))
            if whole is not None:
                words.append(fitted_on(f"{len(whole.interactions):,} interactions of {whole.data_name}"))
            elif words:
                words.append(fitted_on(None))
            metrics = metrics_of(result, test)
            export(context, result, metrics, Path(folder), precision, additions, " ".join(words), whole)
        return Path(folder)

    def opened(self) -> Context:
        """Return the run's experiment with its data, loaded and split anew."""
        return Context.open(self.experiment, self.path)

    def _retrained(self, architecture_id: str) -> dict[str, Any]:
        """Return the result of an architecture, by its id or by that and whose recipe it has, as the report names it.

        Of the winner's id, the training that won, else the best by any recipe.
        """
        metric, winner = self.experiment.metric, self.summary["winner"]["name"]
        found = self._results()
        same = [result for result in found if architecture_id in (result["id"], result["name"])]
        if not same:
            raise UserError(
                f"architecture {architecture_id}: not retrained in {self.path}; expected one of "
                f"{sorted({result['id'] for result in found})}, or run `nas retrain {self.path} --architecture "
                f"{architecture_id}` first"
            )
        return max(same, key=lambda result: (result["name"] == winner, result["validation"][metric]))

    def _results(self) -> list[dict[str, Any]]:
        """Return the results of all that was retrained."""
        return [json.loads(path.read_text()) for path in sorted(self.path.glob("retrained/*/result.json"))]

    def _finished(self, name: str) -> Any:
        found = self.folder.read_json(name)
        if found is None:
            alone = "; it holds baselines alone" if self.folder.read_json("baselines.json") else ""
            raise UserError(
                f"{self.path}: the run has no {name} yet{alone}; run `nas search --run {self.path}` to its end"
            )
        return found

    def _architecture(self, architecture_id: str) -> Architecture:
        import polars as pl

        self._finished("pareto.json")
        trials = pl.read_parquet(self.path / "trials.parquet").filter(pl.col("id") == architecture_id)
        if not len(trials):
            if any(architecture_id in (result["id"], result["name"]) for result in self._results()):
                raise UserError(
                    f"architecture {architecture_id}: not of the search, and trained already; `nas export` takes it as it is"
                )
            raise UserError(
                f"architecture {architecture_id}: no trial of {self.path} has this id; "
                f"expected an id of {self.path / 'trials.parquet'}, such as {self.pareto[0]['id']}"
            )
        return Architecture.model_validate(json.loads(trials["architecture"][0]))


def write_report_of(folder: RunFolder, summary: dict[str, Any]) -> Path:
    # Plotly and networkx take a second to import, which a search would spend before its first sign of life.
    from nas.experiment.report import write_report

    return write_report(folder, summary)


def metrics_of(result: dict[str, Any], test: dict[str, float] | None) -> dict[str, Any]:
    return {"validation": result["validation"]} | ({"test": test} if test else {})
