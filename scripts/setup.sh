#!/usr/bin/env bash
# Makes .venv from requirements.txt, and says or installs what the system lacks. Quick when nothing has changed.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
is_linux() { [ "$(uname -s)" = Linux ]; }
is_debian() { is_linux && command -v apt-get >/dev/null; }
is_root() { [ "$(id -u)" = 0 ]; }

apt_install() {
    say "installing $*"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# The pins have wheels for these versions of Python; the package itself needs 3.11 or later.
usable_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && usable_python "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

install_python() {
    if is_debian && is_root; then
        apt_install python3 python3-venv || true
        find_python >/dev/null || apt_install python3.11 python3.11-venv || true
    elif is_debian; then
        say "needs Python 3.11 to 3.13 with venv: sudo apt-get install python3 python3-venv"
    fi
}

# What napari draws with: Debian's package, and the program, library or driver by which its presence shows.
SYSTEM_PACKAGES="
xvfb program Xvfb
xauth program xauth
libegl1 library libEGL.so.1
libgl1 library libGL.so.1
libgl1-mesa-dri driver swrast_dri.so
libglib2.0-0 library libglib-2.0.so.0
libdbus-1-3 library libdbus-1.so.3
libfontconfig1 library libfontconfig.so.1
libxkbcommon-x11-0 library libxkbcommon-x11.so.0
libxcb-cursor0 library libxcb-cursor.so.0
libxcb-icccm4 library libxcb-icccm.so.4
libxcb-image0 library libxcb-image.so.0
libxcb-keysyms1 library libxcb-keysyms.so.1
libxcb-randr0 library libxcb-randr.so.0
libxcb-render-util0 library libxcb-render-util.so.0
libxcb-shape0 library libxcb-shape.so.0
libxcb-xkb1 library libxcb-xkb.so.1
"

missing_packages() {
    local known package kind sign
    known="$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)"
    while read -r package kind sign; do
        case "$kind" in
            program) command -v "$sign" >/dev/null ;;
            library) grep -qF "$sign " <<<"$known" ;;
            driver) compgen -G "/usr/lib*/dri/$sign" >/dev/null || compgen -G "/usr/lib/*/dri/$sign" >/dev/null ;;
            *) true ;;
        esac || echo "$package"
    done <<<"$SYSTEM_PACKAGES"
}

check_system() {
    local missing
    missing="$(missing_packages | tr '\n' ' ')"
    [ -n "$missing" ] || return 0
    say "missing for napari's window (names as on Debian and Ubuntu): $missing"
    if is_debian && is_root; then
        # shellcheck disable=SC2086
        apt_install $missing || say "apt-get could not install them; going on, but napari may not start"
    else
        say "please run: sudo apt-get install $missing"
    fi
}

wanted() { { cat requirements.txt pyproject.toml && pwd; } | cksum; }

install_environment() {
    local python
    if [ -x .venv/bin/python ] && [ "$(cat .venv/.installed 2>/dev/null)" = "$(wanted)" ]; then
        return
    fi
    if ! usable_python .venv/bin/python; then
        python="$(find_python)" || { install_python && python="$(find_python)"; } || {
            say "found no Python 3.11 to 3.13; name one: make setup PYTHON=/path/to/python3.12"
            exit 1
        }
        say "making .venv with $("$python" --version)"
        "$python" -m venv --clear .venv
    fi
    say "installing what requirements.txt pins (some minutes and 2 GB the first time)"
    .venv/bin/python -m pip install --quiet -r requirements.txt
    .venv/bin/python -m pip install --quiet --no-deps -e .
    .venv/bin/python -m pip check
    wanted >.venv/.installed
}

if is_linux; then check_system; fi
install_environment
