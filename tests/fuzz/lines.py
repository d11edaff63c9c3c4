"""Good command lines of every command, and cases: one of them with something broken."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.broken import Draw, breaker, broken_bytes, one_of, yes
from tests.fuzz.corpus import ENGINE, FLAGS, Tree

SMALL = "--n 1 --m 2 --rows 1 --cols 1 --port-bytes 4 --max-tokens 4 --max-k 32"
STA, ARRAY = " ".join(FLAGS), " ".join(ENGINE)

# Good ones, by command. Words that name something of the corpus are files; out… is what is written.
LINES = {
    "generate": [
        f"{SMALL} -o out",
        f"--kind sta {STA} -o out --json",
        "--kind axi-sta --n 1 --m 2 --rows 1 --cols 1 --max-k 32 --max-tokens 4 --hidden 8 --store-words 16 -o out",
        "--config config.toml -o out",
        f"{SMALL} --pe ecp5 --prefix it -o out",
    ],
    "pack": [
        "weights.npy --pattern 2:8 --bias bias.npy --mult mult.npy --shift shift.npy -o out.safetensors",
        "weights.npy --pattern 2:8 --out-bits 16 --name a.b -o out.safetensors --json",
        "weights.npy --pattern 2:8 --bias bias.npy -o out.safetensors",
    ],
    "inspect": [
        "layers.safetensors",
        "bert.safetensors --json",
        "vit.safetensors",
        "elastic.safetensors",
        "elastic.safetensors --density 1:8 --json",
    ],
    "disassemble": ["text.nmp", "text.nmp --json", "vit.nmp", "lengths.nmp", "elastic.nmp --json"],
    "estimate": [
        "elastic.nmp",
        "elastic.nmp --density 1:8 --json",
        "text.nmp",
        "text.nmp --all --mem-latency 7 --mhz 50",
        "lengths.nmp --json",
        "vit.nmp --json",
        f"bert --pattern 2:8 --seq 7 {STA}",
        f"vit.safetensors {STA} --json",
        f"elastic.safetensors --density 2:8 --seq 7 {STA}",
    ],
    "compile": [
        f"bert.safetensors --seq 7,5 {STA} -o out.nmp",
        f"bert --seq 7 --calibrate text.txt {STA} -o out.nmp --json",
        f"head --seq 7 --batch 2 {STA} -o out.nmp",
        f"words --seq 5 {STA} -o out.nmp",
        f"shards --seq 5 {STA} -o out.nmp",
        f"bert --pattern 2:8 --seq 7 {STA} -o out.nmp",
        f"bert.safetensors --lengths 7,3 --table-bits 8 {STA} -o out.nmp",
        f"vit.safetensors {STA} -o out.nmp",
        f"elastic.safetensors --elastic --lengths 7,3 {STA} --n 1 -o out.nmp",
        f"vit --calibrate pictures.npy {STA} -o out.nmp",
        f"vit --calibrate mnist {STA} -o out.nmp",
        "bert.safetensors --seq 7 --config config.toml --hidden 16 --store-words 128 -o out.nmp",
    ],
    "evaluate": [
        "bert --sts sts.tsv",
        "bert.safetensors --sts sts.tsv --classify labels --json",
        "head --classify labels --calibrate text.txt",
        "vit --images mnist",
        "vit.safetensors --images mnist --json",
        "vit --images mnist --calibrate pictures.npy",
        "elastic.safetensors --density 1:8 --sts sts.tsv",
    ],
    "prune": [
        "bert --patterns 2:8,1:8 --layers *.0.* --tokens 8 --sentences text.txt -o out",
        "bert --patterns 2:8,1:8 --method magnitude --html out.html -o out",
        "vit --patterns 4:8 --calibrate pictures.npy -o out",
        "bert --plan plan.toml --ragged skip -o out",
        "words --patterns 4:8 --json -o out",
        "words --patterns 4:8 --layers * --tokens 4 --json -o out",
        "bert --patterns 2:8 --data text.txt --steps 1 --batch 4 -o out",
        "bert --plan plan.toml --data text.txt --method magnitude --steps 1 --batch 4 --sts sts.tsv -o out",
        "bert --patterns 2:8 --data labels --classify --method asp --head-steps 1 --steps 1 --batch 4 --qat 1 -o out",
        "vit --patterns 2:8 --data mnist --method wanda --steps 1 --batch 4 -o out",
        "head --patterns 4:8,2:8 --data text.txt --nested --steps 1 --batch 4 --calibrate text.txt --json -o out",
        "bert --method dense --data text.txt --steps 1 -o out",
        "bert --elastic 4:8,2:8 --data text.txt --permute --steps 1 --batch 4 -o out",
        "bert --patterns 1:8 --method sparsegpt --permute -o out",
        f"bert --budget 100k-cycles --seq 7 {STA} -o out",
        f"bert --budget 100k,90k --sensitivity trained --data text.txt --steps 1 --batch 4 --seq 7 {STA} -o out",
    ],
    "simulate": [
        "text.nmp --text one two --build build",
        "lengths.nmp --text one --build build",
        "elastic.nmp --density 1:8 --text one --build build",
        "text.nmp --ids ids.json --json --build build",
        "text.nmp --ids ids.json --reference bert.safetensors --check-each --output out.npy --build build",
        "text.nmp --ids ids.json --rtl rtl-sta --timeline out.png --html out.html --build build",
        "vit.nmp --image picture.pgm --reference vit --build build",
        "vit.nmp --image picture.png --build build",
        "vit.nmp --image pictures.npy --build build",
        "layers.safetensors --layer fc --input x.npy --output out.npy --m 8 --build build",
        "layers.safetensors --layer fc --input x.npy --output out.npy --rtl rtl --simulator icarus --build build",
    ],
    "build": [f"ulx3s-85f {SMALL} -o out", f"icesugar-pro {SMALL} --mhz 25 --seeds 2 -o out --json"],
    "report": [
        f"ulx3s-85f {SMALL} --seeds 1",
        f"generic {SMALL} --html out.html --json",
        f"ice40-up5k {SMALL} --pe portable",
        "ulx3s-85f --config config.toml --seeds 1 --jobs 1",
    ],
    # No port is there, so that they end with 2 as they are, and nothing but the port is wrong.
    "load": ["text.nmp --port gone", "vit.nmp --port gone --json", "lengths.nmp --port gone"],
    "run": [
        "text.nmp --port gone --text one two",
        "lengths.nmp --port gone --text one",
        "elastic.nmp --port gone --density auto --within 5 --text one",
        "text.nmp --port gone --loaded --text one two three --output out.npy --json",
        "vit.nmp --port gone --image pictures.npy",
    ],
    "boards": ["--json", "--port gone"],
    "flash": ["text.nmp -o out.flash", "vit.nmp --board ulx3s-85f -o out.flash --json"],
    "explore": [
        "explored --seq 7 --space space.toml --jobs 1 -o out",
        "explored --seq 7,3 --space space.toml --jobs 1 --objectives accuracy,cycles -o out --json",
        "explored --seq 7 --space space.toml --kind engine --jobs 1 --batch 2 --mem-latency 7 -o out",
        "explored --seq 7 --space space.toml --trials 3 --seed 2 --jobs 1 --memory-bytes-per-cycle 4 -o out",
        "bert --patterns 2:8,dense --seq 7 --space space.toml --jobs 1 -o out",
        "vit --patterns 2:8 --calibrate pictures.npy --space space.toml --jobs 1 -o out",
    ],
    "board-sim": [
        "ulx3s-85f --preload text.nmp --build build",
        f"icesugar-pro {STA} --core-mhz 50 --memory-mhz 100 --build build --json",
    ],
}  # fmt: skip

# What an option or a place may be given instead of what belongs there. Nothing here may be written to: no device, and
# no folder but the case's own.
WORDS = [
    "", " ", "0", "1", "-1", "2", "3", "33", "2147483648", "99999999999999999999", "9" * 5000, "nan", "inf", "-inf",
    "1e400", "1e-400", "0.5", "true", "é", "\udcff", "caf\udce9", "a\nb", "\x1b[31m", "x" * 300, "x" * 5000,
    ".", "-", "--",
    "--json", "--help", "--x", "=", "{}", "%s", "%d%n", "*", "[a-", "[!", "\u202e", "2:8", "0:0", "8:4",
    "1:3", "1:8,1:8",
    "8:8", "-2:8", "2:8:8", "٢:8", "²", "1_0", "0x8", "+2", " 2", "2 ", "1,", ",", "7,-5", "4096,4096", "small", "base",
    "sta", "engine", "ecp5", "idp", "dense", "missing", "missing/x", "/proc/self/x/y", "text.txt/x", "pipe",
    "zero", "full", "loop", "folder", "text.nmp", "bert", "bert.safetensors", "vit",
    "vit.safetensors", "x.npy",
    "layers.safetensors", "text.txt", "config.toml", "space.toml", "explored",
    "mnist", "labels", "pictures.npy", "ids.json", "rtl", "random",
]  # fmt: skip
FURTHER = [
    "--json", "--help", "--version", "--x", "-o", "--seq", "--seq=7", "--m=8", "--n=99999999999999999999", "--rows=é",
    "--preset=small", "--config=config.toml", "--config=zero", "--config=pipe", "--all", "--stall",
    "--nested", "--resume",
    "--classify", "--batch=0", "--steps=0", "--lr=nan", "--lr=1e300", "--lr=-1", "--seed=-1", "--qat=1", "--ragged=pad",
    "--layers=[", "--layers=", "--layers=*.0.*", "--pe=ecp5", "--soft-rows=1", "--device=x", "--pattern=2:8",
    "--drain=8",
    "--calibrate=text.txt", "--calibrate=zero", "--calibrate=pictures.npy", "--calibrate=mnist", "--tokens=4096",
    "--prefix=../x", "--name=../x", "--text=\udcff", "--ids=zero", "--image=zero", "--reference=zero", "--sts=zero",
    "--mhz=400", "--mhz=nan", "--port-bytes=64", "--hidden=1", "--store-words=1", "--max-k=65536", "--method=sr-ste",
    "--budget=1", "--budget=90k,100k", "--sensitivity=trained",
    "--budget=1e99M-cycles", "--budget=-1M-cycles", "--core", "--waves=out.vcd", "--check-each",
    "--port=zero", "--port=pipe", "--port=folder", "--port=text.nmp", "--baud=9600", "--loaded", "--preload=text.nmp",
    "--preload=zero", "--memory=IS42S16160G-7", "--core-mhz=400", "--memory-mhz=1", "--flash=zero",
    "--space=space.toml", "--space=zero", "--patterns=2:8", "--plans=1", "--kind=engine", "--trials=1", "--dask=x",
    "--dask=127.0.0.1:1", "--objectives=traffic", "--target=icesugar-pro", "--memory-bytes-per-cycle=1",
    "--flash=text.nmp", "--board=icesugar-pro", "--file=text.txt", "--file=zero",
]  # fmt: skip

LINKS = {
    "zero": "/dev/zero",
    "full": "/dev/full",
    "loop": "loop",
    "random": "/dev/urandom",
}  # that every case's folder has
OUTPUTS = ("-o", "--output", "--html", "--timeline", "--waves", "--build")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command line, the files it runs on, and what surrounds it.

    Parameters
    ----------
    argv : words, with undecodable bytes as surrogates
    files : path: contents; or of None, what SPECIAL says stands there
    special : path: folder, pipe, link:TARGET, gone
    encoding : of stdout and stderr, as PYTHONIOENCODING has it
    stdout : file, closed, or full
    room : no file may be larger than so many bytes, None: any; a full disk refuses the like
    signal, after : signal number to send so many seconds after the beginning; 0 for none
    broken : what was done to a good case, in words
    """

    argv: tuple[str, ...]
    files: Mapping[str, bytes]
    special: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    stdout: str = "file"
    room: int | None = None
    signal: int = 0
    after: float = 0.0
    broken: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def writes(self) -> bool:
        """Whether a part of the machine fails that is none of the input: then what is whole of the outputs may stay."""
        return self.room is not None or self.signal != 0 or self.stdout != "file"


def cases(corpus: Mapping[str, Tree], commands: tuple[str, ...] = tuple(LINES)) -> st.SearchStrategy[Case]:
    """Cases of all commands alike."""

    @st.composite
    def case(draw: Draw) -> Case:
        command = one_of(draw, commands)
        return _case(draw, corpus, [command, *one_of(draw, LINES[command]).split(" ")])

    return case()


def unbroken(corpus: Mapping[str, Tree], commands: Sequence[str] = tuple(LINES)) -> list[Case]:
    """Every good command line on good files."""
    found = []
    for command in commands:
        for line in LINES[command]:
            argv = (command, *line.split(" "))
            found.append(Case(argv=argv, files=_files(argv, corpus)))
    return found


def _files(argv: Sequence[str], corpus: Mapping[str, Tree]) -> dict[str, bytes]:
    """The files of the corpus that a command line names."""
    return {
        f"{name}/{path}".rstrip("/"): data
        for name in sorted({word.partition("=")[2] or word for word in argv} & corpus.keys())
        for path, data in corpus[name].items()
    }


def _case(draw: Draw, corpus: Mapping[str, Tree], argv: list[str]) -> Case:
    said: list[str] = []
    surroundings: dict[str, Any] = {}
    special: dict[str, str] = {}
    ways = one_of(
        draw,
        [
            ["file"],
            ["file"],
            ["file"],
            ["words"],
            ["words"],
            ["file", "words"],
            ["around"],
            ["special"],
            ["file", "file"],
        ],
    )
    if "words" in ways:
        argv = _broken_words(draw, argv, said)
    files = _files(argv, corpus)
    for way in ways:
        paths = sorted(path for path in files if not path.endswith((".v", ".vh", ".vlt")) or yes(draw, 4))
        if way == "file" and paths:
            path = one_of(draw, paths)
            again = f"contents of {path}" in said  # then it is of no kind any more
            files[path] = (broken_bytes if again else breaker(path))(draw, files[path])
            said.append(f"contents of {path}")
        elif way == "special" and paths:
            path = one_of(draw, paths + sorted({path.partition("/")[0] for path in paths}))
            for below in [name for name in files if name == path or name.startswith(f"{path}/")]:
                del files[below]
            special[path] = one_of(draw, ["folder", "pipe", "gone", "empty", *(f"link:{to}" for to in LINKS.values())])
            said.append(f"{path} is {special[path]}")
        elif way == "around":
            surroundings = _surroundings(draw)
            said.append(", ".join(f"{name} {value}" for name, value in surroundings.items()))
    return Case(argv=tuple(argv), files=files, special=special, broken=tuple(said), **surroundings)


def _surroundings(draw: Draw) -> dict[str, Any]:
    match one_of(draw, ["encoding", "stdout", "room", "signal", "signal"]):
        case "encoding":
            return {"encoding": one_of(draw, ["latin-1", "ascii", "utf-16", "cp1252"])}
        case "stdout":
            return {"stdout": one_of(draw, ["closed", "full"])}
        case "room":
            return {"room": one_of(draw, [0, 1, 100, 1000, 4096, 20_000])}
    return {"signal": one_of(draw, [2, 15]), "after": one_of(draw, [0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])}


def _broken_words(draw: Draw, argv: list[str], said: list[str]) -> list[str]:
    words = list(argv)
    for _ in range(one_of(draw, [1, 1, 2, 3])):
        at = draw(st.integers(1, max(1, len(words) - 1)))
        before = words[at - 1] if at <= len(words) else ""
        match one_of(draw, ["other", "other", "other", "further", "further", "gone", "double", "exchange", "command"]):
            case "other" if at < len(words):
                words[at] = one_of(draw, WORDS)
            case "further":
                words.insert(at + (before in OUTPUTS), one_of(draw, FURTHER))
            case "gone" if at < len(words):
                del words[at]
            case "double" if at < len(words):
                words.insert(at, words[at])
            case "exchange" if at < len(words):
                other = draw(st.integers(1, len(words) - 1))
                words[at], words[other] = words[other], words[at]
            case "command":
                words[0] = one_of(draw, ["", "x", "--help", "--version", "Generate", "é", "\udcff", *LINES])
    words = [word for number, word in enumerate(words) if not _long(words[number - 1] if number else "", word)]
    if words[0] == "prune" and not any(word.startswith("--steps") for word in words):
        words += ["--steps", "1"]  # a thousand, unless one says otherwise, rightly take minutes
    said.append("command line")
    return words


def _long(option: str, word: str) -> bool:
    """Whether that is asked for which rightly takes hours: so many steps, seeds, tokens or cycles."""
    option, _, value = word.partition("=") if word.startswith("--") and "=" in word else (option, "", word)
    number = re.fullmatch(r"\s*\+?([0-9_]{1,19})\s*", value)
    return option in ("--steps", "--qat", "--head-steps") and bool(number) and int(number[1].replace("_", "") or 0) > 4
