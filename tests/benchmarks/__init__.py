"""Speed, as ratios against a baseline measured in the same run: ``make bench``, or ``python -m tests.benchmarks``."""
