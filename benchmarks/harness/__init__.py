"""Latency that can be trusted: contenders, interleaved measurement, figures, and the results file."""
