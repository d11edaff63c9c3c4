"""What an accelerator gets of a picture: the pixels of each patch, signed. Numpy only, no torch."""

import numpy as np

GREY = 128  # the byte that is 0 for the accelerator, whose pixels are signed


def patches(pictures: np.ndarray, side: int) -> np.ndarray:
    """uint8 [pictures, channels, height, width] → int8 [pictures, tokens, channels · side²].

    Tokens are the patches row by row, behind the class token, whose pixels are all 0. The pixels of a patch are in the
    order of the projection's weights: channel, row, column.

    side : pixels of a patch, of which height and width are multiples
    """
    count, channels, height, width = pictures.shape
    signed = (pictures ^ GREY).view(np.int8)  # less GREY, without a carry
    cut = signed.reshape(count, channels, height // side, side, width // side, side)
    found = cut.transpose(0, 2, 4, 1, 3, 5).reshape(count, -1, channels * side * side)
    return np.pad(found, ((0, 0), (1, 0), (0, 0)))
