// Runs a program on <<prefix>>_top, twice: instructions of every kind, and behind each one stores of what it wrote. Then
// every byte of the memory is compared. In the directory of <<prefix>>_top.v:
//   <<command>>
// prints PASS and ends with status 0, or the first mismatch and ends with another status.
module <<prefix>>_tb;
  localparam LATENCY = <<latency>>;  // cycles from a read request to its first beat
  localparam BYTES = <<bytes>>;  // of a beat
  localparam WORDS = <<words>>;  // beats that the memory holds
  localparam LIMIT = <<limit>>;  // cycles of a run

  // --- the accelerator, and the memory -----------------------------------------------------------
<<memory>>
<<bus>>
  // --- what a host does --------------------------------------------------------------------------
  integer word;
  integer waited;

  task run(input integer number, input stall);
    begin
      stalls = stall;
      $readmemh("<<image>>", memory);
      for (word = 0; word < WORDS; word = word + 1)
        expected[word] = memory[word];
      $readmemh("<<results>>", expected);
      write_register(<<at_program>>, 32'd<<program>>);
      write_register(<<at_limit>>, BYTES * WORDS);
      write_register(<<at_control>>, <<control_start>>);
      waited = 0;
      @(posedge clk);
      while (busy !== 1'b0 && waited < LIMIT) begin
        @(posedge clk);
        waited = waited + 1;
      end
      read_register(<<at_status>>);
      if (read_data !== <<status_done>>) begin
        $display("FAIL: run %0d is not done after %0d cycles, status %h", number, waited, read_data);
        read_register(<<at_pc>>);
        $display("it is at the instruction at byte %0d", read_data);
        $fatal(1);
      end
      read_register(<<at_cycles>>);
      $display("run %0d: %0d cycles", number, read_data);
      for (word = 0; word < WORDS; word = word + 1)
        if (memory[word] !== expected[word])
          for (lane = 0; lane < BYTES; lane = lane + 1)
            if (memory[word][8*lane +: 8] !== expected[word][8*lane +: 8]) begin
              $display("FAIL: run %0d, byte %0d is %h, expected %h", number, word * BYTES + lane,
                       memory[word][8*lane +: 8], expected[word][8*lane +: 8]);
              $display("the testbench lists where the results of each instruction begin");
              $fatal(1);
            end
    end
  endtask

  // Results of each instruction, and the byte at which they begin:
<<places>>
  initial begin
    reset;
    run(0, 1'b0);
    run(1, 1'b1);
    $display("PASS <<count>> results");
    $finish;
  end
endmodule
