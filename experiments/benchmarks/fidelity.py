"""The fidelity table: how far supernets rank architectures as training does, out of runs that measured it."""

from pathlib import Path
from typing import Annotated, Any

import typer
from tables import replace_rows

import nas
from nas.errors import UserError

OUT = Path("results/benchmarks/fidelity.json")


def row(run: nas.Run) -> dict[str, Any]:
    """Return what a run measured; `trivial` has the tau of each predictor that needs no supernet.

    Raises:
        UserError: the run measured nothing.
    """
    found = run.folder.read_json("fidelity.json")
    if found is None:
        raise UserError(f"{run.path}: its fidelity was not measured; run `nas fidelity {run.path}` first")
    kept = ("n", "seeds", "kendall_tau", "interval", "spearman", "top_quarter", "top1_regret", "top5_regret")
    return {
        "data": run.experiment.name,
        "threads": run.folder.read_json("environment.json")["threads"],
        **{key: _rounded(found[key]) for key in kept},
        "ceiling": _rounded(found["ceiling"]),
        "trivial": {name: _rounded(one["kendall_tau"]) for name, one in found["trivial"].items()},
        "strata": {name: _rounded(one["kendall_tau"]) for name, one in found["strata"].items()},
        "seconds_each": {name: _rounded(value) for name, value in found["seconds_each"].items()},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return round(value, 4) if isinstance(value, float) else value


def main(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out: Annotated[
        Path, typer.Option(help="The JSON file to write; data sets it holds already are kept.")
    ] = OUT,
) -> None:
    """Gather runs whose fidelity was measured into one table."""
    made = [row(nas.Run(run)) for run in runs]
    replace_rows(out, made)
    for one in made:
        low, high = one["interval"]
        print(
            f"{one['data']:16} n {one['n']} tau {one['kendall_tau']:.3f} [{low:.3f}, {high:.3f}], {one['trivial']}"
        )


if __name__ == "__main__":
    typer.run(main)
