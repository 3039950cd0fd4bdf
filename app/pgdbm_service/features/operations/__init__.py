"""The engine's other operations: rehearse, drift, baseline, repair, mark, revert, readiness."""
