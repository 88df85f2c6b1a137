#!/usr/bin/env bash
# Rewrites requirements.txt from what .venv holds, after a dependency was added or updated there.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/python -m pip check
not_needed='^(-e|#|uv==|pip==|napari-cellinterp)'
# a build for one kind of processor is pinned as its release; platforms without pyoperon's wheels go without
operon="platform_system == 'Linux' and platform_machine == 'x86_64'"
operon="$operon or platform_system == 'Darwin' and platform_machine == 'arm64' or platform_system == 'Windows'"
pins="$(.venv/bin/python -m pip freeze --exclude-editable | grep -viE "$not_needed" |
    sed -E -e 's/^(torch==[0-9.]+)\+.*/\1/' -e "s/^(pyoperon==.*)/\1; $operon/")"
cat >requirements.txt <<END
# Everything that development and the tests use, pinned: the versions that the figures in docs/ were made with.
# torch stands in the same list as the rest on purpose: installed later, it would be resolved anew.
# Written by \`make pins\`.
$pins
END
