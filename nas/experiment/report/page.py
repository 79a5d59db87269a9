"""The report of a run: one HTML file that needs nothing but a browser."""

from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from nas.experiment.folder import RunFolder
from nas.experiment.report.evidence import Evidence
from nas.experiment.report.markup import Html, element, markup
from nas.experiment.report.sections import SECTIONS

# Nothing may be fetched. plotly.js compiles its WebGL programs from strings, hence 'unsafe-eval'.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'; img-src data: blob:"
_HERE = Path(__file__).parent


def write_report(folder: RunFolder, summary: dict[str, Any]) -> Path:
    """Write report.html whole or not at all and return its path.

    Args:
        folder: of a run whose search and retraining have ended.
        summary: what `summary.json` holds, or will hold.
    """
    text = page(Evidence.read(folder, summary))
    folder.write("report.html", lambda path: path.write_text(text, encoding="utf-8"))
    return folder.path / "report.html"


def page(evidence: Evidence) -> Html:
    """Return the whole page."""
    head = element(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        # An empty icon of its own: a browser would ask the server for one.
        Html('<link rel="icon" href="data:,">'),
        element("title", f"Architecture search on {evidence.experiment.data_name}"),
        element("style", Html((_HERE / "page.css").read_text(encoding="utf-8"))),
        element("script", Html(get_plotlyjs())),
    )
    body = element(
        "body",
        element("main", *(section(evidence) for section in SECTIONS)),
        element("noscript", "The charts of this page need JavaScript; the tables do not."),
        element("script", Html((_HERE / "page.js").read_text(encoding="utf-8"))),
    )
    return markup(Html("<!doctype html>\n"), element("html", head, body, lang="en"))
