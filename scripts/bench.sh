#!/usr/bin/env bash
# Runs every benchmark and writes docs/benchmarks.md. Arguments, such as --quick, go to each of them.
set -euo pipefail
cd "$(dirname "$0")/.."
rm -rf out/benchmarks
mkdir -p out/benchmarks docs
for script in benchmarks/*.py; do
    name="$(basename "$script" .py)"
    case "$name" in report | _*) continue ;; esac
    echo "== $name"
    scripts/with-screen.sh .venv/bin/python "$script" --json "out/benchmarks/$name.json" "$@"
done
.venv/bin/python benchmarks/report.py out/benchmarks --out docs/benchmarks.md
