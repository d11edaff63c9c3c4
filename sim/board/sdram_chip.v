// An SDR SDRAM with 16 data pins and four banks, for simulation: stores words, and ends the simulation with one line where
// a rule of its data sheet is broken. The line names the rule, the bank, and the time that passed.
//
// Commands, addresses and data to write are sampled at rising edges of clk. Words read change after the edge before the one
// at which they are due. CKE is high and CS low throughout. Not modelled, and refused: auto precharge, bursts that another
// command ends, full-page bursts, interleaved order, power-down, self refresh. Not looked at: set-up and hold times of commands,
// addresses and data to write; a pin has the level that it has at the edge.
//
// The task load fills the memory from a file of bytes.
`timescale 1ps / 1ps

module sdram_chip #(
    parameter ROW_BITS = 13,
    parameter COLUMN_BITS = 9,
    // In ps, of the data sheet.
    parameter T_CK = 7000,
    parameter T_RCD = 15000,
    parameter T_RP = 15000,
    parameter T_RAS = 37000,
    parameter T_RC = 60000,
    parameter T_RRD = 14000,
    parameter T_RFC = 60000,
    parameter T_WR = 14000,
    parameter T_REFI = 7812500,
    parameter T_POWER_UP = 200000000,
    parameter MRD = 2  // cycles
) (
    input clk,
    input [2:0] command,  // RAS, CAS, WE; low when active
    input [1:0] bank,
    input [12:0] address,
    input [1:0] mask,
    input [15:0] data_in,
    input data_in_driven,
    output reg [15:0] data_out,
    output reg data_out_driven
);
    localparam [2:0] MODE = 3'b000, REFRESH = 3'b001, PRECHARGE = 3'b010, ACTIVATE = 3'b011, WRITE = 3'b100, READ = 3'b101,
        STOP = 3'b110, NOP = 3'b111;
    // A longer time than the chip's shows that the rule is looked at: +sdram_t_rcd=PS, say.
    integer t_ck = T_CK;
    integer t_rcd = T_RCD;
    integer t_rp = T_RP;
    integer t_ras = T_RAS;
    integer t_rc = T_RC;
    integer t_rrd = T_RRD;
    integer t_rfc = T_RFC;
    integer t_wr = T_WR;
    integer t_refi = T_REFI;
    integer t_power_up = T_POWER_UP;
    integer mrd = MRD;
    localparam T_RAS_MAX = 100_000_000;
    localparam POSTPONED = 8;  // refreshes
    localparam SETUP_REFRESHES = 2;  // JEDEC's least number before MODE

    // By row, bank and column, as the controller places consecutive addresses.
    reg [15:0] memory [0:(4 << (ROW_BITS + COLUMN_BITS)) - 1];
    reg [3:0] open = 4'b0;
    reg [ROW_BITS-1:0] row [0:3];
    time activated [0:3];
    time closed [0:3];
    time written [0:3];  // the last word
    time refreshed = 0, first_edge = 0, last_edge = 0, set_up = 0, last_activate = 0;
    integer cycles_since_mode = 1000;
    integer refreshes = 0;  // before the set-up, then since
    integer precharged_all = 0;
    reg running = 1'b0;
    reg ready = 1'b0;  // set up
    reg activated_ever = 1'b0;
    reg [2:0] latency = 3;
    reg [3:0] burst = 1;
    // The burst under way: words left, where.
    reg reads = 1'b0, writes = 1'b0;
    reg [3:0] left = 0;
    reg [1:0] at_bank = 0;
    reg [COLUMN_BITS-1:0] at = 0;
    // Words on their way out: entry 0 goes to the pins.
    reg [3:0] out_valid = 4'b0;
    reg [15:0] out_word [0:3];
    reg [1:0] mask_before = 2'b0;
    reg drove = 1'b0;  // a word was at the pins at the edge before
    integer i, count;
    // Counts for who measures.
    integer words_read = 0, words_written = 0, all_refreshes = 0;

    initial begin
        data_out = 16'h0;
        data_out_driven = 1'b0;
        for (i = 0; i < 4; i = i + 1) begin
            activated[i] = 0;
            closed[i] = 0;
            written[i] = 0;
            row[i] = 0;
            out_word[i] = 0;
        end
        if ($value$plusargs("sdram_t_ck=%d", t_ck)) ;
        if ($value$plusargs("sdram_t_rcd=%d", t_rcd)) ;
        if ($value$plusargs("sdram_t_rp=%d", t_rp)) ;
        if ($value$plusargs("sdram_t_ras=%d", t_ras)) ;
        if ($value$plusargs("sdram_t_rc=%d", t_rc)) ;
        if ($value$plusargs("sdram_t_rrd=%d", t_rrd)) ;
        if ($value$plusargs("sdram_t_rfc=%d", t_rfc)) ;
        if ($value$plusargs("sdram_t_wr=%d", t_wr)) ;
        if ($value$plusargs("sdram_t_refi=%d", t_refi)) ;
        if ($value$plusargs("sdram_t_power_up=%d", t_power_up)) ;
        if ($value$plusargs("sdram_mrd=%d", mrd)) ;
    end

    // Bytes of a file, the lower one of a word first.
    task load(input integer source);
        integer word, low, high;
        begin
            word = 0;
            low = $fgetc(source);
            while (low >= 0) begin
                high = $fgetc(source);
                memory[word] = {high[7:0], low[7:0]};
                word = word + 1;
                low = $fgetc(source);
            end
        end
    endtask

    task broken(input [8*64-1:0] rule, input [1:0] of, input time passed, input time least);
        begin
            $display("sdram: %0s, bank %0d at %0d ps: %0d ps passed, must be %0d", rule, of, $time, passed, least);
            $finish;
        end
    endtask

    task refused(input [8*64-1:0] rule);
        begin
            $display("sdram: %0s, bank %0d at %0d ps", rule, bank, $time);
            $finish;
        end
    endtask

    task at_least(input [8*64-1:0] rule, input [1:0] of, input time since, input time least);
        if ($time - since < least) broken(rule, of, $time - since, least);
    endtask

    always @(posedge clk) begin
        if (!running) begin
            running = 1'b1;
            first_edge = $time;
        end else if ($time - last_edge < t_ck) broken("clock period tCK", bank, $time - last_edge, t_ck);
        last_edge = $time;
        cycles_since_mode = cycles_since_mode + 1;

        // A burst goes on.
        if (writes) begin
            at = {at[COLUMN_BITS-1:3], next_of_burst(at[2:0])};
            take(at_bank, at);
        end
        if (reads) at = {at[COLUMN_BITS-1:3], next_of_burst(at[2:0])};

        if (command != NOP) begin
            if (command == STOP) refused("BURST STOP is not modelled");
            if (cycles_since_mode < mrd) refused("a command less than tMRD after MODE");
            if (!ready && command != PRECHARGE && command != REFRESH && command != MODE) refused("a command before MODE");
            if ($time - first_edge < t_power_up) broken("a command before power-up ends", bank, $time - first_edge, t_power_up);
            if (refreshed != 0) at_least("tRFC, REFRESH to a command", bank, refreshed, t_rfc);
        end
        case (command)
            ACTIVATE: begin
                if (open[bank]) refused("ACTIVATE of a bank that is open");
                if (precharged_all != 0) at_least("tRP, PRECHARGE to ACTIVATE", bank, closed[bank], t_rp);
                if (activated[bank] != 0) at_least("tRC, ACTIVATE to ACTIVATE", bank, activated[bank], t_rc);
                if (activated_ever) at_least("tRRD, ACTIVATE to that of another bank", bank, last_activate, t_rrd);
                open[bank] = 1'b1;
                row[bank] = address[ROW_BITS-1:0];
                activated[bank] = $time;
                last_activate = $time;
                activated_ever = 1'b1;
            end
            READ, WRITE: begin
                if (!open[bank]) refused("READ or WRITE of a bank that is closed");
                at_least("tRCD, ACTIVATE to READ or WRITE", bank, activated[bank], t_rcd);
                if (address[10]) refused("auto precharge is not modelled");
                if (left != 0) refused("READ or WRITE within a burst");
                if (command == WRITE && (drove || data_out_driven || out_valid != 0))
                    refused("WRITE less than a cycle after the last word read");
                at_bank = bank;
                at = address[COLUMN_BITS-1:0];
                left = burst;
                reads = command == READ;
                writes = command == WRITE;
                if (writes) take(bank, at);
            end
            PRECHARGE: begin
                for (i = 0; i < 4; i = i + 1)
                    if ((address[10] || bank == i) && open[i]) begin
                        at_least("tRAS, ACTIVATE to PRECHARGE", i[1:0], activated[i], t_ras);
                        if ($time - activated[i] > T_RAS_MAX)
                            broken("tRAS, ACTIVATE to PRECHARGE at most", i[1:0], $time - activated[i], T_RAS_MAX);
                        if (written[i] != 0) at_least("tWR, last word written to PRECHARGE", i[1:0], written[i], t_wr);
                        if (left != 0 && at_bank == i) refused("PRECHARGE within a burst");
                        open[i] = 1'b0;
                        closed[i] = $time;
                    end
                if (address[10]) begin
                    if (precharged_all == 0) for (i = 0; i < 4; i = i + 1) closed[i] = $time;
                    precharged_all = 1;
                end
            end
            REFRESH: begin
                if (precharged_all == 0) refused("REFRESH before PRECHARGE of all banks");
                if (open != 0) refused("REFRESH with a bank open");
                for (i = 0; i < 4; i = i + 1) at_least("tRP, PRECHARGE to REFRESH", i[1:0], closed[i], t_rp);
                for (i = 0; i < 4; i = i + 1)
                    if (activated[i] != 0) at_least("tRC, ACTIVATE to REFRESH", i[1:0], activated[i], t_rc);
                refreshed = $time;
                // No more than POSTPONED done early count.
                if (!ready || refreshes < ($time - set_up) / t_refi + POSTPONED) refreshes = refreshes + 1;
                all_refreshes = all_refreshes + 1;
            end
            MODE: begin
                if (open != 0) refused("MODE with a bank open");
                if (precharged_all == 0) refused("MODE before PRECHARGE of all banks");
                for (i = 0; i < 4; i = i + 1) at_least("tRP, PRECHARGE to MODE", i[1:0], closed[i], t_rp);
                if (refreshes < SETUP_REFRESHES) refused("MODE before the first refreshes");
                if (address[12:10] != 0 || bank != 0) refused("MODE with reserved bits set");
                if (address[9:7] != 0 || address[3] != 0 || address[2:0] > 3) refused("MODE that is not modelled");
                if (address[6:4] != 2 && address[6:4] != 3) refused("MODE with a reserved CAS latency");
                latency = address[6:4];
                burst = 1 << address[2:0];
                if (!ready) begin
                    set_up = $time;
                    refreshes = 0;
                end
                ready = 1'b1;
                cycles_since_mode = 0;
            end
            default: ;
        endcase

        // Refreshes in time: of those due since the set-up at most POSTPONED are not done.
        if (ready && ($time - set_up) / t_refi > refreshes + POSTPONED)
            broken("tREFI, a refresh is too late", bank, $time - set_up, (refreshes + POSTPONED + 1) * t_refi);

        // Pins: a word read is there from the edge on that is one before the one at which it is due.
        if (reads) begin
            out_valid[latency] = 1'b1;
            out_word[latency] = memory[{row[at_bank], at_bank, at}];
            words_read = words_read + 1;
        end
        drove = data_out_driven;
        out_valid = out_valid >> 1;
        out_word[0] = out_word[1];
        out_word[1] = out_word[2];
        out_word[2] = out_word[3];
        data_out_driven <= out_valid[0] && mask_before != 2'b11;
        for (i = 0; i < 2; i = i + 1)  // a byte that nobody drives is anything
            data_out[8*i +: 8] <= out_valid[0] && !mask_before[i] ? out_word[0][8*i +: 8] : ~data_out[8*i +: 8];
        mask_before = mask;
        if (data_in_driven && data_out_driven) refused("both ends drive the data pins");

        if (reads || writes) left = left - 1;
        if (left == 0) begin
            reads = 1'b0;
            writes = 1'b0;
        end
    end

    // The next word's column within the burst: a burst stays in its aligned block.
    function [2:0] next_of_burst(input [2:0] column);
        case (burst)
            1: next_of_burst = column;
            2: next_of_burst = {column[2:1], ~column[0]};
            4: next_of_burst = {column[2], column[1:0] + 2'd1};
            default: next_of_burst = column + 3'd1;
        endcase
    endfunction

    task take(input [1:0] to_bank, input [COLUMN_BITS-1:0] column);
        begin
            if (!data_in_driven && mask != 2'b11) refused("nobody drives the word to write");
            if (!mask[0]) memory[{row[to_bank], to_bank, column}][7:0] = data_in[7:0];
            if (!mask[1]) memory[{row[to_bank], to_bank, column}][15:8] = data_in[15:8];
            written[to_bank] = $time;
            words_written = words_written + 1;
        end
    endtask
endmodule

// The chip as a controller sees it: behind a register in the I/O cell of each pin. CHIP is the list of sdram_chip's parameters.
module sdram_behind_cells (
    input clk,
    input [2:0] command,
    input [1:0] bank,
    input [12:0] address,
    input [1:0] mask,
    input [15:0] dq_o,
    input dq_enable,
    output reg [15:0] dq_i
);
    reg [2:0] pin_command = 3'b111;
    reg [1:0] pin_bank = 0, pin_mask = 0;
    reg [12:0] pin_address = 0;
    reg [15:0] pin_dq_o = 0;
    reg pin_dq_enable = 0;
    wire [15:0] read;

    initial dq_i = 0;
    always @(posedge clk) begin
        pin_command <= command;
        pin_bank <= bank;
        pin_mask <= mask;
        pin_address <= address;
        pin_dq_o <= dq_o;
        pin_dq_enable <= dq_enable;
        dq_i <= read;
    end

    sdram_chip #(`CHIP) chip (
        .clk(clk), .command(pin_command), .bank(pin_bank), .address(pin_address), .mask(pin_mask),
        .data_in(pin_dq_o), .data_in_driven(pin_dq_enable), .data_out(read), .data_out_driven()
    );
endmodule
