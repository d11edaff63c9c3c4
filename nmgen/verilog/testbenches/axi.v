  reg [7:0] write_address = 8'd0;
  reg [31:0] write_data = 32'd0;
  reg write = 1'b0;
  wire write_taken;
  wire [1:0] write_answer;
  wire write_answered;
  reg [7:0] read_address = 8'd0;
  reg read = 1'b0;
  wire read_taken;
  wire [31:0] answer;
  wire answered;
  reg [31:0] read_data;
  wire answer_taken;
  integer answers = 0;  // to bursts of the accelerator's
  reg answer_valid = 1'b0;

  <<prefix>>_top dut (
    .clk(clk),
    .rst(rst),
    .m_axi_arid(),
    .m_axi_araddr(read_request[31:0]),
    .m_axi_arlen(read_request[39:32]),
    .m_axi_arsize(),
    .m_axi_arburst(),
    .m_axi_arcache(),
    .m_axi_arprot(),
    .m_axi_arvalid(read_request_valid),
    .m_axi_arready(read_request_ready),
    .m_axi_rid(1'b0),
    .m_axi_rdata(beat),
    .m_axi_rresp(2'd0),
    .m_axi_rlast(beat_last),
    .m_axi_rvalid(beat_valid),
    .m_axi_rready(beat_ready),
    .m_axi_awid(),
    .m_axi_awaddr(write_request[31:0]),
    .m_axi_awlen(write_request[39:32]),
    .m_axi_awsize(),
    .m_axi_awburst(),
    .m_axi_awcache(),
    .m_axi_awprot(),
    .m_axi_awvalid(write_request_valid),
    .m_axi_awready(write_request_ready),
    .m_axi_wdata(write_beat[8*BYTES-1:0]),
    .m_axi_wstrb(write_beat[9*BYTES-1:8*BYTES]),
    .m_axi_wlast(write_beat_last),
    .m_axi_wvalid(write_beat_valid),
    .m_axi_wready(write_beat_ready),
    .m_axi_bid(1'b0),
    .m_axi_bresp(2'd0),
    .m_axi_bvalid(answer_valid),
    .m_axi_bready(answer_taken),
    .s_axi_awaddr(write_address),
    .s_axi_awprot(3'd0),
    .s_axi_awvalid(write),
    .s_axi_awready(write_taken),
    .s_axi_wdata(write_data),
    .s_axi_wstrb(4'b1111),
    .s_axi_wvalid(write),
    .s_axi_wready(),
    .s_axi_bresp(write_answer),
    .s_axi_bvalid(write_answered),
    .s_axi_bready(1'b1),
    .s_axi_araddr(read_address),
    .s_axi_arprot(3'd0),
    .s_axi_arvalid(read),
    .s_axi_arready(read_taken),
    .s_axi_rdata(answer),
    .s_axi_rresp(),
    .s_axi_rvalid(answered),
    .s_axi_rready(1'b1),
    .busy(busy),
    .irq()
  );

  always @(posedge clk) begin
    if (answer_valid && answer_taken)
      answers = answers + 1;
    answer_valid <= answers != written;
    if (!rst && read_request_valid && read_request[11:0] + BYTES * (read_request[39:32] + 1) > 4096
        || !rst && write_request_valid && write_request[11:0] + BYTES * (write_request[39:32] + 1) > 4096) begin
      $display("FAIL: a burst crosses a page of 4096 bytes in cycle %0d", cycle);
      $fatal(1);
    end
  end

  task write_register(input [7:0] where, input [31:0] value);
    begin
      @(posedge clk);
      write_address <= where;
      write_data <= value;
      write <= 1'b1;
      @(posedge clk);
      while (!write_taken) @(posedge clk);
      write <= 1'b0;
      @(posedge clk);
      while (!write_answered) @(posedge clk);
      if (write_answer !== 2'd0) begin
        $display("FAIL: a write to register %h is answered by %b", where, write_answer);
        $fatal(1);
      end
    end
  endtask

  task read_register(input [7:0] where);
    begin
      @(posedge clk);
      read_address <= where;
      read <= 1'b1;
      @(posedge clk);
      while (!read_taken) @(posedge clk);
      read <= 1'b0;
      @(posedge clk);
      while (!answered) @(posedge clk);
      read_data = answer;
    end
  endtask
