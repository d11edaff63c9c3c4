"""The engine's control registers: one table, of which hardware, headers and drivers are made. Standard library only."""

from rtl.lib.register_map import Field, Register, register_map
from rtl.product import Product

REGISTERS: dict[str, Register] = register_map(
    (
        Register("id", 0x00, "read", "identification of version and configuration", reset=None),
        Register("control", 0x04, "write", "what to do, once", (Field("start", 0, 1, "start a product"),)),
        Register(
            "status",
            0x08,
            "read",
            "where it stands",
            (Field("busy", 0, 1, "a product runs"), Field("done", 1, 1, "the last one is finished")),
        ),
        Register("cycles", 0x0C, "read", "cycles from the start write to the last accepted write beat"),
        Register("tokens", 0x10, "read-write", "tokens of the product, 1 … max_tokens"),
        Register("groups", 0x14, "read-write", "groups of M along the input dimension, 1 … max_groups"),
        Register("channels", 0x18, "read-write", "output channels, 1 … 65535"),
        Register(
            "mode",
            0x1C,
            "read-write",
            "how the product is made",
            (
                Field("pattern_n", 0, 6, "N' of the layer's pattern N':M"),
                Field("wide", 8, 1, "16-bit results"),
                Field("per_row", 9, 1, "requantise per row"),
            ),
        ),
        Register("x_address", 0x20, "read-write", "byte address of the activations"),
        Register("x_beats", 0x24, "read-write", "beats of all activations"),
        Register("w_address", 0x28, "read-write", "byte address of the packed weights"),
        Register("w_tile_beats", 0x2C, "read-write", "beats of one column tile of packed weights"),
        Register("w_beats", 0x30, "read-write", "beats of all packed weights"),
        Register("r_address", 0x34, "read-write", "byte address of the requantisation parameters per row"),
        Register("r_beats", 0x38, "read-write", "beats of the requantisation parameters per row, 0 where per channel"),
        Register("y_address", 0x3C, "read-write", "byte address of the results"),
        Register("y_stride", 0x40, "read-write", "bytes from one token's results to the next"),
    )
)


def register_values(
    product: Product, *, x_address: int, w_address: int, y_address: int, r_address: int = 0
) -> dict[str, int]:
    """What to write into the control registers before the start."""
    return {
        "tokens": product.tokens,
        "groups": product.groups,
        "channels": product.channels,
        "mode": REGISTERS["mode"].value(
            pattern_n=product.pattern_n, wide=product.out_bits == 16, per_row=product.per_row
        ),
        "x_address": x_address,
        "x_beats": product.tokens * product.x_row_beats,
        "w_address": w_address,
        "w_tile_beats": product.w_tile_beats,
        "w_beats": product.column_tiles * product.w_tile_beats,
        "r_address": r_address,
        "r_beats": product.r_beats,
        "y_address": y_address,
        "y_stride": product.y_stride,
    }
