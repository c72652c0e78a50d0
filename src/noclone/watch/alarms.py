"""An alarm: something that chance does not explain, with its evidence."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_ALPHA = 1e-6  # per block and monitor: one false alarm in a year of blocks of half a minute


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that chance does not explain.

    Args:
        monitor: Which test.
        statistic: What was seen.
        expected: What the model says.
        p_value: Bound on the probability of seeing this, or worse, by chance.
        alpha: The bound below which the monitor speaks: its false-alarm probability per block.
        message: The same for people.
    """

    monitor: str
    statistic: float
    expected: float
    p_value: float
    alpha: float
    message: str
