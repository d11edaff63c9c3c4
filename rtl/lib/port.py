"""The two interfaces of the accelerator: its memory port and its control port."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.lib.register_map import ADDRESSES, REGISTER_BITS, Register
from rtl.params import ADDRESS_BITS

LENGTH_BITS = 8


class Request(data.Struct):
    """A burst: consecutive beats from a beat-aligned byte address."""

    address: ADDRESS_BITS
    length: LENGTH_BITS  # beats − 1


def write_beat(port_bytes: int) -> data.StructLayout:
    """A beat to write; bit i of the strobe lets byte i through."""
    return data.StructLayout({"data": 8 * port_bytes, "strobe": port_bytes})


class MemoryPort(wiring.Signature):
    """One plain burst port, seen from the accelerator. Reads and writes have a channel each.

    Several read bursts may be outstanding; their beats come back in the order of the requests.
    A burst's write beats may come with its request or later, in the order of the requests.

    Members
    -------
    read_request : stream of Request, out
    read_data : stream of 8·port_bytes bits, in
    write_request : stream of Request, out
    write_data : stream of data and strobe, out
    """

    def __init__(self, port_bytes: int) -> None:
        super().__init__(
            {
                "read_request": Out(stream.Signature(Request)),
                "read_data": In(stream.Signature(8 * port_bytes)),
                "write_request": Out(stream.Signature(Request)),
                "write_data": Out(stream.Signature(write_beat(port_bytes))),
            }
        )


class ControlPort(wiring.Signature):
    """Access to the 32-bit control registers, seen from the accelerator.

    Members
    -------
    address : byte offset of a register, in, 8 bits
    write : take write_data into the register at this clock edge, in
    write_data : in, 32 bits
    read_data : out, 32 bits, of the address one cycle before
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "address": In(range(ADDRESSES)),
                "write": In(1),
                "write_data": In(REGISTER_BITS),
                "read_data": Out(REGISTER_BITS),
            }
        )


def register_layout(register: Register) -> data.FlexibleLayout:
    """A register's fields, by name."""
    fields = {field.name: data.Field(field.bits, field.low) for field in register.fields}
    return data.FlexibleLayout(register.bits, fields)


def written(control: wiring.PureInterface, register: Register) -> data.View:
    """The fields of a register in the word that is written."""
    return data.View(register_layout(register), control.write_data[: register.bits])
