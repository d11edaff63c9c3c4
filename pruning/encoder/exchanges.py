"""Channels of an encoder's blocks that may stand in another order: what a head makes of its values, and what lies
between the two layers behind the attention. Those of the residual are also what the model gives, so they stay."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """Channels between two linear layers that may stand in any order, as all that lies between treats them alike.

    producer, consumer : the layers' names; outputs of the one are inputs of the other
    part : so many channels one after another may change places among themselves, such as those of a head
    """

    producer: str
    consumer: str
    part: int


def of_blocks(blocks: int, value: str, head_size: int, intermediate: int) -> list[Exchange]:
    """Of all blocks.

    value : name of the layer that makes the values, within a block
    intermediate : channels behind the attention
    """
    found = []
    for i in range(blocks):
        block = f"encoder.layer.{i}"
        values = Exchange(producer=f"{block}.{value}", consumer=f"{block}.attention.output.dense", part=head_size)
        between = Exchange(producer=f"{block}.intermediate.dense", consumer=f"{block}.output.dense", part=intermediate)
        found += [values, between]
    return found
