// Runs products on <<prefix>>_top and compares every byte of the memory afterwards. In the directory of <<prefix>>_top.v:
//   <<command>>
// prints PASS and ends with status 0, or the first mismatch and ends with another status.
module <<prefix>>_tb;
  localparam LATENCY = <<latency>>;  // cycles from a read request to its first beat
  localparam BYTES = <<bytes>>;  // of a beat
  localparam WORDS = <<words>>;  // beats that the memory holds

  // --- the accelerator, and the memory -----------------------------------------------------------
<<memory>>
<<bus>>
  // --- what a host does --------------------------------------------------------------------------
  integer number;  // of the product
  integer word;
  integer waited;
  integer at;

  task clear(input integer which, input stall);
    begin
      number = which;
      stalls = stall;
      for (word = 0; word < WORDS; word = word + 1)
        memory[word] = {BYTES{8'h<<untouched>>}};
    end
  endtask

  task remember;
    for (word = 0; word < WORDS; word = word + 1)
      expected[word] = memory[word];
  endtask

  // Start, wait until it is done, and check the cycle counter; 0 cycles are not checked.
  task run(input integer limit, input integer cycles);
    begin
      write_register(<<at_control>>, <<control_start>>);
      waited = 0;
      @(posedge clk);
      while (busy !== 1'b0 && waited < limit) begin
        @(posedge clk);
        waited = waited + 1;
      end
      read_register(<<at_status>>);
      if (read_data !== <<status_done>>) begin
        $display("FAIL: product %0d is not done after %0d cycles, status %h", number, waited, read_data);
        $fatal(1);
      end
      read_register(<<at_cycles>>);
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
                       at % stride / pitch * <<cols>> + at % stride % pitch / size);
            $display("byte %h is %h, expected %h", word * BYTES + lane, memory[word][8*lane +: 8],
                     expected[word][8*lane +: 8]);
            $fatal(1);
          end
  endtask

<<products>>
    $finish;
  end
endmodule
