"""The Verilog that simulations run on, kept beside their builds: generating a core takes longer than a short run."""

import json
import re
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import rtl
import sim.ecp5
from nmgen.console.code_digest import code_digest
from nmgen.console.files import written_whole
from nmgen.verilog.bundle import MANIFEST, Generated, generate
from rtl.params import Config

GENERATOR = (Path(rtl.__file__).parent, Path(__file__).parent, Path(sim.ecp5.__file__).parent)  # all of it


def kept(config: Config, folder: Path) -> Generated:
    """What `generate` makes of a configuration, in a folder for it in this one.

    It is generated where that is missing or was changed, and again with each change of the generator.

    Raises
    ------
    InputError : as `generate` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    directory = folder / f"verilog-{_key(config)}"
    while (found := _found(directory)) is None:
        with written_whole(directory, replace=True) as written:  # several may do it at the same time
            generate(config, written)
    return found


def _key(config: Config) -> str:
    facts = repr((config, version("amaranth"), code_digest(*GENERATOR)))
    return sha256(facts.encode()).hexdigest()[:16]


def _found(directory: Path) -> Generated | None:
    try:
        manifest = json.loads((directory / MANIFEST).read_text(encoding="ascii"))
        for name, digest in manifest["files"].items():
            if sha256((directory / name).read_bytes()).hexdigest() != digest:
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    sources = [directory / name for name in manifest["files"] if re.fullmatch(r"\w+\.v", name)]
    return Generated(directory, sources, manifest["top"], manifest)
