// Reads a self-test's report off its UART pin, in the middle of each bit, and prints it with what the LEDs say.
// +beat=B +bit=I flips a bit of the on-chip RAM first; +reports=R reads that many reports before the end;
// +press presses the button after each. A netlist, which has no such RAM, is compiled with -DNETLIST.
`timescale 1ns / 1ps

`ifdef VERILATOR
module selftest_tb (input wire clk);
`else
module selftest_tb;
  reg clk = 0;
  always #5 clk = ~clk;
`endif
  parameter CYCLES_A_BIT = 4;

  reg rst = 1;
  reg again = 0;
  wire tx, heartbeat, running, passed, failed;
  reg was_running = 0;
  integer beat, in_beat, reports;
  integer cycle = 0;
  integer bits = 0;  // of a character that are still to come, its stop bit the last
  integer left = 0;  // cycles until the next of them
  integer silent = 0;  // cycles until the last character of a report has come, and one
  reg [7:0] character;

  nmgen_selftest dut (
    .clk(clk), .rst(rst), .again(again),
    .tx(tx), .heartbeat(heartbeat), .running(running), .passed(passed), .failed(failed)
  );

  initial if (!$value$plusargs("reports=%d", reports)) reports = 1;

  always @(posedge clk) begin
    cycle <= cycle + 1;
    rst <= cycle < 4;
`ifndef NETLIST
    if (cycle == 0 && $value$plusargs("beat=%d", beat) && $value$plusargs("bit=%d", in_beat))
      dut.ram.memory[beat][in_beat] <= ~dut.ram.memory[beat][in_beat];
`endif

    if (bits == 0) begin
      if (tx === 1'b0) begin
        bits <= 9;
        left <= CYCLES_A_BIT + CYCLES_A_BIT / 2 - 1;
      end
    end else if (left != 0) left <= left - 1;
    else begin
      bits <= bits - 1;
      left <= CYCLES_A_BIT - 1;
      if (bits != 1) character <= {tx, character[7:1]};
      else $write("%c", tx === 1'b1 ? character : "?");
    end

    was_running <= running;
    if (was_running && !running) begin
      again <= 0;
      silent <= 12 * CYCLES_A_BIT;
    end else if (silent != 0) begin
      silent <= silent - 1;
      if (silent == 1) begin
        if (reports == 1) begin
          $display("passed %b, failed %b", passed, failed);
          $finish;
        end
        reports <= reports - 1;
        again <= $test$plusargs("press");
      end
    end
  end
endmodule
