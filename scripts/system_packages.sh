#!/usr/bin/env bash
# system_packages.sh PYTHON: installs what pip cannot bring, and only what is missing.
set -euo pipefail
python=$1

missing=()
need() { # PACKAGE COMMAND…: the package is missing unless the command succeeds
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}

need iverilog command -v iverilog
need make command -v make
need g++ command -v g++
need perl perl -MPod::Usage -e 1 # Verilator's front end is a Perl script; Debian's perl-base lacks this module
need python3-venv "$python" -c 'import ensurepip'
# The browser in which tests open pages, by the names that tests/nmgen/page/browser.py knows.
browser=chromium-headless-shell
need $browser bash -c 'type -P chromium-headless-shell || type -P chromium || type -P google-chrome'

((${#missing[@]})) || exit 0

if ! command -v apt-get >/dev/null; then
    echo "make: missing on this system, please install: ${missing[*]}" >&2
    exit 1
fi

as_root=()
if ((EUID != 0)); then
    command -v sudo >/dev/null || { echo "make: missing, and neither root nor sudo to install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "make: installing ${missing[*]}"
"${as_root[@]}" apt-get update -qq
if ! apt-cache show $browser >/dev/null 2>&1; then # Ubuntu has none but as a snap
    echo "make: there is no package $browser: tests of pages will fail until a Chromium is installed" >&2
    for i in "${!missing[@]}"; do [[ ${missing[i]} != "$browser" ]] || unset "missing[i]"; done
    ((${#missing[@]})) || exit 0
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
