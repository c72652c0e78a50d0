"""What the scenario says about alarms, and that it is done."""

from __future__ import annotations

from pathlib import Path

import pytest

from noclone import rng
from noclone.distill.job import BlockAborted, BlockStatistics
from noclone.errors import InputError, ScenarioError
from noclone.events import EventLog
from noclone.network.responses import Responder, ResponseSection
from noclone.network.scenario import load_scenario
from noclone.network.simulate import run
from noclone.redteam.attacks import resolve
from noclone.watch.alarms import Alarm

HEAD = """
name = "small"
lab = true
[[node]]
name = "ada"
[[node]]
name = "ben"
[[link]]
name = "ada-ben"
alice = "ada"
bob = "ben"
[link.source]
clock_hz = 1e9
intensities = [0.40, 0.13]
probabilities = [0.4, 0.6]
p_key = 0.7
[link.fibre]
length_km = 50
[link.receiver]
p_key = 0.7
efficiency = 0.25
dark_count_hz = 10
misalignment = 0.01
jitter_ps = 60
[link.distillation]
block_key_bits = 600_000
"""
BLINDED = """
[link.flaws]
linear_never_uw = 647.697
linear_always_uw = 808.932
[link.guards]
photocurrent = true
[[attack]]
name = "blinding"
on = "ada-ben"
first_block = 1
last_block = 2
"""
STATISTICS = BlockStatistics("ada-ben", 1, "alice")


def scenario(tmp_path: Path, more: str):
    path = tmp_path / "small.toml"
    path.write_text(HEAD + more)
    return load_scenario(path)


def story(one, blocks: int = 4):
    log = EventLog()
    result = run(one, log, seed=rng.seed_from_int(6), seeded=True, blocks=blocks, resolve=resolve)
    return log, result.links[0]


def kinds(log, kind):
    return [event.data for event in log if event.kind == kind]


def test_without_a_response_an_alarm_is_only_said(tmp_path: Path) -> None:
    """Blinding passes every count: the key is made, and Eve has it."""
    log, link = story(scenario(tmp_path, BLINDED))
    assert link.aborted == 0
    learned = kinds(log, "eve.learned")
    assert [one["block"] for one in learned] == [1, 2]
    assert all(one["per_sifted_bit"] > 0.999 for one in learned)
    assert {one["block"] for one in kinds(log, "alarm.raised") if one["monitor"] == "photocurrent"} == {1, 2}


def test_a_block_is_discarded(tmp_path: Path) -> None:
    log, link = story(scenario(tmp_path, BLINDED + '[[response]]\nalarm = "photocurrent"\nthen = "discard"\n'))
    assert link.reasons == {"alarm": 2}
    assert [one["block"] for one in kinds(log, "block.distilled")] == [0, 3]


@pytest.mark.parametrize("then", ["stop-link", "re-route"])
def test_a_link_is_stopped(tmp_path: Path, then: str) -> None:
    log, link = story(scenario(tmp_path, BLINDED + f'[[response]]\nalarm = "photo*"\nthen = "{then}"\n'))
    assert link.blocks == 2
    assert link.aborted == 1
    assert kinds(log, "link.stopped")[0]["then"] == then


def test_a_person_is_paged(tmp_path: Path) -> None:
    log, _ = story(scenario(tmp_path, BLINDED + '[[response]]\nalarm = "*"\nthen = "page"\nwhom = "on-call"\n'), 2)
    paged = kinds(log, "person.paged")
    assert paged
    assert {one["whom"] for one in paged} == {"on-call"}


def test_strength_zero_of_the_flaws_changes_no_key(tmp_path: Path) -> None:
    with_flaws = scenario(tmp_path, BLINDED.split("[[attack]]")[0])
    without = scenario(tmp_path, "")
    secret = [story(one, 2)[1].secret_bits for one in (with_flaws, without)]
    assert secret[0] == secret[1] > 0


def test_attacks_on_messages_run_in_a_scenario_too(tmp_path: Path) -> None:
    more = '[[attack]]\nname = "tampering"\non = "ada-ben"\nlast_block = 0\n'
    log, link = story(scenario(tmp_path, more), 2)
    assert link.reasons == {"authentication-failed": 1}
    assert kinds(log, "alarm.raised")[0]["monitor"] == "authentication"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ('[[response]]\nalarm = "x"\nthen = "shout"\n', "then"),
        ('[[response]]\nalarm = "x"\non = "elsewhere"\nthen = "page"\n', "elsewhere"),
        ("[link.flaws]\nmismatch = 2.0\n", "mismatch"),
        ("[link.flaws]\nlinear_never_uw = 900.0\nlinear_always_uw = 800.0\n", "linear_always_uw"),
        ("[link.guards]\nphotocurrents = true\n", "photocurrents"),
    ],
)
def test_impossible_sections(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(ScenarioError, match=words):
        scenario(tmp_path, more)


def test_an_attack_that_does_not_exist_is_refused_before_anything_runs(tmp_path: Path) -> None:
    one = scenario(tmp_path, '[[attack]]\nname = "tickling"\non = "ada-ben"\n')
    log = EventLog()
    with pytest.raises(InputError, match="tickling"):
        run(one, log, seed=bytes(32), seeded=True, blocks=1, resolve=resolve)
    assert not kinds(log, "light.sent")


def test_a_response_is_for_its_alarms_and_its_link() -> None:
    log = EventLog()
    stopped: list[tuple[str, bool]] = []
    sections = [
        ResponseSection(alarm="gain-*", on="ada-ben", then="stop-link"),
        ResponseSection(alarm="error-rate", then="discard"),
    ]
    responder = Responder(log, sections, lambda link, avoided: stopped.append((link, avoided)))
    gain = Alarm("gain-1", 1.0, 2.0, 1e-9, 1e-6, "too many")
    error = Alarm("error-rate", 0.2, 0.01, 1e-9, 1e-6, "too wrong")
    responder.vet("elsewhere", [gain], STATISTICS)
    for link, alarm in (("ada-ben", gain), ("elsewhere", error)):
        with pytest.raises(BlockAborted) as caught:
            responder.vet(link, [alarm], STATISTICS)
        assert caught.value.reason == "alarm"
    log.add("alarm.raised", "link:elsewhere", monitor="gain-1")
    assert stopped == []
    for _ in range(2):
        log.add("alarm.raised", "link:ada-ben", monitor="gain-1")
    assert stopped == [("ada-ben", False)]
    assert responder.stopped("ada-ben")


def test_blocks_under_way_when_an_alarm_stops_the_link_give_no_key() -> None:
    log = EventLog()
    responder = Responder(log, [ResponseSection(alarm="gain-*", then="stop-link")])
    responder.vet("ada-ben", [], STATISTICS)
    log.add("alarm.raised", "link:ada-ben", monitor="gain-1", block=3)
    with pytest.raises(BlockAborted, match="under way") as caught:
        responder.vet("ada-ben", [], STATISTICS)
    assert caught.value.reason == "alarm"
    responder.vet("elsewhere", [], STATISTICS)
    log.add("link.stopped", "link:elsewhere", by="operator")
    responder.vet("elsewhere", [], STATISTICS)
    log.add("link.started", "link:ada-ben", by="operator")
    responder.vet("ada-ben", [], STATISTICS)
