// Two masters read and write an SDRAM at random, each compares with a plain memory of its own half. +accesses=N bursts each,
// +seed=S; or +requests=FILE is read by one as fast as the memory can: a line of hexadecimal digits each, beats less one and
// address as in a request, +count=N of them, +beats=N in all. It says how many words the pins moved in which time.
// +always_driven: the controller's side never lets go of the data pins.
// CHIP (parameters of sdram_chip), PORT_BYTES and ADDRESS_BITS (of the chip's bytes) are defined by the command line.
`timescale 1ps / 1ps

module master #(parameter PORT_BYTES = 16, parameter NUMBER = 0, parameter ADDRESS_BITS = 25) (
    input clk,
    input go,
    output [39:0] read_request,
    output read_request_valid,
    input read_request_ready,
    input [8*PORT_BYTES-1:0] read_data,
    input read_data_valid,
    output read_data_ready,
    output [39:0] write_request,
    output write_request_valid,
    input write_request_ready,
    output [9*PORT_BYTES-1:0] write_data,
    output write_data_valid,
    input write_data_ready,
    output reg done
);
    localparam SHIFT = $clog2(PORT_BYTES);
    localparam BEATS = 1 << (ADDRESS_BITS - SHIFT);
    localparam HALF = 11;  // the address bit that says whose half it is: bursts cross chunks and rows within 2 KB
    reg [8*PORT_BYTES-1:0] plain [0:BEATS-1];
    reg [8*PORT_BYTES-1:0] expected [0:4095];
    integer head = 0, tail = 0;  // of what is expected
    integer accesses, seed, left;
    integer i, beat, length, sent;
    reg [1:0] state = 0;  // idle, read request, write request and beats, before a write
    reg request_taken;
    reg [39:0] request;
    reg [8*PORT_BYTES-1:0] word;
    reg [PORT_BYTES-1:0] strobe;
    reg word_valid = 0, ready = 0;
    integer cycle = 0, share = 3;
    integer hot;  // a few rows, so that hits and conflicts are frequent

    assign read_request = request;
    assign write_request = request;
    assign read_request_valid = state == 1;
    assign write_request_valid = state == 2 && !request_taken;
    assign write_data = {strobe, word};
    assign write_data_valid = state == 2 && word_valid;
    assign read_data_ready = ready;

    initial begin
        for (i = 0; i < BEATS; i = i + 1) plain[i] = 0;
        if (!$value$plusargs("accesses=%d", accesses)) accesses = 1000;
        if (!$value$plusargs("seed=%d", seed)) seed = 1;
        seed = seed * 7919 + NUMBER;
        left = accesses;
        done = 0;
    end

    task fresh;
        begin
            for (i = 0; i < PORT_BYTES; i = i + 1) word[8*i +: 8] = $random(seed);
            strobe = $random(seed);
            if ($random(seed) % 2 == 0) strobe = {PORT_BYTES{1'b1}};
        end
    endtask

    always @(posedge clk) if (go) begin
        if (read_data_valid && read_data_ready) begin
            if (head == tail) begin
                $display("FAILED: master %0d got a beat that it did not ask for", NUMBER);
                $finish;
            end else if (read_data !== expected[head % 4096]) begin
                $display("FAILED: master %0d read %h, expected %h", NUMBER, read_data, expected[head % 4096]);
                $finish;
            end
            head = head + 1;
        end
        // Phases of different back-pressure, one of them without any beat taken: FIFOs are seen full.
        cycle = cycle + 1;
        if (cycle % 256 == 0) share = $random(seed);
        ready <= share[1:0] == 0 ? 1'b0 : share[1:0] == 1 ? $random(seed) % 8 == 0 : $random(seed) % 4 != 0;
        case (state)
            0: if (left == 0) done <= head == tail;
            else if ($random(seed) % 4 != 0) begin
                hot = $random(seed);
                beat = $random(seed);
                if (hot[1:0] != 0) beat = beat & ((1 << (ADDRESS_BITS - SHIFT)) - 1) & ~(((1 << ADDRESS_BITS) - (1 << 14)) >> SHIFT)
                    | (hot[3:2] << (ADDRESS_BITS - 3 - SHIFT));
                beat = beat & (BEATS - 1);
                beat = beat & ~(1 << (HALF - SHIFT)) | NUMBER << (HALF - SHIFT);
                length = 1 + ($random(seed) & 32'h7fffffff) % (hot[4] ? 3 : 40);
                if (length > (1 << (HALF - SHIFT)) - (beat & ((1 << (HALF - SHIFT)) - 1)))
                    length = (1 << (HALF - SHIFT)) - (beat & ((1 << (HALF - SHIFT)) - 1));
                request <= {length[7:0] - 8'd1, 32'd0} | beat << SHIFT;
                if ((hot[6:5] != 0) && tail - head < 3000) begin
                    for (i = 0; i < length; i = i + 1) expected[(tail + i) % 4096] = plain[beat + i];
                    tail = tail + length;
                    state <= 1;
                    left = left - 1;
                end else state <= 3;
            end
            3: if (head == tail) begin  // all reads are through: a write may overtake them
                fresh;
                word_valid <= 1;
                sent = 0;
                request_taken <= 0;
                state <= 2;
                left = left - 1;
            end
            1: if (read_request_ready) state <= 0;
            2: begin
                if (write_request_valid && write_request_ready) request_taken <= 1;
                if (write_data_valid && write_data_ready) begin
                    for (i = 0; i < PORT_BYTES; i = i + 1)
                        if (strobe[i]) plain[beat + sent][8*i +: 8] = word[8*i +: 8];
                    sent = sent + 1;
                    fresh;
                end
                word_valid <= sent < length && (write_data_valid && !write_data_ready || $random(seed) % 4 != 0);
                if (sent == length && (request_taken || write_request_ready)) state <= 0;
            end
            default: ;
        endcase
    end
endmodule

module sdram_tb (input clk, input sdram_clk, input rst);
    localparam PORT_BYTES = `PORT_BYTES;
    localparam ADDRESS_BITS = `ADDRESS_BITS;
    integer limit, count;
    reg [39:0] requests [0:65535];
    reg [1023:0] file;

    wire [2:0] command;
    wire [1:0] bank;
    wire [12:0] address;
    wire [15:0] dq_o, dq_i;
    wire dq_idle;
    wire [1:0] mask;
    sdram_behind_cells sdram (
        .clk(sdram_clk), .command(command), .bank(bank), .address(address), .mask(mask),
        .dq_o(dq_o), .dq_enable(!dq_idle || $test$plusargs("always_driven")), .dq_i(dq_i)
    );

    wire [39:0] rr [0:1], wr [0:1];
    wire rrv [0:1], rrr [0:1], rdv [0:1], rdr [0:1], wrv [0:1], wrr [0:1], wdv [0:1], wdr [0:1], done [0:1];
    wire [8*PORT_BYTES-1:0] rd [0:1];
    wire [9*PORT_BYTES-1:0] wd [0:1];
    wire ready;
    reg stream_mode = 0;
    integer words0, asked, taken;
    time begin_time;
    genvar g;
    generate for (g = 0; g < 2; g = g + 1) begin : masters
        master #(.PORT_BYTES(PORT_BYTES), .NUMBER(g), .ADDRESS_BITS(ADDRESS_BITS)) it (
            .clk(clk), .go(ready && !stream_mode),
            .read_request(rr[g]), .read_request_valid(rrv[g]), .read_request_ready(rrr[g]),
            .read_data(rd[g]), .read_data_valid(rdv[g]), .read_data_ready(rdr[g]),
            .write_request(wr[g]), .write_request_valid(wrv[g]), .write_request_ready(wrr[g]),
            .write_data(wd[g]), .write_data_valid(wdv[g]), .write_data_ready(wdr[g]), .done(done[g])
        );
    end endgenerate
    nmgen_sdram dut (
        .clk(clk), .rst(rst), .sdram_clk(sdram_clk), .sdram_rst(rst), .initialised(ready),
        .ports__0__read_request__payload(stream_mode ? requests[asked] : rr[0]),
        .ports__0__read_request__valid(stream_mode ? asked < count : rrv[0]), .ports__0__read_request__ready(rrr[0]),
        .ports__0__read_data__payload(rd[0]), .ports__0__read_data__valid(rdv[0]),
        .ports__0__read_data__ready(stream_mode || rdr[0]),
        .ports__0__write_request__payload(wr[0]), .ports__0__write_request__valid(wrv[0]),
        .ports__0__write_request__ready(wrr[0]), .ports__0__write_data__payload(wd[0]),
        .ports__0__write_data__valid(wdv[0]), .ports__0__write_data__ready(wdr[0]),
        .ports__1__read_request__payload(rr[1]), .ports__1__read_request__valid(rrv[1]),
        .ports__1__read_request__ready(rrr[1]), .ports__1__read_data__payload(rd[1]),
        .ports__1__read_data__valid(rdv[1]), .ports__1__read_data__ready(rdr[1]),
        .ports__1__write_request__payload(wr[1]), .ports__1__write_request__valid(wrv[1]),
        .ports__1__write_request__ready(wrr[1]), .ports__1__write_data__payload(wd[1]),
        .ports__1__write_data__valid(wdv[1]), .ports__1__write_data__ready(wdr[1]),
        .pins__command(command), .pins__bank(bank), .pins__address(address), .pins__dq_o(dq_o),
        .pins__dq_idle(dq_idle), .pins__mask(mask), .pins__dq_i(dq_i)
    );
    initial begin
        asked = 0;
        taken = 0;
        if (!$value$plusargs("beats=%d", limit)) limit = 0;
        if (!$value$plusargs("count=%d", count)) count = 0;
        if ($value$plusargs("requests=%s", file)) begin
            $readmemh(file, requests, 0, count - 1);
            stream_mode = 1;
        end
    end
    always @(posedge clk) if (ready && stream_mode) begin
        if (asked == 0) begin
            begin_time = $time;
            words0 = sdram.chip.words_read;
        end
        if (asked < count && rrr[0]) asked <= asked + 1;
        if (rdv[0]) taken = taken + 1;
        if (taken == limit) begin
            $display("%0d words in %0d ps", sdram.chip.words_read - words0, $time - begin_time);
            $finish;
        end
    end else if (ready && done[0] && done[1]) begin
        $display("passed: %0d words read, %0d written, %0d refreshes, %0d ps",
            sdram.chip.words_read, sdram.chip.words_written, sdram.chip.all_refreshes, $time);
        $finish;
    end
    // A start takes 0.3 ms, a burst 2 us, a beat less than 1 us.
    reg [63:0] time_limit;
    initial begin
        if (!$value$plusargs("accesses=%d", time_limit)) time_limit = 1000;
        time_limit = 64'd2_000_000_000 + time_limit * 64'd8_000_000;
    end
    always @(posedge clk) if ($time > time_limit + limit * 64'd1_000_000) begin
        $display("FAILED: time is over");
        $finish;
    end
endmodule
