"""What the command line prints as tables."""

from typing import Any

from rich.console import Console
from rich.table import Table


def print_models(rows: list[dict[str, Any]], metric: str, lead: str) -> None:
    """Print models, best on `metric` first, beside `lead` over each."""
    shown = [metric, "recall@20" if metric != "recall@20" else "ndcg@20"]
    table = Table("model", *shown, f"{lead} in {metric} [95 %]", title="Test data, full ranking")
    for row in sorted(rows, key=lambda row: -row["test"].get(metric, 0.0)):
        if "skipped" in row:
            table.add_row(row["name"], "-", "-", f"skipped: {row['skipped']}")
            continue
        low, mean, high = row["difference"].get(metric, (0.0, 0.0, 0.0))
        told = f"{mean:+.4f} [{low:+.4f}, {high:+.4f}]" if low or high else ""
        table.add_row(row["name"], *(f"{row['test'][name]:.4f}" for name in shown), told)
    Console(soft_wrap=True).print(table)


def print_fidelity(found: dict[str, Any]) -> None:
    """Print what a ranking by the supernet is worth beside what a ranking by mere size is."""

    def shown(value: float | None, interval: list[float] | None = None) -> str:
        tail = f" [{interval[0]:+.3f}, {interval[1]:+.3f}]" if interval else ""
        return "-" if value is None else f"{value:+.3f}{tail}"

    table = Table(
        "ranking of", "by", "Kendall's tau [95 %]", title=f"{found['n']} architectures, {found['metric']}"
    )
    table.add_row("all", "supernet", shown(found["kendall_tau"], found["interval"]))
    table.add_row("all", "another training seed", shown(found["ceiling"], found["ceiling_interval"]))
    for name, row in found["trivial"].items():
        table.add_row("all", name.replace("_", " "), shown(row["kendall_tau"]))
    table.add_row("best quarter", "supernet", shown(found["top_quarter"]))
    for name, row in found["strata"].items():
        table.add_row(f"{name} ({row['n']})", "supernet", shown(row["kendall_tau"]))
    Console(soft_wrap=True).print(table)
    regrets = ", ".join(f"{k} best {found[f'top{k}_regret']:.2%}" for k in (1, 5, 10) if k < found["n"])
    print(f"Spearman's rho {shown(found['spearman'], found['spearman_interval'])}")
    print(f"regret of the supernet's {regrets}")
    each = found["seconds_each"]
    print(f"one architecture: {each['training']:.1f} s to train, {each['supernet']:.3f} s on the supernet")
