  reg [7:0] address = 8'd0;
  reg write = 1'b0;
  reg [31:0] write_data = 32'd0;
  wire [31:0] read_data;

  <<prefix>>_top dut (
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
<<others>>    .busy(busy)
  );

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
