#!/bin/sh
# Makes .venv, with all that demo, services, tests and checks need; finds it made the next time.
# Every PIP_… variable of the environment counts. PYTHON names another interpreter.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'set-up: %s\n' "$1" >&2
    exit 1
}

# A virtual environment does not survive a move, so the folder is part of what it was made for.
wanted="$PWD $(cat pyproject.toml constraints.txt scripts/setup.sh | cksum)"
stamp=.venv/made-for
made=
if [ -f "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
    made=$(cat "$stamp")
fi
if [ "$made" = "$wanted" ]; then
    exit 0
fi

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

make_venv() {
    if [ -n "${PYTHON:-}" ]; then
        new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not Python 3.11 or newer."
    else
        for name in python3 python3.14 python3.13 python3.12 python3.11; do
            if new_enough "$name"; then
                PYTHON=$name
                break
            fi
        done
    fi
    if [ -z "${PYTHON:-}" ]; then
        fail "Stoker needs Python 3.11 or newer, and $(python3 --version 2>/dev/null || echo 'no Python') \
is on PATH. Install one (Debian 12, Ubuntu 24.04: apt install python3 python3-venv), or name one: \
make PYTHON=/path/to/python3.12 …"
    fi
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || fail "$("$PYTHON" --version) has no venv module. \
On Debian and Ubuntu: apt install python3-venv"

    printf 'Setting up .venv with %s. ' "$("$PYTHON" --version)"
    printf 'The first time, PyTorch is downloaded: some 200 MB as a CPU build,\n'
    printf 'several GB as the CUDA build that the package index has for Linux on x86-64 '
    printf '(README.md says how to choose).\n'
    rm -rf .venv
    "$PYTHON" -m venv .venv || fail "no virtual environment could be made in $PWD/.venv."
}

install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input -c constraints.txt "$@" ||
        fail "pip could not install what Stoker needs; its own words stand above. Is there a \
network, and does pip reach its package index (PIP_INDEX_URL, PIP_PROXY, PIP_CERT)?"
}

# Dependencies that have changed are brought up to date in the environment that is there.
case $made in
"$PWD "*) printf 'Bringing .venv up to date.\n' ;;
*) make_venv ;;
esac

# The build backend first, so that it is the pinned one and no second environment is made for it.
install --quiet hatchling editables
install --no-build-isolation --editable '.[dev]'
printf '%s' "$wanted" >"$stamp"
