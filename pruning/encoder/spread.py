"""A part of a list that stands for all of it."""

MOST = 128  # sentences or pictures that scales are made of


def spread(count: int, most: int = MOST) -> list[int]:
    """The numbers of at most so many of `count` things, evenly from the first to the last."""
    taken = min(most, count)
    return [i * count // taken for i in range(taken)]
