#!/bin/sh
# Runs all tests; what it is given goes to pytest.
set -eu
cd "$(dirname "$0")/.."
# Three processes, each with whole files, since the tests of one file share servers and workers: on
# two cores, since much of a test is waiting. The long files come first, so that no process is left
# with them at the end.
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder "$@"
