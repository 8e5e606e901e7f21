"""The operational store: version pointer, loads, runs, models, scores, exports."""
