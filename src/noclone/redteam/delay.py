"""Delay: every message is held up for a while.

In: messages.  Out: the same, later. The protocol has no clock that could be fooled: key comes more slowly, and a wait
that is too long ends the block without key. Authentication with a time limit is where delays hurt (arXiv:2601.17960).
"""

from __future__ import annotations

from noclone.redteam.messages import MessageAttack, untouched

ATTACK = MessageAttack("delay", untouched, delay_s=1.0)
