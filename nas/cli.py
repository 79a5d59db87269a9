"""The command line: one thin function a command over the Python API.

Exit codes: 0 done; 1 the run failed; 2 the input is wrong (one line says where); 130 interrupted, resumable.
"""

import errno
import json
import logging
import shlex
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import nas
from nas.errors import UserError
from nas.experiment.settings import all_settings
from nas.failures import known, one_line
from nas.randomness import stream
from nas.search.fidelity import FEWEST
from nas.space.picture import picture
from nas.space.search_space import SearchSpace
from nas.tables import print_fidelity, print_models

app = typer.Typer(
    help="Search graph neural network architectures for recommenders, and export what was found.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
spaces = typer.Typer(help="Search spaces.", no_args_is_help=True)
app.add_typer(spaces, name="spaces")

Json = Annotated[bool, typer.Option("--json", help="Print a machine-readable result on standard output.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]


ExperimentName = Annotated[
    str | None,
    typer.Argument(metavar="[EXPERIMENT.yaml]", help="A file or a shipped name; MovieLens 100K by default."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes that share the work; by default one a core, where the data is large enough."
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Such as search.trials=50.")
]


def _tell_version(asked: bool) -> None:
    if asked:
        print(version("nas-recsys"))
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("search")
def search_command(
    experiment: ExperimentName = None,
    overrides: Overrides = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="The run folder; results/NAME by default.")
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run an experiment from data to recommender; run it again, and it goes on where it stopped."""
    done = nas.search(experiment, run, tuple(overrides or ()), workers)
    if as_json:
        _print_json(done.summary)
    else:
        _print_summary(done)


@app.command("baselines")
def baselines_command(
    experiment: ExperimentName = None,
    overrides: Overrides = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", metavar="DIR", help="The folder; results/NAME-baselines by default."),
    ] = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Tune and judge an experiment's baselines alone, without a search."""
    found = nas.compare_baselines(experiment, run, tuple(overrides or ()), workers)
    if as_json:
        _print_json(found)
        return
    lead = f"lead of {found['best']}, best on validation data,"
    print_models(found["baselines"], found["metric"], lead)


@app.command("report")
def report_command(run: RunPath, as_json: Json = False) -> None:
    """Write report.html anew."""
    path = nas.Run(run).report()
    _print_json({"report": str(path)}) if as_json else print(path)


@app.command("fidelity")
def fidelity_command(
    run: RunPath,
    n: Annotated[int, typer.Option("--n", min=FEWEST, help="Architectures to draw and train alone.")] = 50,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Measure how far the supernet's ranking agrees with training; run again, it goes on where it stopped."""
    found = nas.Run(run).fidelity(n, seeds, seed, workers)
    _print_json(found) if as_json else print_fidelity(found)


@app.command("worker")
def worker_command(run: RunPath, as_json: Json = False) -> None:
    """Help whoever works in a run folder, from any machine that sees it, until that ends."""
    found = nas.work(run)
    left = f", {found.failed} failed here and left to the search" if found.failed else ""
    _print_json(asdict(found)) if as_json else print(f"{found.jobs} jobs done{left}")
    if found.failed:
        raise typer.Exit(1)


@app.command("retrain")
def retrain_command(
    run: RunPath,
    architecture: Annotated[str, typer.Option(metavar="ID", help="The id of an architecture of the search.")],
    as_json: Json = False,
) -> None:
    """Train one architecture of the search from scratch."""
    result = nas.Run(run).retrain(architecture)
    if as_json:
        _print_json(result)
    else:
        quality = ", ".join(
            f"{k} {v:.4f}" for k, v in result["validation"].items() if k.startswith(("ndcg", "recall"))
        )
        print(f"{result['id']}: {result['description']}\nvalidation: {quality}; {result['epochs']} epochs")


@app.command("export")
def export_command(
    run: RunPath,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to write the artefact.")],
    architecture: Annotated[
        str | None, typer.Option(metavar="ID", help="A retrained architecture; the winner by default.")
    ] = None,
    precision: Annotated[
        str, typer.Option(help="Of the artefact's numbers: float32, float16 or int8.")
    ] = "float32",
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx",
            help="Also model.onnx, the same lists for any ONNX runtime: pip install onnx onnxruntime.",
        ),
    ] = False,
    ann: Annotated[
        bool,
        typer.Option(
            "--ann",
            help="Also items.usearch, an approximate index of the item embeddings, where graph is the only branch; "
            "prints its recall and time beside the exact list's: pip install usearch.",
        ),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option(
            "--everything",
            help="Fitted on the test part too, for service; its metrics are those found before.",
        ),
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Fitted on this file instead: newer events, with the columns of the run's data.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a retrained architecture as a recommender that runs by itself."""
    folder = nas.Run(run).export(
        out, architecture, precision, onnx=onnx, ann=ann, everything=everything, data=data
    )
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    found = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["metrics"].get("precision", {})
    if as_json:
        _print_json({"folder": str(folder), "bytes": size, "precision": precision} | found)
        return
    print(folder)
    part = "a random tenth of its data" if everything or data is not None else "the validation part"
    for metric, values in found.items():
        print(
            f"{size:,} bytes; {metric} of {part}, which it was fitted on: float32 "
            f"{values['float32']:.4f}, {precision} {values[precision]:.4f} ({-values['lost']:+.2%})"
        )


@app.command("settings")
def settings_command(as_json: Json = False) -> None:
    """List every setting of an experiment file, with its default and its meaning."""
    found = all_settings()
    if as_json:
        _print_json([asdict(one) for one in found])
        return
    table = Table("setting", "default", "meaning", box=box.SIMPLE_HEAD)
    for one in found:
        table.add_row(Text(one.key), Text(one.default), Text(one.meaning))
    Console().print(table)
    print(
        "What an experiment leaves open shrinks where data is large; experiment.yaml of a run shows what was taken."
    )


@spaces.command("check")
def check_command(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A YAML file or a shipped name, such as graph.")
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of the sample.")] = 0,
    as_json: Json = False,
) -> None:
    """Check a search space; print its size, its dimensions and a sample."""
    space = SearchSpace.load(file)
    sample = space.sample(stream(seed, "sample"))
    if as_json:
        _print_json(
            {
                "name": space.name,
                "size": space.size(),
                "genes": {name: list(choices) for name, choices in space.genes().items()},
                "recipe": {name: str(dimension) for name, dimension in space.recipe.items()},
                "sample": sample.model_dump(mode="json"),
            }
        )
        return
    print(f"{space.name}: {space.size():,} architectures. {space.description}".rstrip())
    table = Table("dimension", "choices", title="Architecture", title_justify="left")
    for name, choices in space.genes().items():
        table.add_row(name, " ".join(map(str, choices)))
    recipe = Table("setting", "choices", title="Recipe, chosen before the search", title_justify="left")
    for name, dimension in space.recipe.items():
        recipe.add_row(name, str(dimension))
    console = Console()
    console.print(table)
    if space.recipe:
        console.print(recipe)
    print(f"\nA sample ({sample.id}):\n{picture(sample)}")
    if space.branches.graph is None:
        print("\nA search needs a graph branch, and this space has none: add branches.graph")


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=1))


def _print_summary(run: nas.Run) -> None:
    summary = run.summary
    winner = summary["winner"]
    print(f"winner {winner['id']}: {winner['description']}")
    found = summary["search"]
    print(
        f"{found['trials']} trials, {found['unique_architectures']} architectures of {found['space_size']:,}, "
        f"{summary['seconds_total']:.0f} s in all"
    )
    if found.get("ended") == "patience":
        print(f"the search stood still after {found['trials']} of {found['asked']} trials")
    for one in winner.get("constraints", []):
        print(f"{'keeps to' if one['held'] else 'BREAKS'} {one['constraint']}: {one['value']:.6g}")
    own = {"name": "[bold]winner", "test": winner["test"], "difference": {}}
    print_models([own, *summary["baselines"]], run.experiment.metric, "winner's lead")
    repeats = winner.get("repeats", {"number": 1})
    if repeats["number"] > 1:
        mean, deviation = (repeats[key][run.experiment.metric] for key in ("mean", "deviation"))
        print(
            f"{repeats['number']} seeds: {run.experiment.metric} {mean:.4f}, standard deviation {deviation:.4f}"
        )
    print(f"report    {run.path / 'report.html'}")
    print(f"artefact  {run.path / 'recommender'}")
    user = shlex.quote(json.loads((run.path / "recommender" / "users.json").read_text(encoding="utf-8"))[0])
    print(f"try       python {run.path / 'recommender' / 'recommender.py'} recommend --user {user} -k 10")


def main() -> None:
    """Run the command line and exit with the code that design and README promise."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("nas").setLevel(logging.INFO)
    try:
        # A fixed name: click would take the one of whatever started it, such as "python -m pytest".
        code = app(prog_name="nas", standalone_mode=False)
    except UserError as error:
        _fail(one_line(error), 2)
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"{error.filename}: too long; a name may have 255 bytes, a path 4,095", 2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        _fail(
            f"{error.filename or 'run folder'}: {error.strerror}; what is finished is kept, run again to go on",
            1,
        )
    except Exception as error:
        _fail(*known(error))
    if code == 130:
        _fail("interrupted; run the same command again to go on", 130)
    sys.exit(code or 0)


def _fail(line: str, code: int) -> None:
    if line:
        print(f"nas: {line}", file=sys.stderr)
    sys.exit(code)
