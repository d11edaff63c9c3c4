// Reads a self-test's report off its UART pin, in the middle of each bit, and prints it with what the LEDs say.
// +beat=B +bit=I flips a bit of the on-chip RAM first; +reports=R reads that many reports before the end;
// +press presses the button after each. A netlist, which has no such RAM, is compiled with -DNETLIST.
`timescale 1ns / 1ps

module selftest_tb;
  parameter CYCLES_A_BIT = 4;
  localparam PERIOD = 10;
  localparam BIT = CYCLES_A_BIT * PERIOD;

  reg clk = 0;
  reg rst = 1;
  reg again = 0;
  wire tx, heartbeat, running, passed, failed;
  integer beat, in_beat, reports, i;
  reg [7:0] character;

  nmgen_selftest dut (
    .clk(clk), .rst(rst), .again(again),
    .tx(tx), .heartbeat(heartbeat), .running(running), .passed(passed), .failed(failed)
  );

  always #(PERIOD / 2) clk = ~clk;

  initial begin
    #1;
`ifndef NETLIST
    if ($value$plusargs("beat=%d", beat) && $value$plusargs("bit=%d", in_beat))
      dut.ram.memory[beat][in_beat] = ~dut.ram.memory[beat][in_beat];
`endif
    #(4 * PERIOD) rst = 0;
  end

  reg was_running = 0;  // a netlist's outputs may change and change back within a cycle
  always @(posedge clk) was_running <= running;

  always begin
    @(negedge tx);
    #(BIT + BIT / 2);
    for (i = 0; i < 8; i = i + 1) begin
      character[i] = tx;
      #BIT;
    end
    $write("%c", tx === 1'b1 ? character : "?");
  end

  initial begin
    if (!$value$plusargs("reports=%d", reports)) reports = 1;
    while (reports > 0) begin
      @(negedge was_running) again = 0;
      #(12 * BIT);  // the last character is on its way
      reports = reports - 1;
      again = $test$plusargs("press");
    end
    $display("passed %b, failed %b", passed, failed);
    $finish;
  end
endmodule
