"""How numbers and names read in the report."""

from collections.abc import Sequence

_NAMES = {
    "lightgcn": "LightGCN",
    "gcn": "GCN",
    "sage": "GraphSAGE",
    "gin": "GIN",
    "ngcf": "NGCF",
    "gat": "GAT",
    "gatv2": "GATv2",
    "popularity": "Popularity",
    "itemknn": "ItemKNN",
    "userknn": "UserKNN",
    "ease": "EASE",
    "slim": "SLIM",
    "rp3beta": "RP3beta",
    "ials": "iALS",
    "gfcf": "GF-CF",
    "mf-bpr": "MF with BPR",
    "graphsage": "GraphSAGE",
}
_UNITS = {
    "refresh_macs": "MACs",
    "artefact_bytes": "bytes",
    "refresh_seconds": "seconds",
}
_NUMBERS = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
MINUS = "\u2212"
NOTHING = "\u2013"
# A space that no line is broken at, between a number and its unit.
_FIXED = "\u00a0"


def name_of(key: str) -> str:
    """Return a model's or an aggregator's name as its authors spell it."""
    return _NAMES.get(key, key)


def metric_name(key: str) -> str:
    """Return `ndcg@20` as NDCG@20, `hit_rate@10` as Hit rate@10."""
    quality, at, k = key.partition("@")
    shown = quality.upper() if quality in ("ndcg", "mrr", "map") else quality.replace("_", " ").capitalize()
    return f"{shown}{at}{k}"


def axis_name(objective: str) -> str:
    """Return an objective with its unit, for an axis."""
    if "@" in objective:
        return metric_name(objective)
    return f"{objective} ({_UNITS[objective]})" if objective in _UNITS else objective


def decimal(value: float, digits: int = 4, signed: bool = False) -> str:
    """Return .3645, without the zero before the point; `signed` puts + before what is above 0."""
    text = f"{abs(value):.{digits}f}"
    text = text.removeprefix("0") if abs(value) < 1 else text
    zero = float(f"{value:.{digits}f}") == 0
    sign = "" if zero else MINUS if value < 0 else "+" if signed else ""
    return sign + text


def interval(low: float, high: float, digits: int = 4) -> str:
    """Return [.0052, .0180]."""
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"


def percent(share: float) -> str:
    """Return 41 %."""
    return f"{100 * share:.0f}{_FIXED}%"


def count(value: float) -> str:
    """Return 100,000."""
    return f"{round(value):,}"


def size(value: float) -> str:
    """Return 35.2 M for 35232000."""
    for unit, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.3g} {name}"
    return f"{value:.3g}"


def duration(seconds: float) -> str:
    """Return 0.03 s, 48.3 s, 2 min 36 s or 3 h 05 min."""
    if seconds < 59.95:
        return f"{seconds:.2g}{_FIXED}s" if seconds < 1 else f"{seconds:.1f}{_FIXED}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_FIXED}min {rest:02d}{_FIXED}s"
    return f"{minutes // 60}{_FIXED}h {minutes % 60:02d}{_FIXED}min"


def time_unit(seconds: float) -> tuple[float, str]:
    """Return (seconds in the unit, its name) that suits an axis which ends at `seconds`."""
    return (
        (1.0, "seconds") if seconds < 300 else (60.0, "minutes") if seconds < 3 * 3600 else (3600.0, "hours")
    )


def counted(number: int, noun: str) -> str:
    """Return `three layers`, `one layer`."""
    word = _NUMBERS[number] if number < len(_NUMBERS) else count(number)
    return f"{word} {noun}" if number == 1 else f"{word} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and c`."""
    return " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part) if parts else ""
