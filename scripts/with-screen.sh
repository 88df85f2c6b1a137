#!/usr/bin/env bash
# Runs a command on the screen that is there, or else, on Linux, on a virtual one that napari can draw on.
set -euo pipefail
if [ "$(uname -s)" != Linux ] || [ -n "${DISPLAY:-}" ]; then
    exec "$@"
elif command -v xvfb-run >/dev/null; then
    exec xvfb-run -a -s "-screen 0 1400x1000x24" "$@"
fi
echo "No screen and no xvfb-run: install xvfb and xauth, or set DISPLAY." >&2
exit 1
