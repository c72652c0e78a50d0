"""The light of a link, whichever its protocol: on how many threads it is worked out."""

import numpy as np
import pytest

from noclone.link import lights
from noclone.link.bench import fibre_devices


@pytest.mark.parametrize(("card", "cores", "threads"), [(False, 16, 2), (True, 16, 16), (True, 1, 2)])
def test_a_card_is_fed_by_every_core(monkeypatch, card, cores, threads):
    asked = []

    def transmit(devices, *, threads, **block):
        asked.append(threads)
        yield np.zeros(0, np.uint64)

    monkeypatch.setattr(lights.gpu, "wanted", lambda: card)
    monkeypatch.setattr(lights, "cores", lambda: cores)
    monkeypatch.setattr(lights, "transmit_chunks", transmit)
    block = {"alice_seed": bytes(32), "physics_seed": bytes(32), "n_slots": 1, "link": "a-b", "block": 0}
    list(lights.chunks(fibre_devices(10.0), **block))
    list(lights.chunks(fibre_devices(10.0), threads=3, **block))
    assert asked == [threads, 3]
