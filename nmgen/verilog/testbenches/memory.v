  reg clk = 1'b0;
  reg rst = 1'b1;
  wire busy;
  wire [39:0] read_request;  // length[39:32], address[31:0]
  wire read_request_valid;
  wire read_request_ready;
  reg [8*BYTES-1:0] beat;
  reg beat_last = 1'b0;
  reg beat_valid = 1'b0;
  wire beat_ready;
  wire [39:0] write_request;  // length[39:32], address[31:0]
  wire write_request_valid;
  wire write_request_ready;
  wire [9*BYTES-1:0] write_beat;  // strobe, data
  wire write_beat_last;  // of AXI alone
  wire write_beat_valid;
  wire write_beat_ready;
  integer written = 0;  // bursts

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
    random <= {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
    if (!rst) begin
      if (^{busy, read_request_valid, beat_ready, write_request_valid, write_beat_valid} === 1'bx) begin
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
        beat <= {BYTES{8'hxx}};
        if (read_first != read_last && read_due[read_first] <= cycle + 1 && !(stalls && random[20])) begin
          beat_valid <= 1'b1;
          beat <= memory[read_word[read_first]];
          beat_last <= read_left[read_first] == 1;
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
        if (write_beat_last === (write_left[write_first] != 1)) begin
          $display("FAIL: the last beat is not where it must be, in cycle %0d", cycle);
          $fatal(1);
        end
        for (lane = 0; lane < BYTES; lane = lane + 1)
          if (write_beat[8*BYTES+lane])
            memory[write_word[write_first]][8*lane +: 8] = write_beat[8*lane +: 8];
        write_word[write_first] = write_word[write_first] + 1;
        write_left[write_first] = write_left[write_first] - 1;
        if (write_left[write_first] == 0) begin
          write_first <= write_first + 8'd1;
          written = written + 1;
        end
      end
    end
  end

  task reset;
    begin
      repeat (4) @(posedge clk);
      rst <= 1'b0;
      read_register(<<at_id>>);
      if (read_data !== 32'h<<identification>>) begin
        $display("FAIL: the ID register is %h, expected <<identification>>", read_data);
        $fatal(1);
      end
    end
  endtask
