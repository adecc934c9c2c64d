"""What it costs a run to be killed, saved and shared."""
