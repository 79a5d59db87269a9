"""The report, written from made-up runs: nothing is trained here."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import polars as pl
import pytest

from nas.baselines import BASELINES, TRAINED
from nas.experiment.config import Experiment
from nas.experiment.folder import RunFolder
from nas.experiment.report import write_report
from nas.experiment.report.architecture_words import in_words
from nas.experiment.report.cost_axis import CostAxis
from nas.experiment.report.drawing import architecture_graph
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.importance import importance
from nas.experiment.report.sections.pareto import pair_front
from nas.experiment.report.verdict import outcome
from nas.experiment.report.wording import decimal, duration, listed, metric_name, name_of
from nas.search.constraints import Constraint
from nas.search.fidelity import rank_fidelity
from nas.search.hypervolume import hypervolume_history
from nas.search.loop import Candidate
from nas.search.pareto import front, front_mask, losses
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace

HOSTILE = "<script>alert(1)<script>.csv"
OBJECTIVES = ("ndcg@20", "refresh_macs")
METRICS = {"recall@20": 0.41, "ndcg@20": 0.36}
Make = Callable[..., RunFolder]


def planted_values(architecture: Architecture, rng: np.random.Generator) -> dict[str, float]:
    branch = architecture.graph
    quality = 0.1 * np.log2(branch.hidden_size / 16) + 0.05 * (branch.score == "dot") + rng.normal(0, 0.01)
    return {
        "ndcg@20": float(quality),
        "recall@20": float(quality * 1.1),
        "graph_alone": float(quality) / 2,
        "refresh_macs": float(len(branch.layers) * branch.hidden_size * 1e5),
        "parameters": 1000 * branch.hidden_size,
    }


def candidates(n: int, constant: bool = False) -> list[Candidate]:
    rng = np.random.default_rng(1)
    space = SearchSpace.load("graph")
    found = []
    for number in range(n):
        architecture = space.sample(rng)
        values = planted_values(architecture, rng)
        values |= {"ndcg@20": 0.2} if constant else {}
        found.append(Candidate(number, architecture, values, False, 0.5, 1e9 + number))
    return found


def baselines() -> list[dict[str, Any]]:
    def row(name: str, low: float, mean: float, high: float) -> dict[str, Any]:
        return {
            "name": name,
            "settings": {"regularisation": 177.8},
            "tried": 13,
            "seconds": 48.0,
            "test": {key: value - mean for key, value in METRICS.items()},
            "difference": {key: [low, mean, high] for key in METRICS},
        }

    return [
        row("lightgcn", -0.002, 0.001, 0.004),
        row("popularity", 0.199, 0.212, 0.225),
        row("ease", -0.0181, -0.0112, -0.0052),
        {"name": "itemknn", "skipped": "50,000 < items & <b>", "test": {}, "difference": {}, "seconds": 0.0},
    ]


def summary_of(experiment: Experiment, found: list[Candidate], winner: Candidate) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "data": {
            "users": 943,
            "items": 1682,
            "interactions": 100000,
            "train": 80000,
            "valid": 9000,
            "test": 11000,
        },
        "supernet": {"epochs": 8, "seconds": 140.0},
        "search": {
            "sampler": "nsga2",
            "trials": len(found),
            "unique_architectures": len({c.architecture for c in found}),
            "seconds": 16.0,
        },
        "retrain": {"candidates": 1, "seconds": 36.0},
        "winner": {
            "id": winner.architecture.id,
            "architecture": winner.architecture.model_dump(mode="json"),
            "description": str(winner.architecture),
            "recipe": {"loss": "softmax", "temperature": 0.11610824},
            "epochs": 20,
            "validation": METRICS,
            "test": METRICS | {"coverage@20": 0.43},
            "parameters": 168000,
            "refresh_macs": 35232000,
            "artefact_bytes": 1193206,
        },
        "baselines": baselines(),
        "test_users": 943,
        "fidelity": None,
        "seconds": {"recipe": 155.0, "supernet": 140.0, "search": 16.0, "retrain": 36.0, "test": 205.0},
        "seconds_total": 552.0,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    def make(
        n: int = 40,
        objectives: tuple[str, ...] = OBJECTIVES,
        constant: bool = False,
        searched: str = "graph",
    ) -> RunFolder:
        space = SearchSpace.load(searched).model_dump(mode="json", exclude_none=True)
        experiment = Experiment.parse(
            {
                "name": "made-up",
                "data": {"path": HOSTILE, "user": "u", "item": "i"},
                "search_space": space | {"description": "</script><img src=x>"},
                "search": {"objectives": list(objectives), "trials": n},
            },
            "test",
            tmp_path,
        )
        folder = RunFolder(tmp_path / "run")
        folder.claim(experiment)
        found = candidates(n, constant)
        best = front(found, objectives)
        volume = hypervolume_history(losses(found, objectives))
        rows = [
            {
                "number": c.number,
                "id": c.architecture.id,
                "architecture": json.dumps(c.architecture.model_dump(mode="json")),
                "description": str(c.architecture),
                "cached": c.cached,
                "seconds": c.seconds,
                "finished": c.finished,
                "hypervolume": float(volume[k]),
                **c.values,
            }
            for k, c in enumerate(found)
        ]
        folder.write("trials.parquet", pl.DataFrame(rows).write_parquet)
        folder.write_json(
            "pareto.json",
            [{"id": c.architecture.id, "description": str(c.architecture), "values": c.values} for c in best],
        )
        winner = best[0]
        result = {
            "id": winner.architecture.id,
            "architecture": winner.architecture.model_dump(mode="json"),
            "description": str(winner.architecture),
            "seeds": [0, 1],
            "epochs": 20,
            "validation": METRICS,
            "spread": {"ndcg@20": 0.0042},
            "graph": {"ndcg@20": 0.34},
            "costs": {"refresh_macs": 3e7, "parameters": 170_000},
            "curve": [[0, 0.1], [2, 0.2]],
            "seconds": 12.0,
        }
        folder.write_json(f"retrained/{winner.architecture.id}/result.json", result)
        folder.write_json("environment.json", {"threads": 2, "device": "cpu", "packages": {"torch": "2.13"}})
        folder.write_json("test_reads.json", [{"at": "now"}])
        folder.write_json("summary.json", summary_of(experiment, found, winner))
        return folder

    return make


def report_of(folder: RunFolder, **changes: Any) -> str:
    path = write_report(folder, folder.read_json("summary.json") | changes)
    assert path == folder.path / "report.html"
    return path.read_text(encoding="utf-8")


class Page(HTMLParser):
    """Tags, visible text, tables and chart data of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.charts: list[dict[str, Any]] = []
        self._kind = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._kind = dict(attrs).get("type") or tag

    def handle_endtag(self, tag: str) -> None:
        self._kind = "" if tag in ("script", "style") else self._kind

    def handle_data(self, data: str) -> None:
        if self._kind == "application/json":
            self.charts.append(json.loads(data))
        elif not self._kind:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def rows_of(html: str) -> list[str]:
    found = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    return [" ".join(unescape(re.sub(r"<[^>]+>", " ", row)).split()) for row in found]


def test_every_baseline_has_its_row(make_run: Make) -> None:
    html = report_of(make_run())
    rows = rows_of(html)
    start = next(n for n, row in enumerate(rows) if row.startswith("★ winner"))
    names = [row.split()[0] for row in rows[start + 1 : start + 5]]
    assert names == ["EASE", "LightGCN", "Popularity", "ItemKNN"]
    assert "▼ baseline better .3712 \u2212.0112 [\u2212.0181, \u2212.0052]" in rows[start + 1]
    assert "≈ undecided" in rows[start + 2]
    assert "▲ winner better .1480 +.2120 [.1990, .2250]" in rows[start + 3]
    assert "skipped: 50,000 < items & <b>" in rows[start + 4]


def test_the_first_screen_says_who_is_better(make_run: Make) -> None:
    text = Page(report_of(make_run())).text.partition("Every model was tuned")[0]
    assert "EASE is better by .0112 [.0052, .0181]." in text
    assert "Against LightGCN (.0010 [\u2212.0020, .0040]) no difference can be claimed." in text
    assert "The winner beats Popularity (by .2120 [.1990, .2250])" in text
    assert "One baseline (ItemKNN) did not run" in text
    assert "943 users" in text
    assert ".360" in text


def test_the_page_fetches_nothing(make_run: Make) -> None:
    html = report_of(make_run())
    page = Page(html)
    links = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")
    ]
    assert links == ["data:,"]
    assert html.count("* plotly.js v") == 1
    css = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)[0]
    assert "url(" not in css
    assert "@import" not in css
    policy = next(attributes for _, attributes in page.tags if "http-equiv" in attributes)["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_branches_are_told_with_what_they_are_worth(make_run: Make) -> None:
    item = {"kind": "ease", "regularisation": 10.0, "l1": 1.0, "dropout": 0.0, "neighbours": 300}
    value = {"ndcg@20": 0.3123, "recall@20": 0.4}
    branches = {
        "spectral": {"skipped": "whatever its settings, it costs <more>", "seconds": 0.1},
        "item": {
            "settings": item,
            "alone": value,
            "validation": {**value, "ndcg@20": 0.3277},
            "beside_all": {"ease": 0.3301, "slim": 0.3342},
            "tried": 1234,
            "seconds": 71.0,
        },
    }
    folder = make_run()
    winner = folder.read_json("summary.json")["winner"]  # type: ignore[index]
    architecture = winner["architecture"] | {"item": item, "fusion": {"graph": 0.75, "item": 0.25}}
    html = report_of(folder, branches=branches, winner=winner | {"architecture": architecture})
    page, rows = Page(html), rows_of(html)
    assert "the kinds of item weights that come close have SLIM .3342 and EASE .3301." in page.text
    assert "Chosen once more" not in page.text
    assert "item .3123 .3277 0.25 EASE, regularisation 10, neighbours 300 1,234 1 min 11 s" in rows
    assert any(
        row.startswith("spectral \u2013 \u2013 \u2013 skipped: whatever its settings, it costs <more>")
        for row in rows
    )
    slim = branches["item"] | {"settings": item | {"kind": "slim"}, "beside_all": {}}
    html = report_of(
        folder, branches={"item": slim}, winner=winner | {"architecture": {"item": slim["settings"]}}
    )
    assert any(" 1 SLIM, regularisation 10, l1 1, neighbours 300" in row for row in rows_of(html))
    assert "come close" not in html
    again = slim | {"together": [0.3301, 0.3402]}
    html = report_of(
        folder, branches={"item": again}, winner=winner | {"architecture": {"item": slim["settings"]}}
    )
    assert "what all branches are worth together, were the settings of: item (.3301, then .3402)." in html
    assert 'id="branches"' not in report_of(folder, branches={})


def test_names_are_escaped(make_run: Make) -> None:
    html = report_of(make_run())
    assert HOSTILE not in html
    assert "<img" not in html
    page = Page(html)
    assert f"Architecture search on {HOSTILE}" in page.text
    assert "</script><img src=x>" in page.text
    # plotly.js, the page's own, and one of data for each chart.
    assert sum(tag == "script" for tag, _ in page.tags) == 2 + len(page.charts)


def traces_of(text: str) -> dict[str, dict[str, Any]]:
    return {trace["name"]: trace for chart in Page(text).charts for trace in chart["data"] if "name" in trace}


def test_the_winner_is_a_star_where_training_put_it(make_run: Make) -> None:
    folder = make_run()
    traces = traces_of(report_of(folder))
    winner = folder.read_json("pareto.json")[0]
    assert traces["winner"]["marker"]["symbol"] == "star"
    assert (traces["winner"]["x"], traces["winner"]["y"]) == ([3e7], [METRICS["ndcg@20"]])
    assert winner["id"] in traces["winner"]["text"][0]
    assert "trained from scratch" not in traces
    dots = sum(
        len(trace["text"])
        for name, trace in traces.items()
        if trace.get("mode") == "markers" and "with" in name
    )
    assert 0 < dots <= 40


def test_what_was_trained_has_a_front_of_its_own(make_run: Make) -> None:
    folder = make_run()
    (path,) = folder.path.glob("retrained/*/result.json")
    winner = json.loads(path.read_text())
    # Better at a higher cost, worse at a higher cost, and no number that says what it costs.
    for name, quality, costs in (
        ("better", 0.5, {"refresh_macs": 4e7}),
        ("worse", 0.1, {"refresh_macs": 5e7}),
        ("none", 0.2, {}),
    ):
        other = winner | {"id": name, "name": name, "costs": costs, "validation": {"ndcg@20": quality}}
        folder.write_json(f"retrained/{name}/result.json", other)
    traces = traces_of(report_of(folder))
    assert traces["trained from scratch"]["y"] == [0.5, 0.1]
    assert traces["front after training"]["x"] == [3e7, 4e7]
    assert traces["front after training"]["y"] == [METRICS["ndcg@20"], 0.5]


def test_a_training_of_older_date_costs_what_its_trial_did(make_run: Make) -> None:
    folder = make_run()
    (path,) = folder.path.glob("retrained/*/result.json")
    folder.write_json(
        str(path.relative_to(folder.path)),
        {key: value for key, value in json.loads(path.read_text()).items() if key != "costs"},
    )
    assert traces_of(report_of(folder))["winner"]["x"] == [
        folder.read_json("pareto.json")[0]["values"]["refresh_macs"]
    ]


def test_a_training_stands_beside_what_the_search_promised(make_run: Make) -> None:
    folder = make_run()
    best = folder.read_json("pareto.json")[0]
    (row,) = (row for row in rows_of(report_of(folder)) if f"{best['id']} " in row and "\u00b1" in row)
    promised = decimal(best["values"]["graph_alone"])
    assert f"{best['id']} {promised} {decimal(0.34)} {decimal(METRICS['ndcg@20'])} \u00b1" in row


def test_a_promise_is_that_of_the_network_whatever_stands_beside_it(make_run: Make) -> None:
    folder = make_run()
    evidence = Evidence.read(folder, folder.read_json("summary.json"))
    (result,) = evidence.retrained
    fused = result | {"id": "fused", "architecture": result["architecture"] | {"item": {"kind": "ease"}}}
    expected = folder.read_json("pareto.json")[0]["values"]["graph_alone"]
    assert evidence.promised(result) == evidence.promised(fused) == expected
    other = result["architecture"]["graph"] | {"hidden_size": 7}
    assert evidence.promised({"architecture": {"graph": other}}) is None
    assert evidence.promised({"architecture": {"item": {"kind": "ease"}}}) is None
    older = replace(evidence, trials=evidence.trials.drop("graph_alone"))
    assert older.promised(result) is None


@pytest.mark.parametrize(("bound", "kept"), [("refresh_macs <= 3e7", 1), ("refresh_macs <= 2.9e7", 0)])
def test_what_breaks_a_constraint_is_not_shown_as_trained(make_run: Make, bound: str, kept: int) -> None:
    folder = make_run()
    evidence = Evidence.read(folder, folder.read_json("summary.json"))
    settings = evidence.experiment.search.model_copy(update={"constraints": (Constraint.parse(bound),)})
    bounded = evidence.experiment.model_copy(update={"search": settings})
    assert len(replace(evidence, experiment=bounded).trained()) == kept


def test_three_objectives_make_two_plots(make_run: Make) -> None:
    page = Page(report_of(make_run(objectives=("ndcg@20", "refresh_macs", "parameters"))))
    titles = [chart["layout"].get("xaxis", {}).get("title", {}).get("text", "") for chart in page.charts]
    assert sum(title.startswith(("refresh_macs", "parameters")) for title in titles) == 2


@pytest.mark.parametrize(("n", "constant"), [(1, False), (2, False), (13, True), (40, True)])
def test_few_trials_and_constant_values_are_reported_too(make_run: Make, n: int, constant: bool) -> None:
    text = Page(report_of(make_run(n, constant=constant))).text
    assert "Not enough to tell" in text
    assert "trial 0 of 1" in text or n > 1


def test_what_matters_is_said_in_words(make_run: Make) -> None:
    text = Page(report_of(make_run(200))).text
    assert re.search(r"hidden_size explains 9\d\s% of the variation of ndcg@20", text)
    assert "Never varied" not in text


def test_what_never_varied_is_no_part_of_what_matters(make_run: Make) -> None:
    text = Page(report_of(make_run(200, searched="full"))).text
    (said,) = re.findall(r"hidden_size explains 9\d\s% [^.]*\.", text)
    assert "readout" in said
    assert "item" not in said
    assert re.search(r"Never varied, and so left out: fusion\.graph, [a-z0-9_., ]*item\.kind, ", text)


def test_the_report_says_what_read_test_data(make_run: Make) -> None:
    folder = make_run(3)
    assert (
        "Test data was read once by the search, after everything was chosen." in Page(report_of(folder)).text
    )
    readings = [{"at": "now", "by": by} for by in ("baselines", "search", "search")]
    folder.write_json("test_reads.json", readings)
    text = Page(report_of(folder)).text
    assert (
        "read twice by the search, after everything was chosen, and once by nas baselines, which chose"
        in text
    )


def test_all_work_is_counted_and_named(make_run: Make) -> None:
    folder = make_run(3)
    seconds = folder.read_json("summary.json")["seconds"] | {"branches": 100.0}  # type: ignore[index]
    html = report_of(folder, seconds=seconds)
    winner = next(row for row in rows_of(html) if row.startswith("★ winner"))
    assert winner.replace("\u00a0", " ").endswith(" 7 min 27 s"), "155 + 140 + 100 + 16 + 36"
    assert any(row.startswith("settings of the other branches 1 min 40 s") for row in rows_of(html))
    assert "wall-clock too" not in html
    folder.write_json("environment.json", {"workers": 3})
    assert "shared by 3 processes: the times of search and test are wall-clock too" in report_of(folder)


def test_fidelity_is_reported_when_it_was_measured(make_run: Make) -> None:
    folder = make_run(3)
    assert "was not measured in this run" in Page(report_of(folder)).text
    measured = {"n": 20, "kendall_tau": 0.62, "interval": [0.41, 0.78], "top5_regret": 0.0012}
    text = Page(report_of(folder, fidelity=measured)).text
    assert ".62 [.41, .78]" in text
    assert "not measured" not in text
    alike = measured | {"kendall_tau": None, "interval": [0.0, 0.0]}
    text = Page(report_of(folder, fidelity=alike)).text
    assert "over 20 architectures trained alone there is no ranking to compare" in text


def test_a_predictor_is_a_rival_whichever_way_it_ranks(make_run: Make) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    scores, size = truth + rng.normal(0, 2, 40), -truth + rng.normal(0, 0.1, 40)
    sizes = {"parameters": size, "layers": rng.normal(size=40)}
    found = rank_fidelity(scores, truth[:, None], sizes, {}, 0)
    rows = [
        {"supernet": a, "trained": [b], "hidden size": 4, "id": "x", "description": "one"}
        for a, b in zip(scores.tolist(), truth.tolist(), strict=True)
    ]
    folder = make_run(3)
    each = {"training": 1.0, "supernet": 0.1}
    folder.write_json(
        "fidelity.json", found | {"rows": rows, "metric": "ndcg@20", "seed": 0, "seconds_each": each}
    )
    text = Page(report_of(folder)).text
    assert "the best trivial predictor, parameters (the less, the better), is not shown by these" in text


def test_a_run_without_baselines_says_so(make_run: Make) -> None:
    assert "No baseline was run" in Page(report_of(make_run(3), baselines=[])).text


def test_importance_finds_what_was_planted() -> None:
    space, found = SearchSpace.load("graph"), candidates(300)
    values = np.array([c.values["ndcg@20"] for c in found])
    measured = importance(space, [c.architecture for c in found], values, seed=0)
    assert measured is not None
    shares = {name: sum(genes.values()) for name, genes in measured.shares.items()}
    assert set(shares) == {
        "layers",
        "hidden_size",
        "aggregator",
        "heads",
        "skip",
        "readout",
        "activation",
        "score",
    }
    # By construction: variance .1 ** 2 * 1.25 from the size, .05 ** 2 / 4 from the score, .01 ** 2 of noise.
    assert shares["hidden_size"] == pytest.approx(0.945, abs=0.05)
    assert shares["score"] == pytest.approx(0.047, abs=0.03)
    assert max(share for name, share in shares.items() if name not in ("hidden_size", "score")) < 0.02
    assert sum(shares.values()) == pytest.approx(measured.explained)


def test_importance_of_noise_is_nothing() -> None:
    space, found = SearchSpace.load("graph"), candidates(100)
    noise = np.random.default_rng(0).normal(size=100)
    measured = importance(space, [c.architecture for c in found], noise, seed=0)
    assert measured is not None
    assert measured.explained < 0.1
    assert min(share for genes in measured.shares.values() for share in genes.values()) >= 0


def test_importance_needs_something_to_choose() -> None:
    space = SearchSpace.load("presets/lightgcn")
    assert importance(space, [space.decode({})] * 20, np.arange(20.0), seed=0) is None


@pytest.mark.parametrize("skip", ["none", "residual", "initial", "dense"])
@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_the_drawing_has_every_connection(skip: str, readout: str, depth: int) -> None:
    layers = [{"aggregator": "gat", "heads": 2}] * depth
    graph = architecture_graph({"graph": _branch(layers, skip, readout)})
    kinds = [kind for _, _, kind in graph.edges(data="kind")]
    assert nx.is_directed_acyclic_graph(graph)
    assert all(nx.has_path(graph, node, "score") for node in graph)
    expected = {"none": 0, "residual": depth, "initial": depth, "dense": depth * (depth - 1) // 2}
    assert kinds.count("skip") == expected[skip]
    assert kinds.count("readout") == (depth if readout == "mean" else 0)


def test_other_branches_are_drawn_beside_the_graph_branch() -> None:
    graph = architecture_graph({"graph": _branch([], "none", "last"), "spectral": {"rank": 256}})
    assert graph.has_edge("spectral", "score")
    assert graph.nodes["spectral"]["detail"] == "rank 256"


def _branch(layers: list[dict[str, Any]], skip: str, readout: str) -> dict[str, Any]:
    return {
        "hidden_size": 64,
        "layers": layers,
        "skip": skip,
        "readout": readout,
        "activation": "elu",
        "score": "dot",
    }


def test_costs_over_decades_get_a_logarithmic_axis_with_a_place_for_zero() -> None:
    axis = CostAxis.of(np.array([0.0, 1e5, 1e8]))
    placed = axis.place(np.array([0.0, 1e5, 1e8]))
    assert axis.logarithmic
    assert 0 < placed[0] < 1e5
    assert placed[1:].tolist() == [1e5, 1e8]
    assert not CostAxis.of(np.array([0.0, 1e7, 1e8])).logarithmic
    assert not CostAxis.of(np.zeros(3)).logarithmic


def test_the_front_of_a_pair_is_the_front() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        cost, quality = rng.integers(0, 12, 60).astype(float), rng.integers(0, 12, 60).astype(float)
        expected = np.flatnonzero(front_mask(np.column_stack([cost, -quality])))
        assert sorted(pair_front(cost, quality)) == expected.tolist()


@pytest.mark.parametrize("key", [*BASELINES, *TRAINED])
def test_every_baseline_is_called_as_its_authors_do(key: str) -> None:
    assert name_of(key) != key


@pytest.mark.parametrize(
    ("difference", "expected"),
    [
        ([0.001, 0.002, 0.003], "winner"),
        ([-0.003, -0.002, -0.001], "baseline"),
        ([-0.001, 0.002, 0.003], "neither"),
        ([0.0, 0.002, 0.003], "neither"),
        ([0.0, 0.0, 0.0], "same"),
    ],
)
def test_outcomes(difference: list[float], expected: str) -> None:
    assert outcome(difference) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(0.01134, ".0113"), (-0.01134, "\u2212.0113"), (1.25, "1.2500"), (-0.00001, ".0000")]
)
def test_decimals(value: float, text: str) -> None:
    assert decimal(value) == text


def test_durations_and_lists() -> None:
    assert [duration(s).replace("\u00a0", " ") for s in (0.033, 48.29, 59.99, 155.7, 11_100)] == [
        "0.033 s",
        "48.3 s",
        "1 min 00 s",
        "2 min 36 s",
        "3 h 05 min",
    ]
    assert [listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]


def test_a_fusion_is_said_and_drawn_with_its_weights() -> None:
    architecture = {
        "graph": _branch([], "none", "last"),
        "item": {"kind": "ease"},
        "fusion": {"graph": 0.25, "spectral": 0.0, "item": 0.75},
    }
    graph = architecture_graph(architecture)
    assert set(graph.predecessors("score")) == {"h0", "item"}
    assert graph.nodes["score"] == {
        "title": "Fused score",
        "detail": "0.25 graph, 0.75 item",
        "kind": "score",
    }
    words = in_words(architecture)
    assert words.endswith(
        "scored by dot product, weight 0.25; fused with the item branch, item-item weights (kind ease), weight 0.75"
    )
    assert "fusion" not in words


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("ndcg@20", "NDCG@20"),
        ("map@10", "MAP@10"),
        ("mrr@5", "MRR@5"),
        ("f1@10", "F1@10"),
        ("hit_rate@10", "Hit rate@10"),
    ],
)
def test_qualities_are_spelt_as_in_papers(key: str, shown: str) -> None:
    assert metric_name(key) == shown
