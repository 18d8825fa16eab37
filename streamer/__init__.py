"""Time, threads and network: WHIP in, the pipeline, the answer out."""
