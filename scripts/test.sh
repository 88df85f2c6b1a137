#!/usr/bin/env bash
# Checks the code, then runs the tests; everything runs, and any failure fails. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()

step() {
    local name="$1"
    shift
    printf '\n== %s\n' "$name"
    "$@" || failed+=("$name")
}

step "ruff check" .venv/bin/ruff check
step "ruff format" .venv/bin/ruff format --check
step "mypy" .venv/bin/mypy
step "lint-imports" .venv/bin/lint-imports
if [ "${LINT_ONLY:-}" != 1 ]; then
    # Two processes of one thread each: torch's own threads would wait for each other.
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
    step "pytest" scripts/with-screen.sh .venv/bin/python -m pytest -n 2 --dist worksteal "$@"
fi

if [ ${#failed[@]} -gt 0 ]; then
    printf '\nfailed: %s\n' "$(IFS=,; echo "${failed[*]}")"
    exit 1
fi
