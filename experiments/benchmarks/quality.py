"""The quality table: test metrics of the winner and of every baseline, out of finished runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from tables import replace_rows

import nas

OUT = Path("results/benchmarks/quality.json")
METRIC = "ndcg@20"


def rows(run: nas.Run) -> Iterator[dict[str, Any]]:
    """Yield the winner's row, then each baseline's.

    `interval` is that of the winner's lead in NDCG@20, 95 %, paired bootstrap over users: over the row's model, or in the
    winner's own row over the best of them. `seconds` of the winner are those of everything but the baselines.
    """
    summary, experiment = run.summary, run.experiment
    common = {
        "data": experiment.name,
        "split": experiment.split.strategy,
        "threads": run.folder.read_json("environment.json")["threads"],
        "chosen_on": "validation",
    }
    judged = [row for row in summary["baselines"] if "skipped" not in row]
    best = max(judged, key=lambda row: row["test"][METRIC])
    winner, seconds = summary["winner"], summary["seconds"]
    yield {
        **common,
        "model": "nas",
        "architecture": winner["description"],
        **_metrics(winner["test"]),
        "interval": _ends(best),
        "seconds": round(sum(value for stage, value in seconds.items() if stage != "baselines"), 1),
    }
    for row in sorted(judged, key=lambda row: -row["test"][METRIC]):
        yield {
            **common,
            "model": row["name"],
            "architecture": ", ".join(f"{key} {value}" for key, value in row["settings"].items()),
            **_metrics(row["test"]),
            "interval": _ends(row),
            "seconds": round(row["seconds"], 1),
        }


def _metrics(test: dict[str, float]) -> dict[str, float]:
    return {name: round(test[name], 4) for name in ("recall@20", METRIC)}


def _ends(row: dict[str, Any]) -> list[float]:
    low, _, high = row["difference"][METRIC]
    return [round(low, 4), round(high, 4)]


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        Path, typer.Option(help="The JSON file to write; data sets it holds already are kept.")
    ] = OUT,
) -> None:
    """Gather finished runs into one table."""
    made = [row for run in runs for row in rows(nas.Run(run))]
    replace_rows(out, made)
    for row in made:
        lead = " .. ".join(f"{end:+.4f}" for end in row["interval"])
        print(f"{row['data']:16} {row['model']:12} {row[METRIC]:.4f} {row['recall@20']:.4f}  {lead}")


if __name__ == "__main__":
    typer.run(main)
