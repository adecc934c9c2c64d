"""Where the samples of a split are kept: in memory, in their files, or in a torch data set."""
