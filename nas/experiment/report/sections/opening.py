"""What was done, on which data, and how it came out: the first screen."""

from typing import Any

from nas.experiment.report.architecture_words import in_words
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, element, paragraph
from nas.experiment.report.verdict import verdict
from nas.experiment.report.wording import counted, decimal, duration, interval, listed


def section(evidence: Evidence) -> Html:
    """Return the page's header."""
    summary, winner = evidence.summary, evidence.winner
    data, search = summary["data"], summary["search"]
    test, candidates = winner["test"], summary["retrain"]["candidates"]
    sentences, wins = verdict(summary)
    return element(
        "header",
        element("h1", f"Architecture search on {evidence.experiment.data_name}"),
        paragraph(
            f"{search['trials']:,} trials ({search['unique_architectures']:,} different architectures, proposed by "
            f"{search['sampler']}) looked for the graph neural network that recommends best to {data['users']:,} users "
            f"of {data['items']:,} items, by {data['interactions']:,} interactions ({_parts(evidence)}). Each was judged "
            f"with the shared weights of one supernet; {counted(candidates, 'candidate')} "
            f"{'was' if candidates == 1 else 'were'} trained from scratch, and the winner was chosen on validation data. "
            f"{_reading(evidence)} All of it took {duration(summary['seconds_total'])}."
        ),
        element(
            "div",
            element(
                "div",
                element("h2", "The winner"),
                paragraph(
                    f"{in_words(winner['architecture'])[:1].upper()}{in_words(winner['architecture'])[1:]}."
                ),
                element(
                    "dl",
                    _figure("NDCG@20 on test", decimal(test["ndcg@20"], 3)),
                    _figure("Recall@20 on test", decimal(test["recall@20"], 3)),
                    class_="figures",
                ),
                *_repeats(winner),
                class_="card",
            ),
            element(
                "div",
                element("h2", "Against the baselines"),
                paragraph(
                    *[
                        part
                        for sentence in sentences
                        for part in (
                            element("strong", sentence) if sentence is sentences[0] else sentence,
                            " ",
                        )
                    ]
                ),
                paragraph(
                    f"NDCG@20 of {summary['test_users']:,} test users; 95 % intervals from a paired bootstrap over users. "
                    "Every model was tuned on the same validation data and refitted on train + validation.",
                    class_="small",
                ),
                class_="card good" if wins else "card caution",
            ),
            class_="cards",
        ),
        *_broken(winner),
        fidelity(evidence),
    )


def fidelity(evidence: Evidence) -> Html:
    """Return a paragraph on how far the supernet's ranking can be trusted."""
    found = evidence.summary.get("fidelity")
    if found is None:
        return paragraph(
            "How far the supernet's ranking agrees with stand-alone training was not measured in this run.",
            class_="small",
        )
    if found["kendall_tau"] is None:
        return paragraph(
            f"Fidelity of the supernet: over {counted(found['n'], 'architecture')} trained alone there is no "
            "ranking to compare, for all scores, or all that they have after training, are alike.",
            class_="small",
        )
    low, high = found["interval"]
    return paragraph(
        f"Fidelity of the supernet: over {counted(found['n'], 'architecture')} trained alone, Kendall's tau between "
        f"the two rankings is {decimal(found['kendall_tau'], 2)} {interval(low, high, 2)} (95 %). "
        f"The best of the supernet's five favourites is {decimal(100 * found['top5_regret'], 1)} % below the best of all.",
        class_="small",
    )


def _broken(winner: dict[str, Any]) -> list[Html]:
    broken = [one["constraint"] for one in winner.get("constraints", []) if not one["held"]]
    if not broken:
        return []
    words = f"The winner breaks {listed(broken)}: of what was trained from scratch, nothing comes closer."
    return [paragraph(element("strong", words))]


def _repeats(winner: dict[str, Any]) -> list[Html]:
    found = winner.get("repeats", {"number": 1})
    if found["number"] < 2:
        return []
    spread = f"{decimal(found['mean']['ndcg@20'])} \u00b1 {decimal(found['deviation']['ndcg@20'])}"
    words = f"Over {counted(found['number'], 'seed')} of the training: NDCG@20 {spread} (standard deviation)."
    return [paragraph(words, class_="small")]


def _parts(evidence: Evidence) -> str:
    data, experiment = evidence.summary["data"], evidence.experiment
    strategy = str(experiment.split.strategy)
    sizes = [f"{data[key]:,} {name}" for key, name in _PARTS.items() if key in data]
    return f"{strategy.replace('_', ' ')} split: {', '.join(sizes)}"


_PARTS = {"train": "for training", "valid": "for validation", "test": "for the test"}


def _reading(evidence: Evidence) -> str:
    search, baselines = map(evidence.test_reads.count, ("search", "baselines"))
    if not search:
        return "The test data decided nothing."
    alone = f", and {_times(baselines)} by nas baselines, which chose nothing by it" if baselines else ""
    return f"Test data was read {_times(search)} by the search, after everything was chosen{alone}."


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _figure(name: str, value: str) -> Html:
    return element("div", element("dt", name), element("dd", value))
