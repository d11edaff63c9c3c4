"""`nmgen generate`: the same bytes each time, read by every tool, and a testbench that tells right from wrong."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import pyslang
import pytest

from nmgen.bench.random_programs import random_configuration
from nmgen.cli import main
from nmgen.compiler.isa_page import HEADER
from nmgen.verilog.bundle import Generated, contents, generate, lint_command, simulation_command
from nmgen.verilog.kinds import AXI_STA, ENGINE, STA, Kind
from rtl.engine.register_table import REGISTERS
from rtl.params import PRESETS, VERSION, Config, InputError
from rtl.sta.params import StaConfig
from tests.nightly import but
from tests.nmgen.equivalence import yosys

ODD = Config(n=3, m=16, rows=3, cols=5)
TINY = Config(n=1, m=2, rows=1, cols=1, drain=1, port_bytes=1, max_tokens=1, max_k=2)
EDGES = {
    **PRESETS,
    "odd": ODD,
    "tiny": TINY,
    "row": Config(n=4, m=4, rows=1, cols=32, drain=8, port_bytes=64, max_tokens=1, max_k=4),
    "column": Config(n=1, m=32, rows=32, cols=1, drain=1, port_bytes=2, max_tokens=33, max_k=64),
}

SMALL_STA = StaConfig(
    n=2, m=4, rows=2, cols=2, drain=2, port_bytes=4, max_tokens=8, max_k=32, hidden=16, store_words=64
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return generate(ODD, tmp_path_factory.mktemp("generate") / "odd")


@pytest.fixture(scope="module")
def sta(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return generate(SMALL_STA, tmp_path_factory.mktemp("generate") / "sta")


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """Of rows, each with a post-processor."""
    return generate(replace(SMALL_STA, rows=4, groups=2), tmp_path_factory.mktemp("generate") / "groups")


@pytest.fixture(scope="module")
def axi(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    return generate(SMALL_STA, tmp_path_factory.mktemp("generate") / "axi", kind="axi-sta")


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def run_testbench(directory: Path, prefix: str = "nmgen") -> subprocess.CompletedProcess[str]:
    """The command as the testbench's head gives it."""
    command = simulation_command(prefix)
    assert f"//   {command}\n" in (directory / f"testbench/{prefix}_tb.v").read_text()
    return subprocess.run(command, shell=True, cwd=directory, capture_output=True, text=True, check=False)


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_same_bytes_each_time(odd: Generated, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nmgen", "generate", "--n", "3", "--m", "16", "--rows", "3", "--cols", "5", "-o"]
    subprocess.run([*command, tmp_path / "again"], check=True, capture_output=True)
    assert files(tmp_path / "again") == files(odd.directory)
    for content in files(odd.directory).values():
        content.decode("ascii")
        assert str(Path.home()).encode() not in content
        assert b"20" + b"25" not in content, "no date"


def test_the_manifest_says_what_is_there(odd: Generated) -> None:
    manifest = json.loads((odd.directory / "manifest.json").read_text())
    assert manifest == odd.manifest
    assert (manifest["version"], manifest["top"], manifest["prefix"]) == (VERSION, "nmgen_top", "nmgen")
    assert Config(**manifest["parameters"]) == ODD
    contents = files(odd.directory)
    del contents["manifest.json"]
    assert manifest["files"] == {name: sha256(content).hexdigest() for name, content in contents.items()}
    ports = {port["name"]: (port["direction"], port["width"]) for port in manifest["ports"]}
    assert ports["clk"] == ("input", 1)
    assert ports["memory__read_data__payload"] == ("input", 128)
    assert ports["memory__write_data__payload"] == ("output", 144)
    assert manifest["derived"]["accumulator_bits"] == ODD.accumulator_bits
    assert manifest["modules"]["nmgen_pe"] == 15


def test_multipliers_and_memory_are_counted_exactly(odd: Generated) -> None:
    multipliers = {
        entry["module"]: (entry["widths"], entry["count"]) for entry in odd.manifest["multipliers_by_module"]
    }
    assert multipliers["nmgen_pe"] == ([9, 8], 3 * 5 * 3)
    assert multipliers["nmgen_requantiser"][1] == ODD.drain_lanes
    assert odd.manifest["multipliers"] == 3 * 5 * 3 + ODD.drain_lanes
    # The same, as yosys counts it.
    script = f"read_verilog {' '.join(source.name for source in odd.sources)}\nhierarchy -top nmgen_top\n"
    counted = yosys(script + "proc -norom\nflatten\nopt_clean\nstat -json", odd.directory)
    cells = json.loads(counted[counted.index("{\n") : counted.rindex("}") + 1])["design"]
    assert cells["num_memory_bits"] == odd.manifest["memory_bits"]
    assert cells["num_cells_by_type"]["$mul"] == odd.manifest["multipliers"]


def test_a_folder_is_generated_over_again(tmp_path: Path) -> None:
    folder = tmp_path / "design"
    generate(TINY, folder)
    (folder / "notes.txt").write_text("mine")
    stale = folder / "nmgen_stale.v"
    stale.write_text("module nmgen_stale; endmodule\n")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][stale.name] = sha256(stale.read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    generate(Config(n=2, m=4, rows=1, cols=1), folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert not stale.exists(), "a module of before would be read along with the new ones"
    (folder / "notes.txt").unlink()
    generate(Config(n=2, m=4, rows=1, cols=1), tmp_path / "fresh")
    assert files(folder) == files(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nmgen_top.v", "module mine; endmodule", "was not generated by nmgen"),
        ("manifest.json", "{}", "is not a manifest of nmgen"),
        ("manifest.json", "not JSON", "is not a manifest of nmgen"),
        ("manifest.json", '{"generator": "nmgen", "prefix": "other", "files": {}}', "holds the accelerator other_top"),
    ],
)
def test_files_of_others_are_left_alone(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        generate(TINY, tmp_path)
    assert files(tmp_path) == {name: content.encode()}


@pytest.mark.parametrize("prefix", ["", "1st", "a-b", "a" * 33, "module", "ä"])
def test_a_prefix_must_begin_a_name(prefix: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="prefix is"):
        generate(TINY, tmp_path / "design", prefix)
    assert not (tmp_path / "design").exists()


def test_json_on_stdout_is_all_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "generate",
        "--preset",
        "small",
        "--rows",
        "1",
        "--prefix",
        "tiny",
        "-o",
        str(tmp_path / "x"),
        "--json",
    ]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["top"] == "tiny_top"
    assert result["parameters"]["rows"] == 1
    assert result["parameters"]["port_bytes"] == 4


def test_generating_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from nmgen.cli import main; "
        f"status = main(['generate', '--preset', 'small', '-o', {str(tmp_path / 'x')!r}]); "
        "assert not {'torch', 'cocotb', 'tokenizers', 'matplotlib'} & set(sys.modules); sys.exit(status)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


# --- every tool reads it ----------------------------------------------------------------------------------------------


def assert_clean(generated: Generated, folder: Path) -> None:
    """Verilator with all warnings, none waived, and Icarus as Verilog of 2001 have nothing to say."""
    assert not list(generated.directory.glob("*.vlt"))
    assert not [source.name for source in generated.sources if "lint_off" in source.read_text()]
    verilator = Path(sys.executable).parent / "verilator"
    lint = lint_command("nmgen").replace("verilator", str(verilator), 1)
    done = subprocess.run(lint, shell=True, cwd=generated.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "%Warning" not in done.stdout + done.stderr
    strict = ["iverilog", "-g2001", "-Wall", "-o", "strict", *generated.sources]
    done = subprocess.run(strict, cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("name", but(EDGES, {"wide", "column", "base", "row", "sparse"}))
def test_each_configuration_is_clean_and_right(name: str, tmp_path: Path) -> None:
    generated = generate(EDGES[name], tmp_path / name)
    assert_clean(generated, tmp_path)
    done = run_testbench(generated.directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.match(r"PASS \d+ results\n", done.stdout)


@pytest.mark.parametrize("which", but(["odd", "sta", "groups"], ["sta"]))
def test_slang_reads_it(which: str, request: pytest.FixtureRequest) -> None:
    compilation = pyslang.ast.Compilation()
    for source in request.getfixturevalue(which).sources:
        compilation.addSyntaxTree(pyslang.syntax.SyntaxTree.fromFile(str(source)))
    problems = [d for d in compilation.getAllDiagnostics() if d.isError()]
    assert not problems
    assert [top.name for top in compilation.getRoot().topInstances] == ["nmgen_top"]


def test_yosys_makes_an_ecp5_of_it(tmp_path: Path) -> None:
    design = generate(Config(n=1, m=4, rows=1, cols=2, drain=1, port_bytes=2, max_tokens=8, max_k=64), tmp_path / "d")
    script = f"read_verilog {' '.join(source.name for source in design.sources)}\n"
    script += "synth_ecp5 -noabc9 -top nmgen_top\nselect -assert-none t:$*latch* t:$_*LATCH* t:$tribuf t:$_TBUF_\n"
    assert "Latch inferred" not in yosys(script + "select -assert-min 1 t:MULT18X18D", design.directory)


def test_two_prefixes_live_in_one_design(tmp_path: Path) -> None:
    designs = [generate(TINY, tmp_path / "one", "one"), generate(ODD, tmp_path / "two", "two")]
    sources = [source for design in designs for source in design.sources]
    names = [name for source in sources for name in re.findall(r"^module (\w+)", source.read_text(), re.MULTILINE)]
    assert len(set(names)) == len(names) == len(sources)
    assert all(name.startswith(("one_", "two_")) for name in names)
    both = tmp_path / "both.v"
    instances = "".join(f"  {design.top} {design.top[:3]}(.clk(clk), .rst(rst));\n" for design in designs)
    both.write_text(f"module both(input clk, input rst);\n{instances}endmodule\n")
    subprocess.run(["iverilog", "-g2005-sv", "-s", "both", "-o", tmp_path / "both", both, *sources], check=True)
    for design, prefix in zip(designs, ("one", "two"), strict=True):
        assert run_testbench(design.directory, prefix).returncode == 0


# --- the testbench tells ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "line", "instead"),
    [
        ("pe", r"\$signed\(operand_0_2\) \* ", "operand_0_2 * "),
        ("requantiser", r"shift_less_1_1 <= shift_1", "shift_less_1_1 <= shift_1 + 6'd1"),
        ("result_buffer", r"requested \+ (\d)'d1", r"requested + \1'd2"),
        ("fetch", r"address <= ", "address <= 32'd16 + "),
        ("registers", r"cycles <= 32'd1", "cycles <= 32'd0"),
    ],
)
def test_a_changed_line_makes_the_testbench_fail(
    module: str, line: str, instead: str, odd: Generated, tmp_path: Path
) -> None:
    for name, content in files(odd.directory).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = tmp_path / f"nmgen_{module}.v"
    head, keyword, body = source.read_text().partition("always @(posedge clk)")
    changed = re.sub(line, instead, body, count=1)
    assert changed != body
    source.write_text(head + keyword + changed)
    done = run_testbench(tmp_path)
    assert done.returncode != 0
    assert "FAIL: " in done.stdout
    assert "PASS" not in done.stdout


# --- what goes with it ------------------------------------------------------------------------------------------------


def test_the_c_header_compiles(odd: Generated, tmp_path: Path) -> None:
    lines = ['#include "nmgen_registers.h"', '#include "nmgen_registers.h"', "#include <assert.h>", "int main(void) {"]
    for name, register in REGISTERS.items():
        lines.append(f"  assert(NMGEN_REG_{name.upper()} == {register.offset});")
    lines.append("  assert(NMGEN_N == 3 && NMGEN_M == 16 && NMGEN_MAX_K == 1536);")
    lines.append(f"  assert(NMGEN_IDENTIFICATION == {ODD.identification}u);")
    lines.append(
        "  assert(NMGEN_MODE_PATTERN_N_MASK == 63 && NMGEN_MODE_WIDE_MASK == 256 && NMGEN_STATUS_DONE_MASK == 2);"
    )
    (tmp_path / "main.c").write_text("\n".join([*lines, "  return 0;", "}", ""]))
    options = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{odd.directory}"]
    subprocess.run(["gcc", *options, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)


@pytest.mark.parametrize("kind", [ENGINE, STA, AXI_STA], ids=lambda kind: kind.name)
def test_every_register_and_field_is_in_the_header(kind: Kind) -> None:
    texts, _ = contents(ODD if kind is ENGINE else SMALL_STA, "nmgen", kind.name)
    header = texts["nmgen_registers.h"]
    for name, register in kind.registers.items():
        assert f"#define NMGEN_REG_{name.upper()} 0x{register.offset:02x}u\n" in header
        for field in register.fields:
            macro = f"#define NMGEN_{name.upper()}_{field.name.upper()}"
            assert f"{macro}_SHIFT {field.low}u\n" in header
            assert f"{macro}_MASK 0x{((1 << field.bits) - 1) << field.low:x}u\n" in header


def test_the_file_list_and_the_core_name_every_source(odd: Generated) -> None:
    sources = [source.name for source in odd.sources]
    assert (odd.directory / "nmgen.f").read_text().split() == sources
    core = (odd.directory / "nmgen.core").read_text()
    assert core.startswith("CAPI=2:\n")
    assert re.findall(r"^      - (\S+)$", core, re.MULTILINE) == [*sources, "testbench/nmgen_tb.v"]
    assert all((odd.directory / name).is_file() for name in re.findall(r"^      - (\S+)$", core, re.MULTILINE))


def test_the_instance_template_elaborates(odd: Generated, tmp_path: Path) -> None:
    template = (odd.directory / "nmgen_instance.vh").read_text()
    ports = odd.manifest["ports"]
    wires = "\n".join(f"  wire [{port['width'] - 1}:0] {port['name']};" for port in ports)
    (tmp_path / "user.v").write_text(f"module user;\n{wires}\n{template}endmodule\n")
    command = ["iverilog", "-g2005", "-Wall", "-s", "user", "-o", "user", "user.v", *odd.sources]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


# --- the accelerator of whole encoders --------------------------------------------------------------------------------


def test_sta_by_its_kind(sta: Generated, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [f"--{name.replace('_', '-')}={getattr(SMALL_STA, name)}" for name in StaConfig.__dataclass_fields__]
    assert main(["generate", "--kind", "sta", *flags, "-o", str(tmp_path / "again")]) == 0
    assert files(tmp_path / "again") == files(sta.directory)
    said = capsys.readouterr().out
    assert "nmgen simulate P.nmp" in said
    assert simulation_command("nmgen") in said
    manifest = json.loads((sta.directory / "manifest.json").read_text())
    assert (manifest["kind"], StaConfig(**manifest["parameters"])) == ("sta", SMALL_STA)
    assert manifest["identification"] == SMALL_STA.identification


def test_sta_starts_from_a_preset_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--kind", "sta", "--preset", "small", "--rows", "1", "--cols", "1", "--hidden", "8", "--store-words", "64"]
    assert main(["generate", *flags, "--json", "-o", str(tmp_path / "x")]) == 0
    parameters = json.loads(capsys.readouterr().out)["parameters"]
    assert parameters == asdict(PRESETS["small"]) | {"rows": 1, "cols": 1, "hidden": 8, "store_words": 64, "groups": 1}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--hidden", "8"], "hidden is no parameter of kind engine; give --kind sta"),
        (["--kind", "engine", "--store-words", "8"], "store_words is no parameter of kind engine"),
        (["--kind", "sta", "--hidden", "0"], "hidden is 0, must be"),
        (["--kind", "sta", "--store-words", "99999"], "store_words is 99999, must be"),
        (["--kind", "sta", "--groups", "3"], "groups is 3, must divide rows = 8"),
        (["--groups", "2"], "groups is no parameter of kind engine; give --kind sta"),
        (["--kind", "other"], "'other'"),
    ],
)
def test_kinds_that_do_not_fit(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", *flags, "-o", str(tmp_path / "x")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_everything_has_a_name(odd: Generated, sta: Generated, groups: Generated) -> None:
    """Amaranth names what it cannot name after a kind: `_signal`, `_like`."""
    for generated in (odd, sta, groups):
        text = "".join(source.read_text() for source in generated.sources)
        assert not re.findall(r"\b_\w+", text), generated.directory


@pytest.mark.parametrize("which", ["sta", "groups"])
def test_sta_is_clean(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    assert_clean(request.getfixturevalue(which), tmp_path)


@pytest.mark.parametrize("kind", ["sta", "axi-sta"])
def test_the_smallest_sta_is_clean(kind: str, tmp_path: Path) -> None:
    """Where nearly every comparison comes out the same for all values."""
    tiny = {"n": 1, "m": 2, "rows": 1, "cols": 1, "drain": 1, "port_bytes": 1, "max_tokens": 1, "max_k": 2}
    assert_clean(generate(StaConfig(**tiny, hidden=1, store_words=3), tmp_path / kind, kind=kind), tmp_path)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", ["sta", "axi-sta"])
def test_any_sta_is_clean(kind: str, tmp_path: Path) -> None:
    seed = f"{os.environ.get('NMGEN_SEED', 1)} {kind}"
    for number in range(5):
        config = random_configuration(random.Random(f"{seed} {number}"), side=2)
        assert_clean(generate(config, tmp_path / str(number), kind=kind), tmp_path)


@pytest.mark.nightly
def test_the_testbench_of_groups_passes(groups: Generated) -> None:
    done = run_testbench(groups.directory)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^PASS \d+ results$", done.stdout, re.MULTILINE)


def test_the_testbench_of_sta_tells_right_from_wrong(
    sta: Generated, groups: Generated, axi: Generated, tmp_path: Path
) -> None:
    """FuseSoC runs those of sta and axi, below; that of groups is nightly."""
    for generated in (sta, groups, axi):
        assert (generated.directory / "testbench/nmgen_memory.hex").stat().st_size < 1 << 18
    copy = tmp_path / "changed"
    shutil.copytree(sta.directory, copy)
    source = copy / "nmgen_rescaler.v"
    changed = source.read_text().replace("result <= rounded[7:0];", "result <= rounded[8:1];")
    assert changed != source.read_text()
    source.write_text(changed)
    done = run_testbench(copy)
    assert done.returncode != 0
    assert "FAIL: run 0, byte " in done.stdout
    assert "PASS" not in done.stdout


@pytest.mark.parametrize("m", [2, 4, 8, 16, 32])
@pytest.mark.parametrize("port_bytes", [1, 16, 32])
@pytest.mark.parametrize("max_k", [33, 1536])
def test_a_testbench_for_any_group_and_beat(m: int, port_bytes: int, max_k: int) -> None:
    """A word of the store may be longer than two groups; where it is longer than any token there is none."""
    config = replace(SMALL_STA, n=1, m=m, port_bytes=port_bytes, max_k=max_k)
    assert STA.testbench(config, "nmgen", "")
    assert not STA.testbench(replace(config, max_k=m, port_bytes=2 * m), "nmgen", "")


@pytest.mark.parametrize("store_words", [2, 3, 64])
def test_a_small_store_has_a_small_testbench(store_words: int) -> None:
    """Of three words a token; below there is none."""
    found = STA.testbench(replace(SMALL_STA, store_words=store_words), "nmgen", "")
    assert bool(found) == (store_words >= 3)
    assert found == STA.testbench(replace(SMALL_STA, store_words=store_words), "nmgen", "")


def test_a_design_without_a_testbench_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in ((2, True), (3, False)):
        line = ["generate", "--kind", "sta", "--rows", "2", "--cols", "2", "--store-words", str(words)]
        assert main([*line, "-o", str(tmp_path / str(words))]) == 0
        out = capsys.readouterr().out
        assert ("without a testbench: the store has no room for one's program" in out) == said
        assert ("to test it with Icarus" in out) != said


def test_fusesoc_takes_every_kind_beside_the_others(
    odd: Generated, sta: Generated, axi: Generated, tmp_path: Path
) -> None:
    """Lists them, lints them, and runs their testbenches: which are in what each said."""
    library = tmp_path / "library"
    for generated in (odd, sta, axi):
        shutil.copytree(generated.directory, library / generated.manifest["kind"])
    programs = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path)}

    def fusesoc(*arguments: str) -> str:
        command = [programs / "fusesoc", "--cores-root", library, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "deprecated" not in (done.stdout + done.stderr).lower()
        return done.stdout + done.stderr

    names = [f"nmgen:accelerators:nmgen-{kind}:{VERSION}" for kind in ("engine", "sta", "axi-sta")]
    listed = fusesoc("list-cores")
    for name in names:
        assert re.search(rf"^{name} ", listed, re.MULTILINE)
        assert "%Warning" not in fusesoc("run", "--target", "lint", name)
        assert re.search(r"^PASS \d+ results$", fusesoc("run", "--target", "sim", name), re.MULTILINE)


FAMILIES = ("ice40", "gowin", "xilinx", "ecp5", "")


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES[:-1])
def test_every_family_has_a_place_for_the_memories(family: str, sta: Generated) -> None:
    """Synthesis up to where memories are mapped: some have no LUT RAM, or none that can be asked for."""
    command = f"synth_{family} -top nmgen_top -run begin:{'fine' if family == 'xilinx' else 'map_gates'}"
    said = yosys(f"read_verilog {' '.join(source.name for source in sta.sources)}\n{command}", sta.directory)
    assert "ERROR" not in said


@pytest.mark.nightly
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["engine", "sta", "axi-sta"])
def test_every_family_takes_every_kind(family: str, kind: str, tmp_path: Path) -> None:
    small = {"rows": 1, "cols": 2, "drain": 1, "n": 1, "m": 4, "port_bytes": 2, "max_tokens": 8, "max_k": 16}
    config = Config(**small) if kind == "engine" else StaConfig(**small, hidden=8, store_words=32)
    design = generate(config, tmp_path / "d", kind=kind)
    script = f"read_verilog {' '.join(source.name for source in design.sources)}\n"
    yosys(script + f"synth{family and '_'}{family} -top nmgen_top\ncheck -assert", design.directory)


def test_yosys_reads_sta_and_counts_the_same(sta: Generated) -> None:
    script = f"read_verilog {' '.join(source.name for source in sta.sources)}\nhierarchy -check -top nmgen_top\n"
    counted = yosys(script + "proc -norom\ncheck -assert\nflatten\nopt_clean\nstat -json", sta.directory)
    assert "Latch inferred" not in counted
    cells = json.loads(counted[counted.index("{\n") : counted.rindex("}") + 1])["design"]
    assert cells["num_memory_bits"] == sta.manifest["memory_bits"]


def test_portable_memories_ask_for_no_kind_of_ram(sta: Generated) -> None:
    """Some chips, an ice40 for one, have no LUT RAM: synthesis fails where a memory insists on it."""
    assert not [source for source in sta.sources if "ram_style" in source.read_text()]


def test_what_goes_with_sta(sta: Generated, tmp_path: Path) -> None:
    lines = ['#include "nmgen_registers.h"', "#include <assert.h>", "int main(void) {"]
    lines += [f"  assert(NMGEN_REG_{name.upper()} == {register.offset});" for name, register in STA.registers.items()]
    lines += ["  assert(NMGEN_HIDDEN == 16 && NMGEN_STORE_WORDS == 64);"]
    lines += ["  assert(NMGEN_CONTROL_CLEAR_MASK == 2 && NMGEN_STATUS_ERROR_MASK == 4);"]
    (tmp_path / "main.c").write_text("\n".join([*lines, "  return 0;", "}", ""]))
    options = ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{sta.directory}"]
    subprocess.run(["gcc", *options, "main.c", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)
    sources = [source.name for source in sta.sources]
    assert (sta.directory / "nmgen.f").read_text().split() == sources
    core = (sta.directory / "nmgen.core").read_text()
    assert re.findall(r"^      - (\S+\.v)$", core, re.MULTILINE)[: len(sources)] == sources
    assert (sta.directory / "isa.h").read_text() == HEADER.read_text()


def test_sta_behind_axi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [f"--{name.replace('_', '-')}={getattr(SMALL_STA, name)}" for name in StaConfig.__dataclass_fields__]
    assert main(["generate", "--kind", "axi-sta", *flags, "--json", "-o", str(tmp_path / "axi")]) == 0
    manifest = json.loads(capsys.readouterr().out)
    assert (manifest["kind"], manifest["identification"]) == ("axi-sta", SMALL_STA.identification)
    ports = {port["name"]: (port["direction"], port["width"]) for port in manifest["ports"]}
    assert set(ports) - {"clk", "rst", "busy", "irq"} == {
        name for name in ports if name.startswith(("m_axi_", "s_axi_"))
    }
    assert (ports["m_axi_wdata"], ports["s_axi_awaddr"]) == (("output", 32), ("input", 8))
    for side, direction in (("m", "output"), ("s", "input")):
        assert ports[f"{side}_axi_awprot"] == ports[f"{side}_axi_arprot"] == (direction, 3)
    sources = [tmp_path / "axi" / name for name in manifest["files"] if re.fullmatch(r"\w+\.v", name)]
    assert_clean(Generated(tmp_path / "axi", sources, manifest["top"], manifest), tmp_path)
