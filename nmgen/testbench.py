"""A Verilog testbench that stands alone: an external memory, a few products with their results, and the verdict.

Operands come from Python's own generator with a fixed seed, so that the same configuration gives the same bytes.
"""

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from rtl.params import BIAS_BITS, MULT_BITS, REGISTERS, SHIFT_MAX, Config, Product, product_cycles, selection_coding
from sim import golden, image

LATENCY = 30
UNTOUCHED = 0x5A  # every byte that nothing was put into


@dataclass(frozen=True)
class Case:
    """A product to run, with random or extreme operands, and with a memory that stalls at random or never."""

    product: Product
    extreme: bool
    stalls: bool


def cases(config: Config) -> list[Case]:
    """Small products that reach each coding of the selection, both widths, per channel and per row, and all edges."""
    m = config.m
    bitmap = [n for n in range(1, m) if selection_coding(n, m) == "bitmap"]
    patterns = sorted({1, config.n, *bitmap[:1], m})
    shapes = []
    for i, n in enumerate(patterns):
        tokens = min(config.max_tokens, config.rows + 1 + i % 2)
        shapes.append((tokens, min(config.max_k, 2 * m + 1 + i), config.cols + 1 + i % 3, n, (8, 16)[i % 2], False))
    shapes.append((1, min(config.max_k, 2 * m), 1, config.n, 16, False))
    shapes.append((min(config.max_tokens, 2 * config.rows + 1), m, 1, m, 8, True))
    return [
        Case(
            Product(config=config, tokens=tokens, k=k, channels=channels, pattern_n=n, out_bits=bits, per_row=per_row),
            extreme=i % 3 == 1,
            stalls=i % 2 == 1,
        )
        for i, (tokens, k, channels, n, bits, per_row) in enumerate(shapes)
    ]


def operands(case: Case, random: Random) -> tuple[NDArray[np.int8], NDArray[np.int8], list[NDArray[np.int64]]]:
    """x, w, and bias, mult and shift: full range, or everything at an end of its range."""
    product = case.product
    m = product.config.m

    def pick(low: int, high: int, count: int) -> list[int]:
        ends = (low, high)
        return [random.choice(ends) if case.extreme else random.randint(low, high) for _ in range(count)]

    x = np.array(pick(-128, 127, product.tokens * product.k), np.int8).reshape(product.tokens, product.k)
    w = np.array(pick(-127, 127, product.channels * product.k), np.int8).reshape(product.channels, product.k)
    for channel in range(product.channels):
        for start in range(0, product.k, m):
            group = range(start, min(start + m, product.k))
            keep = random.sample(group, min(product.pattern_n, len(group)))
            w[channel, [position for position in group if position not in keep]] = 0
    count = product.tokens if product.per_row else product.channels
    half = 1 << (BIAS_BITS - 1)
    if case.extreme:
        bias, mult, shift = (
            pick(-half, half - 1, count),
            pick(0, (1 << MULT_BITS) - 1, count),
            pick(1, SHIFT_MAX, count),
        )
    else:
        # Results of about the size of the output, some of them beyond its ends.
        bits = (product.k * product.pattern_n // m).bit_length() // 2 + 13 + 15 - product.out_bits
        bias, mult = pick(-(1 << 14), 1 << 14, count), pick(1 << 12, (1 << MULT_BITS) - 1, count)
        shift = pick(bits, bits + 2, count)
    return x, w, [np.array(values, np.int64) for values in (bias, mult, shift)]


def text(config: Config, prefix: str, command: str) -> str:
    """The testbench; command is how to run it."""
    random = Random(1)
    everything = cases(config)
    places = [image.layout(case.product) for case in everything]
    words = max(place.size for place in places) // config.port_bytes
    loads, runs = [], []
    for i, (case, place) in enumerate(zip(everything, places, strict=True)):
        product = case.product
        x, w, (bias, mult, shift) = operands(case, random)
        memory = image.build(product, x, w, bias, mult, shift)
        y = golden.linear(x, w, bias, mult, shift, out_bits=product.out_bits, per_row=product.per_row)
        results = np.full(product.tokens * product.y_stride, UNTOUCHED, np.uint8)
        for byte in range(product.out_bits // 8):
            results[image.result_offsets(product) + byte] = (y.astype(np.int64) >> 8 * byte).astype(np.uint8)
        loads += [f"  task load_{i};", "    begin"]
        for region in (place.x, place.w, place.r):
            loads += _words("memory", config, region.address, memory[region.address : region.end])
        loads.append("      remember;")
        loads += [*_words("expected", config, place.y.address, results), "    end", "  endtask", ""]
        runs += _run(i, case, place)
    count = sum(case.product.tokens * case.product.channels for case in everything)
    body = "\n".join([*loads, "  initial begin", "    reset;", *runs, f'    $display("PASS {count} results");'])
    return f"{_head(config, prefix, command, words)}{body}\n    $finish;\n  end\nendmodule\n"


def _words(array: str, config: Config, address: int, content: NDArray[np.uint8]) -> list[str]:
    beat = config.port_bytes
    return [
        f"      {array}[{(address + i) // beat}] = {8 * beat}'h{content[i : i + beat].tobytes()[::-1].hex()};"
        for i in range(0, len(content), beat)
    ]


def _run(number: int, case: Case, place: image.Layout) -> list[str]:
    """Load, describe to the accelerator, start, wait and compare one product."""
    product = case.product
    c = product.config
    what = f"{product.tokens} tokens, K {product.k}, {product.channels} channels, {product.pattern_n}:{c.m}"
    how = f"{product.out_bits} bits, per {'row' if product.per_row else 'channel'}"
    kind = f"{'extreme' if case.extreme else 'random'} operands, memory {'stalls' if case.stalls else 'never stalls'}"
    cycles = 0
    if not case.stalls:
        cycles = product_cycles(
            c,
            product.tokens,
            product.k,
            product.channels,
            product.pattern_n,
            LATENCY,
            out_bits=product.out_bits,
            per_row=product.per_row,
        )
    writes = [
        f"    write_register(8'h{REGISTERS[name][0]:02x}, 32'h{value:08x});  // {name}"
        for name, value in place.registers(product).items()
    ]
    out_bytes = product.out_bits // 8
    limit = 20 * product_cycles(c, product.tokens, product.k, product.channels, product.pattern_n, LATENCY) + 10000
    return [
        "",
        f"    // {what}, {how}; {kind}",
        f"    clear({number}, 1'b{int(case.stalls)});",
        f"    load_{number};",
        *writes,
        f"    run({limit}, {cycles});",
        f"    compare({place.y.address}, {product.y_stride}, {c.pitch(out_bytes)}, {out_bytes});",
    ]


def _head(config: Config, prefix: str, command: str, words: int) -> str:
    offset = {name: f"8'h{at:02x}" for name, (at, _) in REGISTERS.items()}
    return f"""\
// Runs products on {prefix}_top and compares every byte of the memory afterwards. In the directory of {prefix}_top.v:
//   {command}
// prints PASS and ends with status 0, or the first mismatch and ends with another status.
module {prefix}_tb;
  localparam LATENCY = {LATENCY};  // cycles from a read request to its first beat
  localparam BYTES = {config.port_bytes};  // of a beat
  localparam WORDS = {words};  // beats that the memory holds

  reg clk = 1'b0;
  reg rst = 1'b1;
  reg [7:0] address = 8'd0;
  reg write = 1'b0;
  reg [31:0] write_data = 32'd0;
  wire [31:0] read_data;
  wire busy;
  wire [39:0] read_request;  // length[39:32], address[31:0]
  wire read_request_valid;
  wire read_request_ready;
  reg [8*BYTES-1:0] beat;
  reg beat_valid = 1'b0;
  wire beat_ready;
  wire [39:0] write_request;  // length[39:32], address[31:0]
  wire write_request_valid;
  wire write_request_ready;
  wire [9*BYTES-1:0] write_beat;  // strobe, data
  wire write_beat_valid;
  wire write_beat_ready;

  {prefix}_top dut (
    .clk(clk),
    .rst(rst),
    .control__address(address),
    .control__write(write),
    .control__write_data(write_data),
    .control__read_data(read_data),
    .memory__read_request__payload(read_request),
    .memory__read_request__valid(read_request_valid),
    .memory__read_request__ready(read_request_ready),
    .memory__read_data__payload(beat),
    .memory__read_data__valid(beat_valid),
    .memory__read_data__ready(beat_ready),
    .memory__write_request__payload(write_request),
    .memory__write_request__valid(write_request_valid),
    .memory__write_request__ready(write_request_ready),
    .memory__write_data__payload(write_beat),
    .memory__write_data__valid(write_beat_valid),
    .memory__write_data__ready(write_beat_ready),
    .busy(busy)
  );

  always #5 clk = !clk;

  // --- external memory ---------------------------------------------------------------------------
  reg [8*BYTES-1:0] memory [0:WORDS-1];
  reg [8*BYTES-1:0] expected [0:WORDS-1];
  reg stalls = 1'b0;  // at random, on every stream
  reg [31:0] random = 32'd1;
  integer cycle = 0;

  // Bursts that were asked for: word of the next beat, beats left, first cycle in which a beat may come.
  integer read_word [0:255];
  integer read_left [0:255];
  integer read_due [0:255];
  reg [7:0] read_first = 8'd0;
  reg [7:0] read_last = 8'd0;
  integer write_word [0:255];
  integer write_left [0:255];
  reg [7:0] write_first = 8'd0;
  reg [7:0] write_last = 8'd0;
  integer lane;

  assign read_request_ready = !stalls || random[3];
  assign write_request_ready = !stalls || random[9];
  assign write_beat_ready = (!stalls || random[14])
      && (write_first != write_last || (write_request_valid && write_request_ready));

  always @(posedge clk) begin
    cycle = cycle + 1;
    random <= {{random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]}};
    if (!rst) begin
      if (^{{busy, read_request_valid, beat_ready, write_request_valid, write_beat_valid}} === 1'bx) begin
        $display("FAIL: an output is unknown in cycle %0d", cycle);
        $fatal(1);
      end
      if (read_request_valid && read_request_ready) begin
        read_word[read_last] = read_request[31:0] / BYTES;
        read_left[read_last] = read_request[39:32] + 1;
        read_due[read_last] = cycle + LATENCY;
        read_last = read_last + 8'd1;
      end
      if (!beat_valid || beat_ready) begin
        beat_valid <= 1'b0;
        beat <= {{BYTES{{8'hxx}}}};
        if (read_first != read_last && read_due[read_first] <= cycle + 1 && !(stalls && random[20])) begin
          beat_valid <= 1'b1;
          beat <= memory[read_word[read_first]];
          read_word[read_first] = read_word[read_first] + 1;
          read_left[read_first] = read_left[read_first] - 1;
          if (read_left[read_first] == 0)
            read_first = read_first + 8'd1;
        end
      end
      if (write_request_valid && write_request_ready) begin
        write_word[write_last] = write_request[31:0] / BYTES;
        write_left[write_last] = write_request[39:32] + 1;
        write_last <= write_last + 8'd1;
      end
      if (write_beat_valid && write_beat_ready) begin
        for (lane = 0; lane < BYTES; lane = lane + 1)
          if (write_beat[8*BYTES+lane])
            memory[write_word[write_first]][8*lane +: 8] = write_beat[8*lane +: 8];
        write_word[write_first] = write_word[write_first] + 1;
        write_left[write_first] = write_left[write_first] - 1;
        if (write_left[write_first] == 0)
          write_first <= write_first + 8'd1;
      end
    end
  end

  // --- what a host does --------------------------------------------------------------------------
  integer number;  // of the product
  integer word;
  integer waited;
  integer at;

  task reset;
    begin
      repeat (4) @(posedge clk);
      rst <= 1'b0;
      read_register({offset["id"]});
      if (read_data !== 32'h{config.identification:08x}) begin
        $display("FAIL: the ID register is %h, expected {config.identification:08x}", read_data);
        $fatal(1);
      end
    end
  endtask

  task write_register(input [7:0] where, input [31:0] value);
    begin
      @(posedge clk);
      address <= where;
      write_data <= value;
      write <= 1'b1;
      @(posedge clk);
      write <= 1'b0;
    end
  endtask

  task read_register(input [7:0] where);
    begin
      @(posedge clk);
      address <= where;
      @(posedge clk);
      @(posedge clk);
    end
  endtask

  task clear(input integer which, input stall);
    begin
      number = which;
      stalls = stall;
      for (word = 0; word < WORDS; word = word + 1)
        memory[word] = {{BYTES{{8'h{UNTOUCHED:02x}}}}};
    end
  endtask

  task remember;
    for (word = 0; word < WORDS; word = word + 1)
      expected[word] = memory[word];
  endtask

  // Start, wait until it is done, and check the cycle counter; 0 cycles are not checked.
  task run(input integer limit, input integer cycles);
    begin
      write_register({offset["control"]}, 32'd1);
      waited = 0;
      @(posedge clk);
      while (busy !== 1'b0 && waited < limit) begin
        @(posedge clk);
        waited = waited + 1;
      end
      read_register({offset["status"]});
      if (read_data !== 32'd2) begin
        $display("FAIL: product %0d is not done after %0d cycles, status %h", number, waited, read_data);
        $fatal(1);
      end
      read_register({offset["cycles"]});
      if (cycles != 0 && read_data !== cycles) begin
        $display("FAIL: product %0d took %0d cycles, expected %0d", number, read_data, cycles);
        $fatal(1);
      end
    end
  endtask

  // Compare the whole memory: y lies at a byte address, a token every stride bytes, a column tile every pitch bytes.
  task compare(input integer y, input integer stride, input integer pitch, input integer size);
    for (word = 0; word < WORDS; word = word + 1)
      if (memory[word] !== expected[word])
        for (lane = 0; lane < BYTES; lane = lane + 1)
          if (memory[word][8*lane +: 8] !== expected[word][8*lane +: 8]) begin
            at = word * BYTES + lane - y;
            if (at < 0)
              $display("FAIL: product %0d wrote outside of its results", number);
            else
              $display("FAIL: product %0d, token %0d, channel %0d", number, at / stride,
                       at % stride / pitch * {config.cols} + at % stride % pitch / size);
            $display("byte %h is %h, expected %h", word * BYTES + lane, memory[word][8*lane +: 8],
                     expected[word][8*lane +: 8]);
            $fatal(1);
          end
  endtask

"""
