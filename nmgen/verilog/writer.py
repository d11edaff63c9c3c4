"""Verilog for people to read, from any Amaranth Component.

The text is made from Amaranth's RTLIL, statement by statement: registers keep their conditions, equal conditions are
gathered, and the temporaries of expressions disappear where Verilog's rules on widths and signs allow that.
`tests/nmgen/verilog/test_writer.py` proves modules equal to what yosys reads from the same RTLIL.
"""

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import groupby

from amaranth.lib.wiring import Component

from nmgen.verilog.hierarchy import modules
from nmgen.verilog.rtlil import Assign, Body, Cell, Constant, Module, Sig, Slice, Switch, width
from nmgen.verilog.statements import cut, gathered, is_constant, merge, read, redirected, reset_first, taken, whole

LINE = 110  # longest line, where it can be broken
WIDE = 120  # longest instance that is a line of its own
INSTANCE = re.compile(r" *(\(\*.*\*\) )?\w+ (#\(.*\) )?\w+ \(\..*\);")  # which that is
UNUSED = "No use for these here: named, so that lint knows that it is meant."
INLINE = 60  # longest expression that is written in the place of a wire

BINARY = {
    "$add": "+", "$sub": "-", "$mul": "*", "$and": "&", "$or": "|", "$xor": "^", "$eq": "==", "$ne": "!=", "$lt": "<",
    "$le": "<=", "$gt": ">", "$ge": ">=", "$shl": "<<", "$shr": ">>", "$sshr": ">>>", "$shift": ">>",
}  # fmt: skip
UNARY = {"$not": "~", "$neg": "-", "$reduce_or": "|", "$reduce_and": "&", "$reduce_xor": "^", "$reduce_bool": "|"}
COMPARISONS = {"$eq", "$ne", "$lt", "$le", "$gt", "$ge"}
SHIFTS = {"$shl", "$shr", "$sshr", "$shift"}
BITWISE = {"$and", "$or", "$xor"}
# Of block RAM, FPGAs differ in what is read while it is written, and logic that makes them agree is large. Nothing here
# depends on it (tests/rtl/lib/test_collisions.py): yosys is told so, other tools do not look.
NO_CHECK = {"no_rw_check": "1"}
NAMES = {  # of wires that have none
    "$add": "sum", "$sub": "difference", "$mul": "product", "$mux": "choice", "$not": "inverted", "$neg": "negated",
    "$shl": "shifted", "$shr": "shifted", "$sshr": "shifted", "$shift": "selected",
}  # fmt: skip
KEYWORDS = frozenset(
    """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
    const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
    dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
    endinterface endmodule endpackage endprimitive endprogram endproperty endspecify endsequence endtable endtask
    enum event eventually expect export extends extern final first_match for force foreach forever fork forkjoin
    function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
    incdir include initial inout input inside instance int integer interconnect interface intersect join join_any
    join_none large let liblist library local localparam logic longint macromodule matches medium modport module
    nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
    parameter pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg
    reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
    s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table
    tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
    """.split()  # noqa: SIM905  (a column of strings would be longer than all else here)
)
ASCII = str.maketrans({"×": "x", "…": "..", "′": "'", "−": "-", "–": "-", "·": "*", "→": "->", "≥": ">=", "≤": "<="})


def ascii_text(text: str) -> str:
    """The text in ASCII, which every tool reads."""
    return text.translate(ASCII).encode("ascii", "replace").decode()


def identifier(name: str) -> str:
    """A name as Verilog takes it."""
    name = re.sub(r"\W+", "_", name)
    return f"{name}_" if name in KEYWORDS else f"_{name}" if name[:1].isdigit() else name


def emit(component: Component, *, name: str = "top", prefix: str = "nmgen") -> str:
    """Verilog of a Component and what is in it; the top module is called prefix_name."""
    return "\n".join(emit_modules(component, name=name, prefix=prefix).values())


def emit_modules(component: Component, *, name: str = "top", prefix: str = "nmgen") -> dict[str, str]:
    """Verilog of each module, under its name, the top first."""
    return {module.name: write(module, about) for module, about in modules(component, name=name, prefix=prefix)}


def write(module: Module, about: str = "") -> str:
    """Verilog of one module."""
    return _Writer(module).text(about)


class _Writer:
    """One module on its way to Verilog: first what drives each wire, then the text."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.operators: dict[str, Cell] = {}  # wire → the operator that computes it
        self.plain: dict[str, Sig] = {}  # wire → what it simply is
        self.choices: dict[str, Body] = {}  # wire → the statements that choose its value
        self.registers: dict[str, Body] = {}  # clock → what happens at its edge
        self.held: list[str] = []  # wires that are registers, those of memories' read ports included
        self.reads: list[Cell] = []
        self.writes: list[Cell] = []
        self.contents: list[Cell] = []
        self.instances: list[Cell] = []
        self.adopted: dict[str, str] = {}  # wire → the output port that it drives alone, and as which it is written
        self._sort_cells()
        self._sort_processes()
        self._sort_connections()
        self._count_reads()
        # Verilog names given so far. Those of ports are what instances of this module rely on.
        self.names = {wire: identifier(wire[1:]) for wire, of in module.wires.items() if of.direction}
        self.taken = {*self.names.values(), *module.parameters}
        self.aliases = self._aliases()

    # --- what drives each wire ---------------------------------------------------------------------
    def _sort_cells(self) -> None:
        self.flip_flops = []
        for cell in self.module.cells:
            if cell.kind in BINARY or cell.kind in UNARY or cell.kind == "$mux":
                self.operators[whole(cell.ports["Y"])] = cell
            elif cell.kind == "$dff" and cell.parameters["CLK_POLARITY"] == "1":
                self.flip_flops.append(cell)
                self.held.append(whole(cell.ports["Q"]))
            elif cell.kind == "$memrd_v2":
                self.reads.append(cell)
                if cell.number("CLK_ENABLE"):
                    self.held.append(whole(cell.ports["DATA"]))
            elif cell.kind == "$memwr_v2":
                self.writes.append(cell)
            elif cell.kind == "$meminit_v2":
                if cell.ports["DATA"]:
                    self.contents.append(cell)
            elif cell.kind.startswith("\\"):
                self.instances.append(cell)
            else:
                raise NotImplementedError(
                    f"{self.module.name} has a cell {cell.kind}, which cannot be written as Verilog"
                )

    def _sort_processes(self) -> None:
        """Where a process computes nothing but a register's next value, its statements become the register's."""
        processes: dict[str, Body] = {}
        for body in self.module.processes:
            first = body[0]
            assert isinstance(first, Assign)  # Amaranth begins with the value of the whole wire
            processes[whole(first.left)] = body
        readers = Counter(part.wire for sig in self._operands() for part in sig if isinstance(part, Slice))
        for body in processes.values():
            readers.update(part.wire for sig in read(body) for part in sig if isinstance(part, Slice))
        for cell in self.flip_flops:
            q, d = cell.ports["Q"], cell.ports["D"]
            only = d[0] if len(d) == 1 else None
            if isinstance(only, Slice) and only.wire in processes and readers[only.wire] == 1 and self._entire(only):
                body = reset_first(gathered(redirected(processes.pop(only.wire), whole(q)), width(q)), width(q))
            else:
                body = [Assign(q, d)]
            merge(self.registers.setdefault(whole(cell.ports["CLK"]), []), body)
        for wire, body in processes.items():
            body = gathered(body, self.module.wires[wire].width)
            if all(isinstance(statement, Assign) for statement in body):
                (assignment,) = body
                assert isinstance(assignment, Assign)
                self.plain[wire] = assignment.right
            else:
                self.choices[wire] = body

    def _sort_connections(self) -> None:
        """Connections give second names to what drives a wire; Amaranth reads the first, so only ports matter."""
        for port, sig in self.module.connections:
            if self.module.wires[port].direction == "output":
                only = sig[0] if len(sig) == 1 else None
                inner = isinstance(only, Slice) and self._entire(only) and not self.module.wires[only.wire].direction
                if isinstance(only, Slice) and inner and only.wire not in self.adopted:
                    self.adopted[only.wire] = port
                else:
                    self.plain[port] = sig

    def _entire(self, part: Slice) -> bool:
        return part.width == self.module.wires[part.wire].width

    def _operands(self) -> Iterator[Sig]:
        """All that cells and ports read."""
        for cell in self.module.cells:
            for port, sig in cell.ports.items():
                if not (port in ("Y", "Q") or (cell.kind == "$memrd_v2" and port == "DATA")):
                    yield sig
        for port, sig in self.module.connections:
            if self.module.wires[port].direction == "output":
                yield sig

    # --- what is read ----------------------------------------------------------------------------------
    def _count_reads(self) -> None:
        """How often each wire is read, and which of its bits are."""
        self.uses: Counter[str] = Counter()
        self.bits_read: dict[str, int] = defaultdict(int)
        self.partly: set[str] = set()
        self.bits_read.update(dict.fromkeys(self.registers, 1))  # clocks
        for part in (part for sig in self._read() for part in sig if isinstance(part, Slice)):
            self.uses[part.wire] += 1
            self.bits_read[part.wire] |= ((1 << part.width) - 1) << part.low
            if not self._entire(part):
                self.partly.add(part.wire)
        inputs = {name for name, wire in self.module.wires.items() if wire.direction == "input"}
        read = {whole(cell.ports["DATA"]) for cell in self.reads}
        driven = {*self.operators, *self.plain, *self.choices, *self.held, *inputs, *read, *self._of_instances()}
        if undriven := self.uses.keys() - driven:
            raise NotImplementedError(f"nothing drives {sorted(undriven)} in {self.module.name}")

    def _of_instances(self) -> Iterator[str]:
        """The wires that instances drive."""
        for cell in self.instances:
            for port in sorted(cell.outputs):
                yield from (part.wire for part in cell.ports[port] if isinstance(part, Slice))

    def _unused(self) -> Iterator[Slice]:
        """Bits that nothing reads: of inputs, of what instances and memories give, and below others that are read."""
        for name, wire in self.module.wires.items():
            if wire.direction != "output" and name not in self.adopted and name in self.names:
                unread = ~self.bits_read[name] & ((1 << wire.width) - 1)
                while unread:
                    high = unread.bit_length()
                    low = (unread ^ ((1 << high) - 1)).bit_length()
                    yield Slice(name, low, high - low)
                    unread &= (1 << low) - 1

    def _read(self) -> Iterator[Sig]:
        """Every value that is read, once for each time it is written down."""
        for cell in self.operators.values():
            yield from (sig for port, sig in cell.ports.items() if port != "Y")
        yield from self.plain.values()
        for body in (*self.choices.values(), *self.registers.values()):
            yield from read(body)
        for cell in self.reads:
            yield from (cell.ports["ADDR"], cell.ports["EN"])
            if cell.number("CLK_ENABLE"):
                yield cell.ports["CLK"]
        for cell in self.writes:
            yield from (cell.ports["ADDR"], cell.ports["DATA"], cell.ports["CLK"])
            yield from (enable for _, _, enable in _lanes(cell))
        for cell in self.instances:
            yield from (sig for port, sig in cell.ports.items() if port not in cell.outputs)

    # --- names ---------------------------------------------------------------------------------------
    def _name(self, thing: str, wanted: str = "") -> str:
        """The Verilog name of a wire, a memory or a cell; like its own, unless another one is wanted."""
        thing = self.adopted.get(thing, thing)
        if thing not in self.names:
            wanted = wanted or thing[1:]
            if thing.startswith("$"):
                kind = self.operators[thing].kind if thing in self.operators else ""
                wanted = self.aliases.get(thing) or NAMES.get(kind, "value")
            wanted = identifier(wanted).replace("_signature__", "port__")  # Amaranth's name for ports of memories
            choices = (wanted, *(f"{wanted}_{i}" for i in range(2, len(self.taken) + 3)))
            name = next(choice for choice in choices if choice not in self.taken)
            self.taken.add(name)
            self.names[thing] = name
        return self.names[thing]

    def _aliases(self) -> dict[str, str]:
        """Names for wires without one: a signal that is the wire, cut short or extended; an instance and its output."""
        aliases: dict[str, str] = {}
        for signal, sig in self.module.connections:
            first, *rest = sig or (None,)
            if isinstance(first, Slice) and first.wire.startswith("$") and first.low == 0 and first.width > 1:
                sign = first.cut(first.width - 1, 1)
                zeros = all(isinstance(part, Constant) and "1" not in part.bits for part in rest)
                if zeros or all(part == sign for part in rest):
                    aliases.setdefault(first.wire, signal[1:])
        for cell in self.instances:
            for port in sorted(cell.outputs):
                (only,) = cell.ports[port]
                if isinstance(only, Slice) and not cell.foreign:
                    aliases.setdefault(only.wire, f"{cell.name[1:]}__{port}")
        return aliases

    # --- expressions -----------------------------------------------------------------------------------
    def _sig(self, sig: Sig) -> str:
        """A value as an operand: its width is its own, whatever stands around it."""
        if not sig:
            return "1'b0"
        texts: list[str] = []
        parts = list(reversed(sig))
        while parts:
            part = parts.pop(0)
            repeated = 1
            while part.width == 1 and parts and parts[0] == part and isinstance(part, Slice):
                parts.pop(0)
                repeated += 1
            text = self._part(part)
            texts.append(f"{{{repeated}{{{text}}}}}" if repeated > 1 else text)
        if len(texts) == 1:
            return texts[0]
        return "{" + ", ".join(_bare(text) for text in texts) + "}"

    def _part(self, part: Slice | Constant) -> str:
        if isinstance(part, Constant):
            return _number(part.bits)
        if self._entire(part):
            return self._inlined(part.wire) or self._name(part.wire)
        high = part.low + part.width - 1
        return f"{self._name(part.wire)}[{high}]" if part.width == 1 else f"{self._name(part.wire)}[{high}:{part.low}]"

    def _inlined(self, wire: str) -> str:
        """The expression to write in the place of a wire without a name; empty where there must be a wire."""
        if not self._temporary(wire) or wire in self.partly or not self._closed(self.operators[wire]):
            return ""
        text = self._operator(self.operators[wire])
        limit = INLINE if self.uses[wire] == 1 else INLINE // 2
        one = self.module.wires[wire].width == 1
        return text if len(text) <= limit and (one or self.uses[wire] == 1) else ""

    def _temporary(self, wire: str) -> bool:
        """Whether a wire is but the result of an operator inside an expression."""
        return wire.startswith("$") and wire in self.operators and wire not in self.aliases and wire not in self.adopted

    def _closed(self, cell: Cell) -> bool:
        """Whether the expression of an operator has the same value in any surroundings.

        Verilog extends operands to the width of what stands around them. A comparison is one bit and unsigned, and
        bitwise operations and choices between unsigned operands of one width only gain zeros, but a sum would keep
        its carry.
        """
        if cell.kind in COMPARISONS or cell.kind.startswith("$reduce") or cell.kind == "$mux":
            return True
        bits = {width(sig) for sig in cell.ports.values()}
        signed = "1" in (cell.parameters.get("A_SIGNED"), cell.parameters.get("B_SIGNED"))
        return bits == {1} or (cell.kind in BITWISE and len(bits) == 1 and not signed)

    def _operator(self, cell: Cell) -> str:
        """An operator's expression; in parentheses where it has two operands."""
        a = cell.ports["A"]
        if cell.kind == "$mux":
            return f"({self._sig(cell.ports['S'])} ? {self._sig(cell.ports['B'])} : {self._sig(a)})"
        signed = cell.parameters["A_SIGNED"] == "1"
        if cell.kind in UNARY:
            return self._unary(cell.kind, self._operand(a, signed, 0), width(a))
        b = cell.ports["B"]
        if cell.kind in ("$eq", "$ne") and width(a) == 1 and width(b) <= 1 and is_constant(b):
            text = self._sig(a)
            return text if bool(_value(b)) == (cell.kind == "$eq") else _negated(text)
        # Bits selected beyond a signed value are its sign, as in Amaranth's simulator; yosys takes zeros.
        sign = ">>>" if cell.kind == "$shift" and signed else BINARY[cell.kind]
        if cell.kind in SHIFTS:
            return f"({self._operand(a, signed, 0)} {sign} {self._sig(b)})"
        left, right = self._operand(a, signed, width(b)), self._operand(b, signed, width(a))
        if sign in "&|^":  # a & (b & c) needs no parentheses
            left, right = (_bare(text) if _joined_by(text, sign) else text for text in (left, right))
        return f"({left} {sign} {right})"

    def _unary(self, kind: str, text: str, bits: int) -> str:
        if bits == 1 and kind == "$not":
            return _negated(text)
        if bits == 1 and kind.startswith("$reduce"):
            return text
        text = text if re.match(r"[\w({$]", text) else f"({text})"
        return f"({UNARY[kind]}{text})"

    def _operand(self, sig: Sig, signed: bool, other: int) -> str:
        """An operand; a constant as wide as the other operand, so that it is clear what it is compared to."""
        if is_constant(sig):
            bits = "".join(part.bits for part in reversed(sig) if isinstance(part, Constant)) or "0"
            return _number(bits.rjust(other, bits[0] if signed else "0"), signed)
        return f"$signed({_bare(self._sig(sig))})" if signed else self._sig(sig)

    def _right(self, sig: Sig) -> str:
        """The right side of an assignment, as wide as the left one, so that an operator stands in its own context."""
        part = sig[0] if len(sig) == 1 else None
        if isinstance(part, Slice) and part.low == 0 and self._temporary(part.wire) and self.uses[part.wire] == 1:
            cell = self.operators[part.wire]
            if self._entire(part):
                return _bare(self._operator(cell))
        return _bare(self._sig(sig))

    # --- statements ------------------------------------------------------------------------------------
    def _statements(self, body: Body, arrow: str) -> list[str]:
        """Lines of an always block; arrow is = or <=."""
        lines: list[str] = []
        for statement in body:
            if isinstance(statement, Assign):
                lines.append(f"{self._sig(statement.left)} {arrow} {self._right(statement.right)};")
            elif width(statement.value) == 1:
                yes, no = taken(statement, "1"), taken(statement, "0")
                condition = self._sig(statement.value)
                if yes:
                    lines += self._if([(condition, yes), ("", no)], arrow)
                else:
                    lines += self._if([(_negated(condition), no)], arrow)
            elif one_hot := _one_hot(statement):
                conditions = [(self._sig(cut(statement.value, bit, 1)) if bit >= 0 else "", b) for bit, b in one_hot]
                lines += self._if(conditions, arrow)
            else:
                lines += self._case(statement, arrow)
        return lines

    def _if(self, branches: list[tuple[str, Body]], arrow: str) -> list[str]:
        """If … else if … else, the condition of which is empty."""
        while not branches[-1][1]:
            branches = branches[:-1]
        condition, last = branches[-1]
        if not condition and len(last) == 1 and isinstance(last[0], Switch) and width(last[0].value) == 1:
            yes, no = taken(last[0], "1"), taken(last[0], "0")
            if yes:  # else begin if … end
                return self._if([*branches[:-1], (self._sig(last[0].value), yes), ("", no)], arrow)
        lines: list[str] = []
        for i, (condition, body) in enumerate(branches):
            head = f"if ({_bare(condition)})" if condition else ""
            head = f"else {head}".strip() if i else head
            inner = self._statements(body, arrow)
            if len(inner) == 1:
                lines += [head, "  " + inner[0]]
            else:
                lines += [f"{head} begin", *("  " + line for line in inner), "end"]
        return lines

    def _case(self, switch: Switch, arrow: str) -> list[str]:
        patterns = [pattern for patterns, _ in switch.cases for pattern in patterns]
        word = "casez" if any("-" in pattern for pattern in patterns) else "case"
        cases = list(switch.cases)
        if cases[-1][0]:
            complete = word == "case" and len(set(patterns)) == 1 << width(switch.value)
            cases = [*cases[:-1], ((), cases[-1][1])] if complete else [*cases, ((), [])]
        lines = [f"{word} ({_bare(self._sig(switch.value))})"]
        for labels, body in cases:
            label = ", ".join(map(_pattern, labels)) or "default"
            inner = self._statements(body, arrow)
            if len(inner) <= 1:
                lines.append(f"  {label}: {inner[0] if inner else ';'}")
            else:
                lines += [f"  {label}: begin", *("    " + line for line in inner), "  end"]
        return [*lines, "endcase"]

    def _memory_read(self, cell: Cell) -> list[str]:
        memory, address = self._memory(cell), self._sig(cell.ports["ADDR"])
        data = self._name(whole(cell.ports["DATA"]))
        if not cell.number("CLK_ENABLE"):
            return [f"assign {data} = {memory}[{_bare(address)}];"]
        lines = [f"{data} <= {memory}[{_bare(address)}];"]
        mask = cell.parameters["TRANSPARENCY_MASK"].partition("'")[2]
        for write in self.writes:
            if write.parameters["MEMID"] == cell.parameters["MEMID"] and mask[-1 - write.number("PORTID")] == "1":
                same = f"({self._sig(write.ports['ADDR'])} == {address})"
                for low, bits, enable in _lanes(write):
                    part = "" if bits == write.number("WIDTH") else f"[{low + bits - 1}:{low}]"
                    value = self._sig(cut(write.ports["DATA"], low, bits))
                    lines.append(f"if ({self._sig(enable)} & {same})\n  {data}{part} <= {_bare(value)};")
        lines = [line for text in lines for line in text.split("\n")]
        return self._edge(cell, lines, cell.ports["EN"])

    def _memory_write(self, cell: Cell) -> list[str]:
        target = f"{self._memory(cell)}[{_bare(self._sig(cell.ports['ADDR']))}]"
        lines: list[str] = []
        for low, bits, enable in _lanes(cell):
            part = "" if bits == cell.number("WIDTH") else f"[{low + bits - 1}:{low}]"
            write = f"{target}{part} <= {_bare(self._sig(cut(cell.ports['DATA'], low, bits)))};"
            lines += [write] if enable == ONE else [f"if ({_bare(self._sig(enable))})", f"  {write}"]
        return self._edge(cell, lines)

    def _edge(self, cell: Cell, lines: list[str], enable: Sig = ()) -> list[str]:
        """At a clock edge, where enabled."""
        if enable and enable != ONE:
            condition = f"if ({_bare(self._sig(enable))})"
            lines = (
                [condition, *_indented(lines)] if len(lines) == 1 else [f"{condition} begin", *_indented(lines), "end"]
            )
        return [f"always @(posedge {self._sig(cell.ports['CLK'])}) begin", *_indented(lines), "end"]

    def _memory(self, cell: Cell) -> str:
        return self._name(_memory_of(cell))

    def _contents(self, cell: Cell) -> list[str]:
        bits = "".join(part.bits for part in reversed(cell.ports["DATA"]) if isinstance(part, Constant))
        size = cell.number("WIDTH")
        words = [bits[end - size : end] for end in range(len(bits), 0, -size)]
        return [
            "initial begin",
            *(f"  {self._memory(cell)}[{i}] = {_number(word)};" for i, word in enumerate(words)),
            "end",
        ]

    def _instance(self, cell: Cell) -> list[str]:
        kind = cell.kind[1:]
        name = "" if cell.foreign else self._name(cell.name)
        attributes = ", ".join(_attribute(key, value) for key, value in cell.attributes.items())
        parameters = [f".{key}({_literal(value)})" for key, value in cell.parameters.items()]
        ports = [f".{identifier(port)}({_bare(self._sig(sig))})" for port, sig in cell.ports.items()]
        if cell.foreign:  # what it drives may bear the same name, which is read more often
            name = self._name(cell.name, re.sub(r"\$\d+$", "", cell.name[1:]))
        lines = [f"(* {attributes} *)"] if attributes else []
        start = f"{kind} #({', '.join(parameters)}) {name} (" if parameters else f"{kind} {name} ("
        short = " ".join([*lines, f"{start}{', '.join(ports)});"])
        if cell.foreign and len(short) <= WIDE - 2:
            return [short]
        if len(start) <= LINE - 2:
            lines.append(start)
        else:
            lines += [f"{kind} #(", *_indented(_filled(parameters)), f") {name} ("]
        return [*lines, *_indented(_filled(ports) if cell.foreign else _listed(ports)), ");"]

    # --- the text --------------------------------------------------------------------------------------
    def text(self, about: str) -> str:
        """The module; about says in a line what it is."""
        for wire in self.adopted:
            self._name(wire)
        values = {wire: f"assign {self._name(wire)} = {self._right(sig)};" for wire, sig in self.plain.items()}
        blocks = [["always @* begin", *_indented(self._statements(body, "=")), "end"] for body in self.choices.values()]
        blocks += [block for cell in self.writes for block in [self._memory_write(cell)]]
        blocks += [self._memory_read(cell) for cell in self.reads]
        for clock, body in self.registers.items():
            blocks.append(
                [f"always @(posedge {self._name(clock)}) begin", *_indented(self._statements(body, "<=")), "end"]
            )
        instances = [self._instance(cell) for cell in self.instances]
        for one_line, group in groupby(instances, lambda lines: len(lines) == 1):
            several = list(group)
            blocks += [[line for (line,) in several]] if one_line else several
        blocks += [self._contents(cell) for cell in self.contents]
        starts = [
            f"  {self._name(wire)} = {_literal(self.module.wires[wire].attributes['init'])};"
            for wire in self.held
            if "init" in self.module.wires[wire].attributes
        ]
        if starts:
            # Last, so that every simulator's always @* sees these changes at time zero.
            blocks.append(["initial begin", *starts, "end"])
        # The operators that were not written in the place of their wires; they may need others of these.
        while missing := [w for w in self.operators if self.adopted.get(w, w) in self.names and w not in values]:
            for wire in missing:
                values[wire] = f"assign {self._name(wire)} = {_bare(self._operator(self.operators[wire]))};"
        order = {wire: i for i, wire in enumerate(self.module.wires)}
        blocks.insert(0, [values[wire] for wire in sorted(values, key=order.__getitem__)])
        if unused := tuple(self._unused()):
            text = self._sig((*reversed(unused), Constant("0")))
            blocks.append([f"// {UNUSED}", f"wire {self._name('unused', 'unused')} = &{text};"])
        lines = [f"// {about}"] if about else []
        lines.append(f"module {self.module.name} (")
        if self.module.parameters:
            parameters = _listed([f'parameter {name} = ""' for name in self.module.parameters])
            parameters[0] += "  // where cells of the chip are, as nextpnr names it"
            lines[-1:] = [f"module {self.module.name} #(", *_indented(parameters), ") ("]
        lines += [*_indented(self._ports()), ");"]
        lines += _indented(self._declarations())
        for block in blocks:
            if block:
                lines += ["", *_indented(block)]
        return ascii_text("\n".join([*(wrapped for line in lines for wrapped in _wrapped(line)), "endmodule", ""]))

    def _kind(self, wire: str) -> str:
        return "reg" if wire in self.held or wire in self.choices else "wire"

    def _ports(self) -> list[str]:
        drivers = {port: wire for wire, port in self.adopted.items()}
        rows = []
        for port, wire in self.module.wires.items():
            if wire.direction:
                kind = f"{wire.direction} {self._kind(drivers.get(port, port))}"
                rows.append(
                    (
                        f"{self._attributes(wire.attributes)}{kind}",
                        _range(wire.width),
                        self._name(port),
                        self._fields(port),
                    )
                )
        wide = max((len(bits) for _, bits, _, _ in rows), default=0)
        lines = [f"{kind:11} {bits:{wide}} {name}," for kind, bits, name, _ in rows]
        if lines:
            lines[-1] = lines[-1].removesuffix(",")
        for i, (_, _, _, fields) in reversed(list(enumerate(rows))):
            if fields:
                comments = textwrap.wrap(fields, LINE - len(lines[i]) - 6, break_long_words=False)
                margin = " " * len(lines[i])
                lines[i : i + 1] = [f"{margin if j else lines[i]}  // {comment}" for j, comment in enumerate(comments)]
        return lines

    def _fields(self, port: str) -> str:
        """What a port's bits are, where it is a structure or an array; its fields lie one after the other."""
        fields = []
        for name, wire in self.module.wires.items():
            if match := re.fullmatch(r"\.(\w+)|\[(\d+)\]", name.removeprefix(port)) if name.startswith(port) else None:
                fields.append((match.group(1), wire.width))
        if sum(bits for _, bits in fields) != self.module.wires[port].width:
            return ""
        if fields[0][0] is None:
            return f"{len(fields)} x {fields[0][1]} bits" if len({bits for _, bits in fields}) == 1 else ""
        texts, low = [], 0
        for name, bits in fields:
            if bits:
                texts.append(f"{name}[{low}]" if bits == 1 else f"{name}[{low + bits - 1}:{low}]")
            low += bits
        return ", ".join(texts)

    def _declarations(self) -> list[str]:
        rows = []
        for name, memory in self.module.memories.items():
            text = f"{self._name(name)} [0:{memory.depth - 1}]"
            attributes = memory.attributes | (NO_CHECK if self._undefined(name) else {})
            rows.append((f"{self._attributes(attributes)}reg", _range(memory.width), text))
        for name, wire in self.module.wires.items():
            if name in self.names and not wire.direction and name not in self.adopted:
                rows.append(
                    (f"{self._attributes(wire.attributes)}{self._kind(name)}", _range(wire.width), self._name(name))
                )
        wide = max((len(bits) for _, bits, _ in rows), default=0)
        return [f"{kind:4} {bits:{wide}} {name};" for kind, bits, name in rows]

    def _undefined(self, memory: str) -> bool:
        """Whether a word of it that is read while it is written may be anything: clocked reads, not transparent."""
        ports = [cell for cell in (*self.reads, *self.writes) if _memory_of(cell) == memory]
        reads = [cell for cell in ports if cell.kind == "$memrd_v2"]
        return len(ports) > len(reads) > 0 and all(
            cell.number("CLK_ENABLE") and "1" not in cell.parameters["TRANSPARENCY_MASK"].partition("'")[2]
            for cell in reads
        )

    def _attributes(self, attributes: dict[str, str]) -> str:
        texts = [
            _attribute(key, value) for key, value in attributes.items() if key != "init" and not key.startswith("enum_")
        ]
        return f"(* {', '.join(texts)} *) " if texts else ""


ONE: Sig = (Constant("1"),)


def _lanes(cell: Cell) -> list[tuple[int, int, Sig]]:
    """The bits of a memory's write port that have an enable in common: lowest bit, number of bits, enable."""
    lanes: list[tuple[int, int, Sig]] = []
    for bit in range(cell.number("WIDTH")):
        enable = cut(cell.ports["EN"], bit, 1)
        if lanes and lanes[-1][2] == enable:
            low, bits, _ = lanes.pop()
            lanes.append((low, bits + 1, enable))
        else:
            lanes.append((bit, 1, enable))
    return [lane for lane in lanes if lane[2] != (Constant("0"),)]


def _one_hot(switch: Switch) -> list[tuple[int, Body]]:
    """The bit that each case asks for, −1 for none; empty where cases are not of this kind (if … else if)."""
    result: list[tuple[int, Body]] = []
    for patterns, body in switch.cases:
        if not patterns:
            result.append((-1, body))
        elif len(patterns) == 1 and patterns[0].count("1") == 1 and patterns[0].count("-") == len(patterns[0]) - 1:
            result.append((len(patterns[0]) - 1 - patterns[0].index("1"), body))
        else:
            return []
    return result


def _value(sig: Sig) -> int:
    """The number that a constant is."""
    return int("0" + "".join(part.bits for part in reversed(sig) if isinstance(part, Constant)), 2)


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _wrapped(line: str) -> list[str]:
    """A line broken between words where it is too long."""
    if len(line) <= (WIDE if INSTANCE.fullmatch(line) else LINE) or "//" in line:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    more = indent + "    "
    return textwrap.wrap(line, LINE, subsequent_indent=more, break_long_words=False, break_on_hyphens=False)


def _memory_of(port: Cell) -> str:
    """The name of the memory that a port is of."""
    return port.parameters["MEMID"].strip('"').replace("\\\\", "\\")


def _bare(text: str) -> str:
    """The text without the parentheses around all of it."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return text[1:-1] if i == len(text) - 1 and text.startswith("(") else text
    return text


def _joined_by(text: str, sign: str) -> bool:
    """Whether a text in parentheses joins its operands with this sign."""
    depth = 0
    for i, character in enumerate(text):
        depth += (character in "({") - (character in ")}")
        if depth == 1 and text.startswith(f" {sign} ", i):
            return _bare(text) != text
    return False


def _negated(text: str) -> str:
    """Not a value of one bit."""
    if text.startswith("!"):
        return text[1:]
    return f"!{text}" if re.match(r"[\w({]", text) else f"!({text})"


def _number(bits: str, signed: bool = False) -> str:
    """A constant; decimal where it is short."""
    size = len(bits)
    if set(bits) - {"0", "1"}:
        return f"{size}'b{bits}"
    if signed:
        return f"{size}'sh{int(bits, 2):x}"
    return (
        f"{size}'d{int(bits, 2)}"
        if int(bits, 2) < 1024 and size > 1
        else f"{size}'{'h' if size > 1 else 'b'}{int(bits, 2):x}"
    )


def _pattern(bits: str) -> str:
    return f"{len(bits)}'b{bits.replace('-', '?')}" if "-" in bits else _number(bits)


def _literal(value: str) -> str:
    """A parameter's or an attribute's value: text and plain numbers are written as in RTLIL."""
    size, quote, bits = value.partition("'")
    return _number(bits) if quote and size.isdigit() else value


def _listed(texts: list[str]) -> list[str]:
    """One of a list on each line."""
    return [f"{text}," for text in texts[:-1]] + texts[-1:]


def _filled(texts: list[str]) -> list[str]:
    """As many of a list on a line as fit; of what is numbered, as .A0 to .A17, each sort begins a line."""
    sorts = [re.sub(r"\d*\(.*", "", text) for text in texts]
    numbers = Counter(sorts)
    lines: list[str] = []
    before = ""
    for sort, text in zip(sorts, _listed(texts), strict=True):
        begins = sort != before and max(numbers[sort], numbers[before]) > 3
        if lines and not begins and len(lines[-1]) + len(text) < LINE - 4:
            lines[-1] += f" {text}"
        else:
            lines.append(text)
        before = sort
    return lines


def _attribute(key: str, value: str) -> str:
    """An attribute of a cell; one that is 1 is just named."""
    return key if value == "1" else f"{key} = {_literal(value)}"


def _range(bits: int) -> str:
    return f"[{bits - 1}:0]" if bits > 1 else ""
