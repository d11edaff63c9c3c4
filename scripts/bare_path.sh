#!/usr/bin/env bash
# bare_path.sh FOLDER: fills FOLDER with links to all programs on the path but FPGA tools, simulators and provers that
# pip's take the place of. With FOLDER as PATH, only those that set-up brings are found.
set -euo pipefail
folder=$1

hidden=('*yosys*' '*nextpnr*' 'ecp*' '*ecppack*' 'ice*' 'abc' 'berkeley-abc' 'sby' 'verilator*' 'z3' 'boolector' 'btormc' 'yices*')

mkdir -p "$folder"
find "$folder" -type l -delete
IFS=: read -ra places <<<"$PATH"
for ((i = ${#places[@]} - 1; i >= 0; i--)); do # what is first on the path is linked last, and stays
    [[ ${places[i]} == /* && ! ${places[i]} -ef $folder ]] || continue
    programs=()
    for program in "${places[i]}"/*; do
        [[ -f $program && -x $program ]] && programs+=("$program")
    done
    ((!${#programs[@]})) || ln -sft "$folder" "${programs[@]}"
done
for name in "${hidden[@]}"; do
    find "$folder" -name "$name" -delete
done
