"""HTML reports of a run, of a study and of a comparison: one file each, complete in itself."""

from limbeck.optional import need

need("limbeck.report", "report")
