// Runs a board in simulation, its UART behind a pseudo-terminal: the name of that is the first line of output. Ends when its
// standard input does. +half_core=PS +half_chip=PS: half periods of the clocks; +step=PS of the PLL; +bit=CYCLES of the UART;
// +out=PS, +hold=PS, +access=PS: see board.v; +preload=FILE, +leds: see there. +speed: a line `cycles N busy M` every second.
#include "Vboard.h"
#include "verilated.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

namespace {

vluint64_t plus(VerilatedContext& context, const char* name, vluint64_t otherwise) {
    const char* found = context.commandArgsPlusMatch(name);
    return *found ? std::strtoull(std::strchr(found, '=') + 1, nullptr, 10) : otherwise;
}

// A master side that never closes, so that one host after another may come.
int open_terminal() {
    const int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master)) {
        std::perror("pseudo-terminal");
        std::exit(1);
    }
    const int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    termios raw;
    tcgetattr(slave, &raw);
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    fcntl(master, F_SETFL, O_NONBLOCK);
    std::printf("%s\n", ptsname(master));
    std::fflush(stdout);
    return master;  // the slave stays open, too
}

// The host's UART: a bit lasts so many cycles of the core's clock.
class Uart {
public:
    Uart(int terminal, unsigned bit) : terminal_(terminal), bit_(bit) {}

    // A cycle: the level that the board receives, given the one that it sends.
    bool cycle(bool tx) {
        receive(tx);
        if (send_left_ == 0) {
            if (at_ == size_ && ++waited_ >= 256) {
                waited_ = 0;
                const ssize_t got = read(terminal_, buffer_, sizeof buffer_);
                at_ = 0;
                size_ = got > 0 ? got : 0;
            }
            if (at_ < size_) {
                frame_ = 0x200u | buffer_[at_++] << 1;
                send_left_ = 10 * bit_;
            }
        }
        if (send_left_ == 0) return true;
        const unsigned sent = 10 * bit_ - send_left_--;
        return frame_ >> sent / bit_ & 1;
    }

private:
    void receive(bool tx) {
        if (receive_at_ == 0) {
            if (!tx) receive_at_ = 1;
            return;
        }
        const unsigned at = receive_at_++;
        if (at % bit_ == bit_ / 2 && at / bit_ >= 1 && at / bit_ <= 8) byte_ = byte_ >> 1 | tx << 7;
        if (at / bit_ == 9 && at % bit_ == bit_ / 2) {
            while (write(terminal_, &byte_, 1) != 1) usleep(100);
            receive_at_ = 0;
        }
    }

    const int terminal_;
    const unsigned bit_;
    unsigned char buffer_[4096];
    size_t at_ = 0, size_ = 0;
    unsigned waited_ = 0, send_left_ = 0, receive_at_ = 0;
    unsigned frame_ = 0;
    unsigned char byte_ = 0;
};

bool input_ended() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    char ignored[64];
    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
}

}  // namespace

int main(int argc, char** argv) {
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vboard board{&context};
    const vluint64_t half_core = plus(context, "half_core=", 5000), half_chip = plus(context, "half_chip=", 4000);
    const vluint64_t step = plus(context, "step=", 250);
    const vluint64_t out = plus(context, "out=", 1500), hold = plus(context, "hold=", 2500);
    const vluint64_t access = plus(context, "access=", 5400);
    Uart uart{open_terminal(), static_cast<unsigned>(plus(context, "bit=", 4))};
    // Times of the next edges. Pins and words read move behind rising edges of their clocks.
    vluint64_t core = half_core, memory = half_chip, pin = half_chip, moved = half_chip + out, ends = half_chip + hold,
        begins = half_chip + access;
    vluint64_t cycles = 0, busy = 0, stepped = 0;
    const bool tells = *context.commandArgsPlusMatch("speed");
    auto said = std::chrono::steady_clock::now();
    board.rst = 1;
    board.rx = 1;
    board.eval();
    while (!context.gotFinish()) {
        const vluint64_t now = std::min({core, memory, pin, moved, ends, begins});
        context.time(now);
        const bool rises = core == now && !board.clk;
        if (core == now) {
            board.clk = !board.clk;
            core += half_core;
        }
        if (memory == now) {
            board.sdram_clk = !board.sdram_clk;
            memory += half_chip;
        }
        if (pin == now) {
            board.chip_clk = !board.chip_clk;
            pin += half_chip;
        }
        if (moved == now) {
            board.pins_moved = !board.pins_moved;
            moved += 2 * half_chip;
        }
        if (ends == now) {
            board.read_ends = !board.read_ends;
            ends += 2 * half_chip;
        }
        if (begins == now) {
            board.read_begins = !board.read_begins;
            begins += 2 * half_chip;
        }
        if (now > 100000) board.rst = 0;
        board.eval();
        for (; stepped != board.stepped; ++stepped) {
            pin += step;
            ends += step;
            begins += step;
        }
        if (!rises) continue;
        ++cycles;
        busy += board.busy;
        board.rx = uart.cycle(board.tx);
        if (cycles % 8192 == 0) {
            if (input_ended()) break;
            const auto here = std::chrono::steady_clock::now();
            if (tells && here - said > std::chrono::seconds(1)) {
                std::printf("cycles %llu busy %llu\n", (unsigned long long)cycles, (unsigned long long)busy);
                std::fflush(stdout);
                said = here;
            }
        }
    }
    board.final();
    return context.gotFinish();
}
