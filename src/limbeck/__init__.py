"""limbeck distils a large trained network into a small one."""
