"""How the winner was trained, how to repeat the run, and how to use what it made."""

import yaml

from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, details, element, paragraph, table, titled

_SHELL = """\
cd recommender
pip install numpy safetensors
python recommender.py recommend --user ID -k 10
python recommender.py recommend --user ID --new ID,ID -k 10
python recommender.py similar-items --item ID -k 10
python recommender.py similar-users --user ID -k 10
python recommender.py fold-in --history ID,ID,ID -k 10
python recommender.py explain --user ID --item ID"""


def section(evidence: Evidence) -> Html:
    """Return recipe, experiment and shell lines."""
    winner = evidence.winner
    recipe = {**winner["recipe"], "epochs": winner["epochs"]}
    rows = [
        [key, f"{value:.4g}" if isinstance(value, float) else str(value)] for key, value in recipe.items()
    ]
    text = yaml.safe_dump(evidence.experiment.resolved(), sort_keys=False, allow_unicode=True)
    return titled(
        "usage",
        "Recipe and use",
        table("The recipe of the winner, chosen on validation data", ["setting", "value"], rows),
        element("h3", "Use the recommender"),
        paragraph(
            "The folder ",
            element("code", "recommender"),
            " beside this page runs by itself, with numpy and safetensors; it prints JSON lines, best first:",
        ),
        element("pre", _SHELL, class_="scroll", tabindex="0"),
        element("h3", "Repeat the run"),
        paragraph("Saved as a file, this is what ", element("code", "nas search FILE.yaml"), " takes."),
        details("The experiment as YAML", element("pre", text, class_="scroll", tabindex="0")),
    )
