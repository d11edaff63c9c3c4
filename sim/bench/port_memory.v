// External memory at the accelerator's port, for simulation: timing, back-pressure, checks and counts. It is Verilog
// because it works in every cycle: in Python it took most of a simulation. sim/bench/memory.py sets it up and says what it
// found.
//
// The first beat of a read burst is offered `latency` cycles after the cycle in which its request was accepted, then one
// beat a cycle; bursts are served in the order of their requests. Without back-pressure every request and every write
// beat is accepted in the cycle in which it is offered.
//
// The memory is the file imageN.bin of the folder in which the simulator runs. A broken rule of the port is a line in
// violations.txt, after which nothing else is looked at.
`define SAY(WHAT) begin \
    says = $fopen("violations.txt", "a"); \
    $fdisplay WHAT; \
    $fclose(says); \
    violated = 1'b1; \
end

// The rules of an offer: valid is known, and an offer stays as it is until it is taken.
module port_offer #(parameter WIDTH = 1, parameter NAME = "") (
    input clk,
    input watch,
    input [WIDTH-1:0] payload,
    input valid,
    input ready,
    output reg violated
);
    reg waits = 1'b0;
    reg [WIDTH-1:0] held = 0;
    integer says;

    initial violated = 1'b0;

    always @(posedge clk)
        if (!watch) begin
            violated = 1'b0;
            waits = 1'b0;
        end else if (!violated) begin
            if (valid !== 1'b0 && valid !== 1'b1)
                `SAY((says, "%0s__valid is %b, neither 0 nor 1", NAME, valid))
            else if (waits && !valid)
                `SAY((says, "%0s: valid fell before the payload %b was taken", NAME, held))
            else if (waits && payload !== held)
                `SAY((says, "%0s: the payload changed from %b before it was taken", NAME, held))
            waits = valid && !ready;
            held = payload;
        end
endmodule

// In which cycles a stream is held back: phases of 1 to 64 cycles, each with its own share of held-back cycles, so that
// FIFOs are seen full and empty, and in between.
module port_gaps (
    input clk,
    input [31:0] seed,  // 0: never
    input [31:0] image,  // a new one begins anew
    output reg stall
);
    reg [31:0] seen = 0;
    reg [31:0] random = 0;
    reg [6:0] left = 0;  // cycles of the phase
    reg [15:0] share = 0;  // of 65536

    initial stall = 1'b0;

    always @(posedge clk) begin
        if (image != seen) begin
            seen = image;
            random = seed;
            left = 0;
        end
        random = random ^ (random << 13);
        random = random ^ (random >> 17);
        random = random ^ (random << 5);
        if (left == 0) begin
            left = {1'b0, random[5:0]} + 1;
            case (random[7:6])
                2'd0: share = 0;
                2'd1: share = 13107;  // 0.2
                2'd2: share = 32768;  // 0.5
                default: share = 58982;  // 0.9
            endcase
        end
        left = left - 1;
        stall <= random != 0 && random[31:16] < share;
    end
endmodule

module port_memory #(parameter BYTES = 1) (
    input clk,
    input [39:0] read_request__payload,  // beats - 1, byte address
    input read_request__valid,
    output read_request__ready,
    output reg [8*BYTES-1:0] read_data__payload,
    output reg read_data__valid,
    input read_data__ready,
    input [39:0] write_request__payload,
    input write_request__valid,
    output write_request__ready,
    input [9*BYTES-1:0] write_data__payload,  // strobe, data
    input write_data__valid,
    output write_data__ready
);
    localparam BURSTS = 1024;  // of each kind that may be outstanding

    // The testbench sets these. A region is the byte behind it and its first byte.
    reg watch = 1'b0;  // whether anything is looked at
    reg [31:0] image = 0;  // number of the file; a new one begins anew. 0: there is none
    reg [31:0] latency = 1;
    reg [127:0] seeds = 0;  // of back-pressure on read requests, read data, write requests, write data
    reg [197:0] readable = 0;  // three regions
    reg [65:0] results = 0;

    // And reads these.
    wire broken = violated || read_broken || write_broken || beat_broken;
    wire idle = read_first == read_last && !read_data__valid && promised == 0 && early == 0;
    reg [63:0] bytes_read = 0;
    reg [63:0] bytes_written = 0;  // that a strobe let through
    reg [63:0] last_write = 0;  // time of the edge that took the latest write beat

    // Bursts that were accepted.
    reg [31:0] read_address [0:BURSTS-1];  // of the next beat
    reg [31:0] read_left [0:BURSTS-1];  // beats
    reg [31:0] read_due [0:BURSTS-1];  // first cycle in which a beat may come
    reg [9:0] read_first = 0;
    reg [9:0] read_last = 0;
    reg [31:0] write_address [0:BURSTS-1];
    reg [31:0] write_left [0:BURSTS-1];
    reg [9:0] write_first = 0;
    reg [9:0] write_last = 0;
    reg [31:0] promised = 0;  // write beats to come, of all of these
    reg [31:0] early = 0;  // write beats taken before the request that is offered with them

    reg violated = 1'b0;
    reg [31:0] cycle = 0;  // the one that ends
    reg [31:0] opened = 0;
    reg [8*20-1:0] name;
    integer content = 0;  // the files: the memory, and of each byte of the results whether it may be written
    integer allowed = 0;
    reg [31:0] content_at = 0;  // where they stand
    reg [31:0] allowed_at = 0;
    reg writing = 1'b0;  // the last access to the memory was a write: before a read it is positioned anew
    reg [8*BYTES-1:0] word;
    reg [8*BYTES-1:0] permission;
    reg [7:0] eight;
    reg [31:0] beats;
    integer lane;
    integer says;

    wire [3:0] stall;
    wire read_broken;
    wire write_broken;
    wire beat_broken;
    wire [31:0] coming = write_request__valid && !write_request__ready ? write_request__payload[39:32] + 1 : 0;

    assign read_request__ready = !stall[0];
    assign write_request__ready = !stall[2];
    assign write_data__ready = !stall[3];

    port_gaps of_read_request (.clk(clk), .seed(seeds[31:0]), .image(image), .stall(stall[0]));
    port_gaps of_read_data (.clk(clk), .seed(seeds[63:32]), .image(image), .stall(stall[1]));
    port_gaps of_write_request (.clk(clk), .seed(seeds[95:64]), .image(image), .stall(stall[2]));
    port_gaps of_write_data (.clk(clk), .seed(seeds[127:96]), .image(image), .stall(stall[3]));

    port_offer #(.WIDTH(40), .NAME("memory__read_request")) read_offer (
        .clk(clk), .watch(watch), .payload(read_request__payload), .valid(read_request__valid),
        .ready(read_request__ready), .violated(read_broken)
    );
    port_offer #(.WIDTH(40), .NAME("memory__write_request")) write_offer (
        .clk(clk), .watch(watch), .payload(write_request__payload), .valid(write_request__valid),
        .ready(write_request__ready), .violated(write_broken)
    );
    port_offer #(.WIDTH(9*BYTES), .NAME("memory__write_data")) beat_offer (
        .clk(clk), .watch(watch), .payload(write_data__payload), .valid(write_data__valid),
        .ready(write_data__ready), .violated(beat_broken)
    );

    initial read_data__valid = 1'b0;

    always @(posedge clk)
        if (!watch) begin
            violated = 1'b0;
            read_data__valid <= 1'b0;
        end else if (!broken) begin
            cycle = cycle + 1;
            if (image != opened)
                start;
            if (read_data__valid && read_data__ready !== 1'b0 && read_data__ready !== 1'b1)
                `SAY((says, "memory__read_data__ready is %b, neither 0 nor 1", read_data__ready))
            if (read_request__valid)
                take_read_request;
            if (write_request__valid)
                take_write_request;
            if (write_data__valid)
                take_write_data;
            if (read_data__valid && read_data__ready)
                bytes_read = bytes_read + BYTES;
            if (!read_data__valid || read_data__ready) begin
                read_data__valid <= 1'b0;
                if (read_first != read_last && read_due[read_first] <= cycle + 1 && !stall[1])
                    give_read_data;
            end
        end

    // Begin anew with the files of another number.
    task start;
        begin
            if (opened != 0) begin
                $fclose(content);
                $fclose(allowed);
            end
            opened = image;
            if (image != 0) begin
                $sformat(name, "image%0d.bin", image);
                content = $fopen(name, "r+b");
                $sformat(name, "writable%0d.bin", image);
                allowed = $fopen(name, "rb");
                if (content == 0 || allowed == 0)
                    $fatal(1, "a file of image %0d is missing", image);
            end
            content_at = 0;
            allowed_at = 0;
            writing = 1'b0;
            bytes_read = 0;
            bytes_written = 0;
            read_first = read_last;
            write_first = write_last;
            promised = 0;
            early = 0;
        end
    endtask

    task take_read_request;
        begin
            beats = read_request__payload[39:32] + 1;
            if (^read_request__payload === 1'bx)
                `SAY((says, "memory__read_request__payload is unknown: %b", read_request__payload))
            else if (read_request__payload[31:0] % BYTES != 0)
                `SAY((says, "read at 0x%08h is not aligned to a beat of %0d bytes", read_request__payload[31:0], BYTES))
            else if (!lies_in(readable[65:0], read_request__payload[31:0], beats)
                    && !lies_in(readable[131:66], read_request__payload[31:0], beats)
                    && !lies_in(readable[197:132], read_request__payload[31:0], beats))
                `SAY((says, "read of %0d beats at 0x%08h is not within", beats, read_request__payload[31:0]))
            else if (read_request__ready) begin
                read_address[read_last] = read_request__payload[31:0];
                read_left[read_last] = beats;
                read_due[read_last] = cycle + latency;
                read_last = read_last + 1;
                if (read_first == read_last)
                    `SAY((says, "%0d read bursts are outstanding", BURSTS))
            end
        end
    endtask

    // Of the beats that a request asks for, those that came early are done.
    task take_write_request;
        begin
            beats = write_request__payload[39:32] + 1;
            if (^write_request__payload === 1'bx)
                `SAY((says, "memory__write_request__payload is unknown: %b", write_request__payload))
            else if (write_request__payload[31:0] % BYTES != 0)
                `SAY((says, "write at 0x%08h is not aligned to a beat of %0d bytes", write_request__payload[31:0], BYTES))
            else if (!lies_in(results, write_request__payload[31:0], beats))
                `SAY((says, "write of %0d beats at 0x%08h is not within", beats, write_request__payload[31:0]))
            else if (write_request__ready) begin
                if (beats != early) begin
                    write_address[write_last] = write_request__payload[31:0] + early * BYTES;
                    write_left[write_last] = beats - early;
                    write_last = write_last + 1;
                    if (write_first == write_last)
                        `SAY((says, "%0d write bursts are outstanding", BURSTS))
                end
                promised = promised + beats - early;
                early = 0;
            end
        end
    endtask

    task take_write_data;
        if (promised + coming <= early)
            `SAY((says, "a write beat is offered before its request"))
        else if (write_data__ready && !violated) begin
            last_write = $time;
            if (promised == 0) begin
                write(write_request__payload[31:0] + early * BYTES);
                early = early + 1;
            end else begin
                write(write_address[write_first]);
                write_address[write_first] = write_address[write_first] + BYTES;
                write_left[write_first] = write_left[write_first] - 1;
                promised = promised - 1;
                if (write_left[write_first] == 0)
                    write_first = write_first + 1;
            end
            // What is read from the file, here or by the testbench, is all that was written.
            if (promised == 0)
                $fflush(content);
        end
    endtask

    // Write the bytes of a beat that its strobe lets through.
    task write(input [31:0] address);
        begin
            if (allowed_at != address - results[32:0])
                if ($fseek(allowed, address - results[31:0], 0) != 0)
                    unreadable;
            if ($fread(permission, allowed) != BYTES)
                unreadable;
            allowed_at = address - results[31:0] + BYTES;
            if (!writing)
                content_at = ~address;
            writing = 1'b1;
            for (lane = 0; lane < BYTES; lane = lane + 1) begin
                eight = write_data__payload[8*lane +: 8];
                if (violated || write_data__payload[8*BYTES+lane] === 1'b0) begin
                end else if (write_data__payload[8*BYTES+lane] !== 1'b1)
                    `SAY((says, "the strobe of the byte at 0x%08h is unknown", address + lane))
                else if (permission[8*(BYTES-1-lane) +: 8] == 0)
                    `SAY((says, "byte 0x%08h is written, but is no result's", address + lane))
                else if (^eight === 1'bx)
                    `SAY((says, "the byte written at 0x%08h is unknown: %b", address + lane, eight))
                else begin
                    if (content_at != address + lane)
                        if ($fseek(content, address + lane, 0) != 0)
                            unreadable;
                    $fwrite(content, "%c", eight);
                    content_at = address + lane + 1;
                    bytes_written = bytes_written + 1;
                end
            end
        end
    endtask

    task give_read_data;
        begin
            if (writing || content_at != read_address[read_first])
                if ($fseek(content, read_address[read_first], 0) != 0)
                    unreadable;
            writing = 1'b0;
            if ($fread(word, content) != BYTES)
                unreadable;
            for (lane = 0; lane < BYTES; lane = lane + 1)  // the first byte of a file is the highest of what is read
                read_data__payload[8*lane +: 8] <= word[8*(BYTES-1-lane) +: 8];
            read_data__valid <= 1'b1;
            read_address[read_first] = read_address[read_first] + BYTES;
            content_at = read_address[read_first];
            read_left[read_first] = read_left[read_first] - 1;
            if (read_left[read_first] == 0)
                read_first = read_first + 1;
        end
    endtask

    task unreadable;
        $fatal(1, "a file of image %0d ends early", image);
    endtask

    function lies_in(input [65:0] region, input [31:0] address, input [31:0] beats);
        lies_in = address >= region[32:0] && address + beats * BYTES <= region[65:33];
    endfunction
endmodule
