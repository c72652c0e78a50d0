"""Recordings: what is written comes back; what a lab writes by hand is read; what is wrong is refused by name."""

import signal
import stat
from fractions import Fraction
from pathlib import Path

import h5py
import numpy as np
import pytest

from noclone.errors import RecordingError
from noclone.io.recording import RecordingHead, open_recording, write_recording
from noclone.records import DecoyBB84, Detections, Origin

PROTOCOL = DecoyBB84((0.5, 0.1), (0.7, 0.3), 0.9, 0.8)
ORIGIN = Origin("simulated", seeded=True, detail="test")
N_SLOTS = 5000


class Table:
    def __init__(self, codes):
        self.codes = codes

    def at(self, slots):
        return self.codes[slots]


def block(number, n=700, n_slots=N_SLOTS):
    rng = np.random.default_rng(number)
    slots = np.sort(rng.choice(n_slots, n, replace=False)).astype(np.uint64)
    events = slots << np.uint64(16) | rng.integers(0, 1 << 16, n, dtype=np.uint64) & np.uint64(0xFFF7)
    codes = rng.integers(0, 8, n_slots, dtype=np.uint8)
    return Table(codes), Detections("a-b", number, n_slots, 1.25e9, events, ORIGIN)


def head(**changes):
    fields = {
        "link": "a-b", "alice": "alder", "bob": "birch", "protocol": PROTOCOL, "clock_hz": Fraction(1_250_000_000),
        "origin": ORIGIN, "devices": "a laser and two detectors",
    }  # fmt: skip
    return RecordingHead(**{**fields, **changes})


@pytest.mark.parametrize("during", ["a block", "the end"])
def test_ctrl_c_waits_for_hdf5_and_leaves_nothing(tmp_path, monkeypatch, during):
    went_on = []

    class Interrupting(Table):
        def at(self, slots):
            if (
                during == "a block"
            ):  # as if while HDF5 writes through a Python file: an error of ours would be lost in there
                signal.raise_signal(signal.SIGINT)
                went_on.append(True)
            return self.codes[slots]

    def close(file, closed=h5py.File.close):
        if during == "the end":
            signal.raise_signal(signal.SIGINT)
            went_on.append(True)
        closed(file)

    monkeypatch.setattr(h5py.File, "close", close)
    settings, detections = block(7)
    with pytest.raises(KeyboardInterrupt):
        write_recording(tmp_path / "light.h5", head(), [(Interrupting(settings.codes), detections)])
    assert went_on == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "light.h5"
    write_recording(path, head(), [block(7)])
    monkeypatch.setattr("noclone.io.recording.os.access", lambda path, mode: False)  # who is root may read everything
    with pytest.raises(RecordingError, match="may not be read"):
        open_recording(path)


def test_blocks_come_back_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr("noclone.io.recorded_columns.CHUNK", 100)
    path = tmp_path / "light.h5"
    blocks = [block(7), block(8), block(9, n=1)]
    write_recording(path, head(), blocks)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with open_recording(path) as recording:
        assert len(recording) == 3
        assert recording.head.protocol == PROTOCOL
        assert recording.head.clock_hz == Fraction(1_250_000_000)
        assert recording.head.devices == "a laser and two detectors"
        for (settings, detections), read in zip(blocks, recording.blocks, strict=True):
            assert read.detections.events.tolist() == detections.events.tolist()
            assert (read.detections.block, read.detections.n_slots) == (detections.block, N_SLOTS)
            assert read.detections.clock_hz == 1.25e9
            assert read.settings.at(detections.slots).tolist() == settings.at(detections.slots).tolist()
            assert read.settings.at(detections.slots[:3]).tolist() == settings.at(detections.slots[:3]).tolist()


def test_a_block_without_detections_comes_back(tmp_path):
    path = tmp_path / "dark.h5"
    write_recording(path, head(), [block(0, n=0)])
    with open_recording(path) as recording:
        (read,) = recording.blocks
        assert len(read.detections) == 0
        assert len(read.settings.at(np.zeros(0, np.uint64))) == 0


@pytest.mark.parametrize(
    ("kind", "read_as"), [("simulated", "simulated"), ("hardware", "recorded"), ("recorded", "recorded")]
)
def test_the_origin_stays_honest(tmp_path, kind, read_as):
    path = tmp_path / "light.h5"
    write_recording(path, head(origin=Origin(kind, seeded=kind == "simulated")), [block(1)])
    with open_recording(path) as recording:
        assert recording.head.origin == Origin(read_as, seeded=kind == "simulated", detail="light.h5")


def lab_file(path, **changes):
    """A file as docs/recordings.md tells a lab to write it: settings at every slot, and time tags."""
    rng = np.random.default_rng(3)
    slots = np.sort(rng.choice(N_SLOTS, 400, replace=False))
    channel = rng.integers(0, 4, 400)
    fields = {
        "bit": rng.integers(0, 2, N_SLOTS), "basis": rng.integers(0, 2, N_SLOTS),
        "intensity": rng.integers(0, 2, N_SLOTS), "time_ps": 10_000 + slots * 800 + 30, "channel": channel, **changes,
    }  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs.update(
            format="noclone-detections", version=1, link="a-b", alice="alder", bob="birch", origin="hardware", seeded=0,
            clock_hz_numerator=1_250_000_000, clock_hz_denominator=1, intensities=[0.5, 0.1],
            probabilities=[0.7, 0.3], p_key_alice=0.9, p_key_bob=0.8,
        )  # fmt: skip
        receiver = file.create_group("receiver")
        receiver.attrs.update(values=[0, 1, 0, 1], bases=[0, 0, 1, 1], gate_ps=400)
        group = file.create_group("blocks/000000")
        group.attrs.update(block=0, n_slots=N_SLOTS)
        for name in ("bit", "basis", "intensity"):
            group.create_dataset(f"alice/{name}", data=np.asarray(fields[name], np.uint8))
        group.create_dataset("bob/time_ps", data=np.asarray(fields["time_ps"], np.uint64))
        group.create_dataset("bob/channel", data=np.asarray(fields["channel"], np.uint8))
        group["bob"].attrs["start_ps"] = 10_000
    return slots, channel, fields


def test_a_labs_time_tags_become_events(tmp_path, monkeypatch):
    monkeypatch.setattr("noclone.io.recorded_columns.CHUNK", 64)
    slots, channel, fields = lab_file(tmp_path / "lab.h5")
    with open_recording(tmp_path / "lab.h5") as recording:
        (read,) = recording.blocks
        assert read.detections.slots.tolist() == slots.tolist()
        assert read.detections.values.tolist() == (channel % 2).tolist()
        assert read.detections.bases.tolist() == (channel // 2).tolist()
        codes = fields["bit"] | fields["basis"] << 1 | fields["intensity"] << 2
        assert read.settings.at(read.detections.slots).tolist() == codes[slots].tolist()
        assert recording.head.origin.kind == "recorded"


def test_double_clicks_follow_the_seed(tmp_path):
    lab_file(tmp_path / "lab.h5", time_ps=np.repeat(10_000 + 800 * np.arange(200), 2), channel=[0, 1] * 200)

    def values(seed):
        with open_recording(tmp_path / "lab.h5", double_click_seed=seed) as recording:
            return next(recording.blocks).detections.values.tolist(), next(recording.blocks).detections.values.tolist()

    first, again = values(b"1" * 16)
    assert first == again == values(b"1" * 16)[0]
    assert 0 < sum(first) < 200
    assert values(None)[0] != values(None)[0]  # 2^-200


def read_all(path):
    with open_recording(path) as recording:
        for read in recording.blocks:
            read.settings.at(read.detections.slots)


def refuse(path, *words):
    """Open and read everything; return the error, which must name file and words."""
    with pytest.raises(RecordingError) as refused:
        read_all(path)
    message = str(refused.value)
    assert path.name in message
    for word in words:
        assert word in message, message
    return refused.value


def test_files_that_are_no_recordings(tmp_path):
    refuse(tmp_path / "missing.h5", "no such file")
    (tmp_path / "text.h5").write_text("time,channel\n1,2\n")
    refuse(tmp_path / "text.h5", "no HDF5")
    (tmp_path / "empty.h5").write_bytes(b"")
    refuse(tmp_path / "empty.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    refuse(tmp_path / "other.h5", "format")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(tmp_path, share):
    path = tmp_path / "light.h5"
    write_recording(path, head(), [block(1, n=4000), block(2, n=4000)])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    refuse(path, "cut short")


def test_damaged_rows_are_noticed(tmp_path):
    """Every row is under a checksum: a flipped byte is refused or changes nothing, never read as something else."""
    path = tmp_path / "light.h5"
    write_recording(path, head(), [block(1, n=4000)])
    data = path.read_bytes()
    with open_recording(path) as recording:
        whole = next(recording.blocks).detections.events.tolist()
    rng = np.random.default_rng(1)
    refused = 0
    for place in rng.integers(0, len(data), 60):
        changed = bytearray(data)
        changed[place] ^= 0x55
        path.write_bytes(bytes(changed))
        try:
            with open_recording(path) as recording:
                for read in recording.blocks:
                    read.settings.at(read.detections.slots)
                    if recording.head.link == "a-b" and read.detections.n_slots == N_SLOTS:
                        assert read.detections.events.tolist() == whole
        except RecordingError:
            refused += 1
    assert refused > 10


CHANGES = {
    "format of tomorrow": (lambda f: f.attrs.update(version=2), ["version 2"]),
    "version is text": (lambda f: f.attrs.update(version="1"), ["version", "integer"]),
    "no clock": (lambda f: f.attrs.pop("clock_hz_numerator"), ["clock_hz_numerator", "missing"]),
    "clock zero": (lambda f: f.attrs.update(clock_hz_denominator=0), ["clock_hz_denominator"]),
    "clock too fine": (
        lambda f: f.attrs.update(clock_hz_numerator=(1 << 61) - 1, clock_hz_denominator=(1 << 40) - 1),
        ["clock"],
    ),
    "huge attribute": (lambda f: f.attrs.update(intensities=np.zeros(5000)), ["intensities", "too large"]),
    "intensities are text": (lambda f: f.attrs.update(intensities="0.5"), ["intensities"]),
    "intensities not finite": (lambda f: f.attrs.update(intensities=[np.nan, 0.1]), ["intensities"]),
    "impossible probabilities": (lambda f: f.attrs.update(probabilities=[0.7, 0.7]), ["protocol"]),
    "one intensity": (lambda f: f.attrs.update(intensities=[0.5], probabilities=[1.0]), ["protocol"]),
    "unprintable name": (lambda f: f.attrs.update(link="a\x1b[2J"), ["link", "printable"]),
    "long name": (lambda f: f.attrs.update(link="a" * 300), ["link"]),
    "unknown origin": (lambda f: f.attrs.update(origin="heaven"), ["heaven"]),
    "no blocks": (lambda f: f["blocks"].pop("000000"), ["1 to"]),
    "blocks is a dataset": (lambda f: (f.pop("blocks"), f.update(blocks=[1])), ["blocks", "no group"]),
    "n_slots zero": (lambda f: f["blocks/000000"].attrs.update(n_slots=0), ["n_slots"]),
    "n_slots negative": (lambda f: f["blocks/000000"].attrs.update(n_slots=-5), ["n_slots"]),
    "settings too short": (lambda f: replace(f, "alice/bit", np.zeros(10, np.uint8)), ["different lengths"]),
    "too few slots": (lambda f: f["blocks/000000"].attrs.update(n_slots=N_SLOTS + 1), ["settings for"]),
    "bit of 2": (lambda f: put(f, "alice/bit", 2), ["alice/bit", "0 to 1"]),
    "intensity of 2": (lambda f: put(f, "alice/intensity", 2), ["alice/intensity", "0 to 1"]),
    "bits as floats": (lambda f: replace(f, "alice/bit", np.zeros(N_SLOTS)), ["alice", "bit", "float64"]),
    "a matrix": (lambda f: replace(f, "alice/bit", np.zeros((N_SLOTS, 1), np.uint8)), ["bit", "column"]),
    "no channel": (lambda f: f["blocks/000000/bob"].pop("channel"), ["channel", "missing"]),
    "channels too short": (lambda f: replace(f, "bob/channel", np.zeros(3, np.uint8)), ["channel", "3 rows"]),
    "unknown channel": (lambda f: put(f, "bob/channel", 4), ["channel 4"]),
    "tags unsorted": (lambda f: put(f, "bob/time_ps", 1 << 40), ["sorted"]),
    "tags outside": (lambda f: replace(f, "bob/time_ps", np.full(400, 1 << 50, np.uint64)), ["outside"]),
    "no start": (lambda f: f["blocks/000000/bob"].attrs.pop("start_ps"), ["start_ps"]),
    "no receiver": (lambda f: f.pop("receiver"), ["receiver"]),
    "receiver of five": (lambda f: f["receiver"].attrs.update(values=[0] * 5, bases=[0] * 5), ["detectors"]),
    "a link to another file": (lambda f: relink(f, h5py.ExternalLink("/etc/hostname", "/")), ["bit", "link"]),
    "a soft link": (lambda f: relink(f, h5py.SoftLink("/blocks")), ["bit", "link"]),
    "rows that were never written": (lambda f: hollow(f, "alice/bit", N_SLOTS), ["never written"]),
    "more rows than memory": (lambda f: hollow(f, "alice/bit", 1 << 50), ["rows"]),
    "rows in another file": (lambda f: outside(f), ["another file"]),
}  # fmt: skip


def replace(file, name, data):
    group = file["blocks/000000"]
    del group[name]
    group[name] = data


def relink(file, link):
    group = file["blocks/000000/alice"]
    del group["bit"]
    group["bit"] = link


def put(file, name, value):
    file["blocks/000000"][name][5] = value


def hollow(file, name, rows):
    group = file["blocks/000000"]
    del group[name]
    group.create_dataset(name, (rows,), np.uint8, chunks=(1 << 12,))


def outside(file):
    group = file["blocks/000000/alice"]
    del group["bit"]
    group.create_dataset("bit", (N_SLOTS,), np.uint8, external=[("raw.bin", 0, N_SLOTS)])


@pytest.mark.parametrize("name", CHANGES)
def test_malformed_recordings_are_refused_by_name(tmp_path, name):
    path = tmp_path / "lab.h5"
    lab_file(path)
    change, words = CHANGES[name]
    with h5py.File(path, "r+") as file:
        change(file)
    refuse(path, *words)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([5, 5, 6], ["rise"]),
        ([6, 5, 7], ["rise"]),
        ([1, 2, N_SLOTS], [f"slot {N_SLOTS}"]),
        ([1, 2, (1 << 64) - 1], ["slot"]),
    ],
)
@pytest.mark.parametrize("party", ["alice", "bob"])
def test_slots_out_of_order_or_range(tmp_path, party, rows, words):
    path = tmp_path / "light.h5"
    write_recording(path, head(), [block(1, n=3)])
    with h5py.File(path, "r+") as file:
        file[f"blocks/000000/{party}/slot"][:] = np.array(rows, np.uint64)
    refuse(path, *words)


def test_settings_missing_where_something_was_detected(tmp_path):
    path = tmp_path / "light.h5"
    write_recording(path, head(), [block(1, n=3)])
    with h5py.File(path, "r+") as file:
        file["blocks/000000/bob/slot"][:] = np.array([0, 1, 2], np.uint64)
    refuse(path, "settings are missing")


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("noclone.io.recording._write_block", full)
    with pytest.raises(RecordingError, match="cannot be written"):
        write_recording(tmp_path / "light.h5", head(), [block(1)])
    with pytest.raises(RecordingError):
        write_recording(tmp_path / "none.h5", head(), [])
    with pytest.raises(RecordingError):
        write_recording(tmp_path / "no" / "folder.h5", head(), [block(1)])
    assert list(tmp_path.iterdir()) == []


def test_blocks_of_another_link_are_not_mixed_in(tmp_path):
    with pytest.raises(RecordingError, match="another link"):
        write_recording(tmp_path / "light.h5", head(link="a-c"), [block(1)])


def test_the_documented_example_runs(tmp_path, monkeypatch):
    """What docs/recordings.md tells a lab to write is what we read."""
    text = (Path(__file__).parents[2] / "docs" / "recordings.md").read_text()
    example = text.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    arrays = {name: np.zeros(1000, np.uint8) for name in ("bit", "basis", "intensity")}
    time_ps = np.arange(0, 800_000, 8000, dtype=np.uint64)
    exec(
        compile(example, "recordings.md", "exec"),
        {**arrays, "time_ps": time_ps, "channel": np.zeros(100, np.uint8), "start_ps": 0},
    )
    with open_recording("lab.h5") as recording:
        (read,) = recording.blocks
        assert read.detections.slots.tolist() == list(range(0, 1000, 10))


def test_a_disk_that_is_too_small_is_said_before_hdf5_notices(tmp_path, monkeypatch):
    """HDF5 cannot close a file on a full disk, and takes the process down with it when it ends."""
    import shutil

    from noclone.io import recording

    usage = shutil.disk_usage(tmp_path)._replace(free=1 << 20)
    monkeypatch.setattr(recording.shutil, "disk_usage", lambda _path: usage)
    events = np.arange(10, dtype=np.uint64) << np.uint64(16)
    detections = Detections("a-b", 0, 100, 1e9, events, Origin("simulated"))
    head = RecordingHead(
        "a-b", "a", "b", DecoyBB84((0.5, 0.1), (0.5, 0.5), 0.5, 0.5), Fraction(10**9), Origin("simulated")
    )
    with pytest.raises(RecordingError, match="1 MB left"):
        write_recording(tmp_path / "full.h5", head, [(None, detections)])
    assert list(tmp_path.iterdir()) == []
