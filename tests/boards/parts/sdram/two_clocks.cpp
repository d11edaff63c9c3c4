// Drives two clocks of any ratio until the testbench ends: +half_core=PS +half_chip=PS.
#include "Vsdram_tb.h"
#include "verilated.h"
#include <cstdlib>
#include <cstring>

static vluint64_t plus(VerilatedContext& context, const char* name, vluint64_t otherwise) {
    const char* found = context.commandArgsPlusMatch(name);
    return *found ? std::strtoull(std::strchr(found, '=') + 1, nullptr, 10) : otherwise;
}

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vsdram_tb bench{&context};
    const vluint64_t half_core = plus(context, "half_core=", 5000), half_chip = plus(context, "half_chip=", 4000);
    vluint64_t core = half_core, chip = half_chip;
    bench.rst = 1;
    bench.clk = bench.sdram_clk = 0;
    bench.eval();
    while (!context.gotFinish()) {
        const vluint64_t now = core < chip ? core : chip;
        context.time(now);
        if (core == now) {
            bench.clk = !bench.clk;
            core += half_core;
        }
        if (chip == now) {
            bench.sdram_clk = !bench.sdram_clk;
            chip += half_chip;
        }
        if (now > 100000) bench.rst = 0;
        bench.eval();
    }
    bench.final();
    return 0;
}
