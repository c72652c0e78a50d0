"""The desk of a search: where all lies that the kernels of a wave work on, as one row of addresses and numbers.

A round of Cascade is some microseconds of work on twenty arrays. To hand them over one by one would take as long again,
so the kernels take the desk, and read what they need by address (`cascade_words`): `desk[on.KNOWN]`. Whoever sets up a
search keeps the arrays alive as long as its desk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Addresses of arrays, which are what `cascade_group` says they are.
KNOWN, PERM, LEAF, SINGLES, ORDERS, LATE, SEARCHES, ACTIVE, COUNTS, MODES, CANDIDATES, N_CANDIDATES = range(12)
FOUND, ASKED, FOLLOWING, OUTCOMES, TOLD, SLICED, CHUNKS, TOGGLED, ABOVE, PARITY = range(12, 22)
# Two more addresses, of packed bits: what the peer said of the round at hand, and one's own parities for the next.
SAID, TELLS = 40, 41
# Numbers of the group; whether a pass's blocks reach above the low tiles (pass 1 next to pass 0); whether late passes
# are open, and whether this party corrects its key.
FRAMES, FRAME_BITS, LANES, LEVELS, LATE_PASSES, LATE_BLOCKS, ROOM, WORDS, TILES, DEEP, DEEP_1, LATE_OPEN = range(22, 34)
CORRECTS = 34
# Of the latest round: queries in trees, all queries, errors found, frames that ask, and how many idle ones behind these
# in `ACTIVE` have to look for work.
N_ASKED, N_QUERIES, N_ERRORS, N_ACTIVE, N_IDLE = range(35, 40)
_SIZE = 42
FETCHED = 16  # so many queries ahead of the one at hand, records are fetched: lists of queries are longer by as much


def lay(**things: Any) -> NDArray[np.int64]:
    """Return a desk with arrays, by their addresses, and numbers, each where the constant of its name says."""
    desk = np.zeros(_SIZE, np.int64)
    for name, thing in things.items():
        array = isinstance(thing, np.ndarray)
        assert not array or thing.flags.c_contiguous
        desk[globals()[name.upper()]] = thing.ctypes.data if array else int(thing)
    return desk
