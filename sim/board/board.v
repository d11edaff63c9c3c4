// A board: the image of its FPGA between its oscillator, the UART and the SDRAM. The harness makes all clocks: those of the
// PLL, of which it moves chip_clk by `steps`. From that the image makes the clock at the memory's pin.
//
// pins_moved, read_ends and read_begins change when pins change behind sdram_clk, and when words read end and begin behind
// chip_clk; between an end and a begin a word is anything. BOARD_PINS, ports of the image, and CHIP, parameters of
// sdram_chip, are defined by the command line.
`timescale 1ps / 1ps

module board (
    input clk, sdram_clk, chip_clk, rst,
    input pins_moved, read_ends, read_begins,
    input rx,
    output tx,
    output busy,
    output [31:0] stepped
);
    reg [31:0] steps = 0;
    assign stepped = steps;
    assign busy = image.encoder.busy;

    wire [12:0] a;
    wire [1:0] ba, dqm;
    wire led_heartbeat, led_running, led_passed, led_failed;
    wire flash_cs, flash_copi, flash_cipo;
    reg flash_clk = 0;  // by USRMCLK
    wire memory_clk, clk_en, cs, ras, cas, we;
    wire [15:0] dq;
    image image (`BOARD_PINS);

    reg [21:0] pins = 22'b0;
    reg enabled = 0;  // CKE was high at the edge before: else a command is none
    reg [15:0] written = 0, read = 0;
    reg written_driven = 0;
    wire [15:0] word;
    wire chip_drives;
    reg drives = 0;
    always @(pins_moved) begin
        pins <= {clk_en, cs, ras, cas, we, ba, dqm, a};
        written <= dq;
        written_driven <= !image.sdram_dq.t;
    end
    always @(read_ends) read <= ~read;
    always @(read_begins) begin
        read <= word;
        drives <= chip_drives;
    end
    always @(posedge memory_clk) enabled <= pins[21];
    assign dq = drives ? read : 16'bz;

    // +leds: a line whenever one of those of the memory changes.
    always @(led_passed, led_failed)
        if ($test$plusargs("leds")) begin
            $display("leds: passed %b failed %b", led_passed, led_failed);
            $fflush;
        end

    // +preload=FILE, bytes: in the memory once it can be used, for its start-up test writes to it.
    reg [8*1024-1:0] preload;
    integer file;
    always @(posedge image.encoder.initialised)
        if ($value$plusargs("preload=%s", preload)) begin
            file = $fopen(preload, "rb");
            chip.load(file);
            $fclose(file);
        end

    spi_flash flash (.select_n(flash_cs), .clk(flash_clk), .data_in(flash_copi), .data_out(flash_cipo));
    sdram_chip #(`CHIP) chip (
        .clk(memory_clk), .command(pins[19:17] | {3{!enabled || pins[20]}}), .bank(pins[16:15]), .mask(pins[14:13]),
        .address(pins[12:0]), .data_in(written), .data_in_driven(written_driven), .data_out(word), .data_out_driven(chip_drives)
    );
endmodule
