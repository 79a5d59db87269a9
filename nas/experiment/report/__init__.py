"""The report of a run."""

from nas.experiment.report.page import write_report

__all__ = ["write_report"]
