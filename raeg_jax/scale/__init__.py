"""More images than one process takes: shards of a source, and workers of a Ray cluster."""
