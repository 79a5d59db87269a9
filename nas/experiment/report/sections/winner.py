"""The winner, drawn."""

from nas.experiment.report.architecture_words import READOUTS, SKIPS, in_words
from nas.experiment.report.drawing import architecture_graph, draw
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, details, element, paragraph, table, titled
from nas.experiment.report.wording import count, decimal, metric_name, size


def section(evidence: Evidence) -> Html:
    """Return the drawing, how to read it, and everything that was measured on the winner."""
    winner = evidence.winner
    words = in_words(winner["architecture"])
    return titled(
        "winner",
        "The winner",
        element(
            "div",
            draw(architecture_graph(winner["architecture"]), words),
            element("div", *_explanation(evidence), class_="aside"),
            class_="beside",
        ),
    )


def _explanation(evidence: Evidence) -> list[Html]:
    winner = evidence.winner
    branch = winner["architecture"].get("graph") or {}
    keys = [("flow", "what a layer computes from")]
    if SKIPS.get(branch.get("skip", "none")):
        keys.append(("skip", f"skip connection: {SKIPS[branch['skip']]}"))
    if branch.get("layers") and branch.get("readout") != "last":
        keys.append(("readout", f"readout: {READOUTS.get(branch['readout'], branch['readout'])}"))
    facts = {
        "id": winner["id"],
        "description": winner["description"],
        "parameters": count(winner["parameters"]),
        "MACs a refresh": size(winner["refresh_macs"]),
        "artefact": f"{size(winner['artefact_bytes'])}B",
        "epochs": count(winner["epochs"]),
    }
    for one in winner.get("constraints", []):
        facts[one["constraint"]] = ("kept: " if one["held"] else "broken: ") + f"{one['value']:.6g}"
    metrics = list(dict.fromkeys([*winner["validation"], *winner["test"]]))
    rows = [
        [metric_name(name), *(_cell(winner[part].get(name)) for part in ("validation", "test"))]
        for name in metrics
    ]
    return [
        element("ul", *(element("li", words, class_=f"key {kind}") for kind, words in keys), class_="keys"),
        table(
            "The winner in numbers", ["property", "value"], [[name, value] for name, value in facts.items()]
        ),
        details(
            "Every metric of the winner", table("Validation and test", ["metric", "validation", "test"], rows)
        ),
        paragraph(
            "Validation: trained on train alone. Test, parameters and MACs (multiply-accumulates to compute all final states): "
            "refitted on train + validation for as many epochs.",
            class_="small",
        ),
    ]


def _cell(value: float | None) -> str:
    return "" if value is None else decimal(value)
