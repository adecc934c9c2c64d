"""HTML reports of a run, of a study and of a comparison: one file each, complete in itself."""
