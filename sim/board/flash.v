// An SPI flash in mode 0 that knows one command, READ (03), of 16 MB. +flash=FILE +flash_at=BYTE: what is in it from there
// on; all else is FF.
`timescale 1ps / 1ps

module spi_flash (input select_n, clk, data_in, output reg data_out);
    reg [7:0] contents [0:(1<<24)-1];
    reg [8*1024-1:0] name;
    integer file, begins, size;
    initial begin
        size = 0;
        if (!$value$plusargs("flash_at=%d", begins)) begins = 0;
        if ($value$plusargs("flash=%s", name)) begin
            file = $fopen(name, "rb");
            size = $fread(contents, file, begins);
            $fclose(file);
        end
        data_out = 1'b1;
    end

    reg [5:0] bits = 0;  // of the command, up to 32
    reg [31:0] command = 0;
    reg [23:0] at = 0;
    reg [2:0] bit_at = 0;
    wire stored = at >= begins && at < begins + size;
    wire [7:0] word = stored ? contents[at] : 8'hff;
    always @(posedge select_n) bits <= 0;
    always @(posedge clk) if (!select_n && bits != 32) begin
        command <= {command[30:0], data_in};
        bits <= bits + 1;
        if (bits == 31) begin
            at <= {command[22:0], data_in};
            bit_at <= 0;
            if (command[30:23] != 8'h03) begin
                $display("flash: command %h, must be 03", command[30:23]);
                $finish;
            end
        end
    end
    always @(negedge clk) if (!select_n && bits == 32) begin
        data_out <= word[7 - bit_at];
        bit_at <= bit_at + 1;
        if (bit_at == 7) at <= at + 1;
    end
endmodule
