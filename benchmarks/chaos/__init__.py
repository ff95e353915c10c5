"""`make chaos`: real processes are killed, cut off and misled; every job is accounted for.

Reading order: `plan` says what is done and what a run must reach to count; `run` does it; `faults`
strikes the `fleet`, the `server` and the `proxy` while `load` submits; `evidence` counts what has
happened; `verdict` judges it.
"""
