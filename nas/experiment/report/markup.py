"""HTML that is safe by construction: text becomes markup only through these functions, and they escape it."""

from collections.abc import Sequence
from html import escape

# Cells of more characters than this may be broken into lines.
_LONG = 34


class Html(str):
    """Finished markup; any other string is text and is escaped when it becomes part of markup."""

    __slots__ = ()


def markup(*parts: str) -> Html:
    """Join markup and text, the text escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def element(tag: str, *children: str, **attributes: str) -> Html:
    """Return `<tag attributes>children</tag>`; `class_` spells `class`, and `_` inside a name spells `-`."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    opening = "".join(f' {key}="{escape(value)}"' for key, value in pairs)
    return Html(f"<{tag}{opening}>{markup(*children)}</{tag}>")


def paragraph(*children: str, **attributes: str) -> Html:
    """Return a paragraph."""
    return element("p", *children, **attributes)


def titled(identifier: str, title: str, *children: str) -> Html:
    """Return a section of the page under its heading."""
    return element("section", element("h2", title), *children, id=identifier)


def details(summary: str, *children: str) -> Html:
    """Return what is hidden until its summary is clicked."""
    return element("details", element("summary", summary), *children)


def table(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], marked: frozenset[int] = frozenset()
) -> Html:
    """Return a table in a box that scrolls by itself; a row's first cell is its heading.

    Args:
        caption: what the table shows.
        header: names of the columns.
        rows: cells, text or markup.
        marked: numbers of the rows to set off.
    """

    def row(number: int, cells: Sequence[str]) -> Html:
        body = [_cell("th", cells[0], scope="row"), *(_cell("td", cell) for cell in cells[1:])]
        return element("tr", *body, class_="marked") if number in marked else element("tr", *body)

    return element(
        "div",
        element(
            "table",
            element("caption", element("span", caption)),
            element("thead", element("tr", *(element("th", name, scope="col") for name in header))),
            element("tbody", *(row(number, cells) for number, cells in enumerate(rows))),
        ),
        class_="scroll",
        role="region",
        tabindex="0",
        aria_label=caption,
    )


def _cell(tag: str, content: str, **attributes: str) -> Html:
    long = not isinstance(content, Html) and len(content) > _LONG
    return element(tag, content, **attributes, **({"class_": "long"} if long else {}))
