// Drives the clock of selftest_tb.v until it ends.
#include "Vselftest_tb.h"
#include "verilated.h"

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vselftest_tb bench{&context};
    bench.clk = 0;
    while (!context.gotFinish()) {
        bench.eval();
        bench.clk = !bench.clk;
    }
    bench.final();
    return 0;
}
