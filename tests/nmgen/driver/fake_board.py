"""A board in Python behind a pseudo-terminal: the link as `boards.link` has it, programs on the golden machine.

It takes no time, so that what the driver and its commands say of good and of bad boards is tested without Verilator.
"""

import os
import select
import threading
import tty
from dataclasses import astuple, replace
from itertools import product
from typing import Self
from zlib import crc32

import numpy as np

from boards.link import (
    ANSWER,
    EXECUTED_ONCE,
    FILL,
    HELLO,
    PROTOCOL,
    REQUEST,
    SEQUENCES,
    TESTED,
    USABLE,
    BoardRegister,
    Hello,
    Operation,
    Status,
    Unstuffer,
    stuffed,
)
from rtl.sta.legality import Cause
from rtl.sta.params import StaConfig
from rtl.sta.registers import REGISTERS, version_number
from sim.golden.machine import Machine

CYCLES = 1234  # of every run
CORE_KHZ = 100_000
MEMORY_BYTES = 1 << 20
PHASES = 32


class FakeBoard:
    """A board to the end of the block.

    A run reads and writes memory at any time from its start to its end: here all of it at its start, and again when the
    host asks whether it is done.

    Parameters
    ----------
    config : of its accelerator
    hello : words of `Hello` that are another than this configuration's
    state : of its memory, the register MEMORY
    keeps : the memory keeps what is written to it
    end : how programs end: done, error, never, or at once: done without a step of it
    says : what it sends again and again, instead of answers
    gone_after : requests after which it is unplugged; 0 for never
    gone_in_run : number of the run in which it is unplugged, from 1 on; 0 for never

    Attributes
    ----------
    port : name of the pseudo-terminal
    memory : of the board
    sums : bytes of which checksums were asked
    received, sent : bytes on the wire
    runs : programs started
    """

    def __init__(
        self,
        config: StaConfig,
        *,
        hello: dict[str, int] | None = None,
        state: int = USABLE | TESTED,
        keeps: bool = True,
        end: str = "done",
        says: bytes = b"",
        gone_after: int = 0,
        gone_in_run: int = 0,
    ) -> None:
        own = Hello(
            protocol=PROTOCOL,
            identification=config.identification,
            version=version_number(),
            memory_bytes=MEMORY_BYTES,
            port_bytes=config.port_bytes,
            core_khz=CORE_KHZ,
            memory_khz=125_000,
            shape=int.from_bytes([config.rows, config.cols, config.n, config.m], "little"),
        )
        self._config, self._hello = config, replace(own, **(hello or {}))
        self._keeps, self._end, self._says = keeps, end, says
        self._left, self._gone_in_run = gone_after, gone_in_run
        self.memory = np.zeros(self._hello.memory_bytes, np.uint8)
        self.sums: list[int] = []
        self.received = self.sent = self.runs = 0
        self._running = False
        self._registers = {BoardRegister.MEMORY.address: state, BoardRegister.PHASE.address: PHASES << 16}
        self._expected = 0
        self._board, self._host = os.openpty()
        tty.setraw(self._host)
        self.port = os.ttyname(self._host)
        self._end_of_it, self._ends = os.pipe()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def reset(self) -> None:
        """As its button does: what it was told is forgotten, memory stays."""
        self._expected, self._running = 0, False
        kept = (BoardRegister.MEMORY.address, BoardRegister.PHASE.address)
        self._registers = {address: self._registers[address] for address in kept}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ends)
        self._thread.join()
        os.close(self._end_of_it)

    def _work(self) -> None:
        frames = Unstuffer()
        try:
            while True:
                ready, _, _ = select.select([self._board, self._end_of_it], [], [], 0.01 if self._says else None)
                if self._end_of_it in ready:
                    return
                if self._says:
                    os.write(self._board, self._says)
                if self._board not in ready:
                    continue
                received = os.read(self._board, 4096)
                self.received += len(received)
                for frame in frames.feed(received):
                    if not self._says:
                        answer = stuffed(self._answer(frame))
                        self.sent += len(answer)
                        os.write(self._board, answer)
                    self._left -= 1
                    if self._left == 0 or self.runs == self._gone_in_run > 0:
                        return
        finally:
            os.close(self._host)
            os.close(self._board)

    def _answer(self, frame: bytes) -> bytes:
        sequence, operation, length, address = REQUEST.unpack(frame[: REQUEST.size])
        behind = (self._expected - sequence) % SEQUENCES
        if operation == Operation.HELLO:
            status, payload = Status.DONE, HELLO.pack(*astuple(self._hello))
        elif behind >= SEQUENCES // 2:
            status, payload = Status.OUT_OF_ORDER, bytes([self._expected])
        elif operation in EXECUTED_ONCE and behind:
            status, payload = Status.DONE, b""
        elif operation in (Operation.WRITE, Operation.READ) and (address | length) % self._hello.port_bytes:
            status, payload = Status.BAD_REQUEST, b""
        else:
            status, payload = Status.DONE, self._executed(operation, address, length, frame[REQUEST.size :])
        if operation == Operation.HELLO or not behind:
            self._expected = (sequence + 1) % SEQUENCES
        return ANSWER.pack(sequence, status, len(payload)) + payload

    def _executed(self, operation: int, address: int, length: int, payload: bytes) -> bytes:
        match Operation(operation):
            case Operation.WRITE if self._keeps:
                self.memory[address : address + length] = np.frombuffer(payload, np.uint8)
            case Operation.FILL if self._keeps:
                count, stride, rows, pitch, value = FILL.unpack(payload)
                beat = self._hello.port_bytes
                for i, j in product(range(rows), range(count)):
                    at = (address + beat * (i * pitch + j * stride)) % len(self.memory)
                    self.memory[at : at + 2] = np.frombuffer(value.to_bytes(2, "little"), np.uint8)
            case Operation.READ:
                return self.memory[address : address + length].tobytes()
            case Operation.CHECKSUM:
                size = int.from_bytes(payload, "little")
                self.sums.append(size)
                return crc32(self.memory[address : address + size].data).to_bytes(4, "little")
            case Operation.SET:
                self._registers[address] = int.from_bytes(payload, "little")
                if address == REGISTERS["control"].offset:
                    self._control(self._registers[address])
            case Operation.GET:
                if address == REGISTERS["status"].offset and self._running:
                    self._run()
                    self._running = False
                return self._registers.get(address, 0).to_bytes(4, "little")
        return b""

    def _control(self, value: int) -> None:
        status = REGISTERS["status"]
        if value == REGISTERS["control"].value(clear=1):
            self._registers[status.offset] = 0
            return
        self.runs += 1
        if self._end == "done":
            self._run()
            self._running = True
        self._registers[REGISTERS["cycles"].offset] = CYCLES
        self._registers[REGISTERS["cause"].offset] = Cause.SHIFT if self._end == "error" else 0
        self._registers[REGISTERS["pc"].offset] = 64
        done = status.value(done=1)
        ended = {"done": done, "at once": done, "error": status.value(error=1)}
        self._registers[status.offset] = ended.get(self._end, status.value(busy=1))

    def _run(self) -> None:
        limit = self._registers[REGISTERS["limit"].offset]
        machine = Machine(self._config, self.memory[:limit], address=self._registers[REGISTERS["program"].offset])
        machine.finish()
        self.memory[:limit] = machine.memory
