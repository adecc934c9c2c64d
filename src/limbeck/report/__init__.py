"""HTML reports of a run and of a study: one file each, complete in itself."""

from limbeck.report.history import read_history
from limbeck.report.run import run_report
from limbeck.report.study import Contender, differences, overview, study_report

__all__ = ["Contender", "differences", "overview", "read_history", "run_report", "study_report"]
