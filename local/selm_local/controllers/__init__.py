"""Controllers of the embedded cluster: Jobs, the scheduler's minimum, garbage collection."""
