"""What each figure of a stage is called and how it is written: the one place for the bench's headings and units.

A stage returns plain data. A list of rows or a dictionary of rows becomes a table, whose first column CASES describes;
other numbers are figures of the whole stage. FIGURES says how each key is shown; one that is not there is shown by its
own name, so that nothing that was measured is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Show = Callable[[Any], str]


def number(value: Any) -> str:
    """Write a number with three digits that count, without an exponent."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    size = abs(value)
    if size >= 1e5:
        return f"{value:,.0f}".replace(",", " ") if size < 1e9 else f"{value:.3g}"
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    if isinstance(value, int) or size == 0:
        return f"{value:g}"
    return f"{value:.{digits}f}" if size >= 0.1 else f"{value:.3g}"


def plain(value: Any) -> str:
    """Write a number as it was given."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def kilo(value: Any) -> str:
    """Write it in thousands."""
    return number(value / 1e3)


def mega(value: Any) -> str:
    """Write it in millions."""
    return number(value / 1e6)


def giga(value: Any) -> str:
    """Write it in thousand millions."""
    return number(value / 1e9)


def three_decimals(value: Any) -> str:
    """Write f, whose third decimal counts."""
    return f"{value:.3f}"


def percent(value: Any) -> str:
    """Write a share."""
    return f"{100 * value:g} %"


def hundredths(value: Any) -> str:
    """Write a share in per cent."""
    return f"{100 * value:.2f}"


def binary(value: Any) -> str:
    """Write a number of bits, as a power of two where it is one."""
    bits = int(value)
    if bits >= 1024 and bits & (bits - 1) == 0:
        return f"2^{bits.bit_length() - 1}"
    power = len(str(bits)) - 1
    return f"10^{power}" if power >= 4 and bits == 10**power else str(bits)


def interval(value: Any) -> str:
    """Write a confidence interval."""
    low, high = value
    return f"{low:.2g}–{high:.2g}"


@dataclass(frozen=True, slots=True)
class Figure:
    """How a key is shown."""

    heading: str
    unit: str = ""
    show: Show = number


@dataclass(frozen=True, slots=True)
class Case:
    """What tells the rows of a table apart: the heading, and the key in rows of a list."""

    heading: str
    key: str = ""
    show: Show = plain


CASES = {
    "per_qber": Case("QBER", "qber", percent),
    "per_size": Case("block, bits", "block_bits", binary),
    "by_loss_db": Case("loss, dB"),
    "by_length_km": Case("fibre, km"),
    "by_threads": Case("threads", "threads"),
    "by_processes": Case("processes, a link each", "processes"),
    "threads": Case("threads"),
    "delayed": Case("round trip, ms; blocks in flight", "course"),
    "in_flight": Case("round trip, ms; blocks in flight", "course"),
    "by_combiner": Case("combiner"),
    "by_suite": Case("suite"),
    "amplification": Case("amplification: block, bits", "block_bits", binary),
    "decoding": Case("LDPC decoding: frames", "frames"),
    "light": Case("light: fibre, km", "length_km"),
    "per_claim": Case("keys a claim", "keys_a_claim"),
    "per_gap": Case("mean gap, slots", "mean_gap"),
    "per_nodes": Case("nodes", "nodes"),
}

FIGURES = {
    "pulses_per_s": Figure("pulses", "G/s", giga),
    "detections_per_s": Figure("detections", "M/s", mega),
    "events_per_s": Figure("events", "M/s", mega),
    "realtime_factor": Figure("of real time", "×"),
    "realtime_factor_one_thread": Figure("1 thread", "×"),
    "events_per_s_one_thread": Figure("events, 1 thread", "M/s", mega),
    "events_per_s_two_threads": Figure("events, 2 threads", "M/s", mega),
    "bytes_per_event": Figure("told", "bytes an event"),
    "mbps_per_core": Figure("1 thread", "Mb/s"),
    "mbps_one_thread": Figure("1 thread", "Mb/s"),
    "mbps_by_messages": Figure("message by message", "Mb/s"),
    "mbps_two_threads": Figure("2 threads", "Mb/s"),
    "mbps_per_core_fresh_seed": Figure("1 thread, fresh seed", "Mb/s"),
    "binary_toeplitz_mbps_per_core": Figure("binary Toeplitz matrix, 2^20 bits", "Mb/s"),
    "combined_keys_per_s": Figure("keys of 256 bits", "a second"),
    "named_keys_per_s": Figure("keys bound to their names", "a second"),
    "exchanges_per_s": Figure("exchanges, both sides", "a second"),
    "new_connections_per_s": Figure("new connections, each with a request", "a second"),
    "kept_requests_per_s": Figure("requests on kept connections", "a second"),
    "qber": Figure("QBER", "", percent),
    "block_bits": Figure("block", "bits", binary),
    "gbps_on_card": Figure("on the card", "Gb/s"),
    "gbps_pinned_copies": Figure("with copies, pinned", "Gb/s"),
    "gbps_with_copies": Figure("with copies", "Gb/s"),
    "gbps_one_core": Figure("1 core", "Gb/s"),
    "mbps_on_card": Figure("on the card", "Mb/s"),
    "mbps_with_copies": Figure("with copies", "Mb/s"),
    "mbps_one_core": Figure("1 core", "Mb/s"),
    "candidates_per_s_card": Figure("candidates, card", "M/s", mega),
    "candidates_per_s_one_core": Figure("candidates, 1 core", "M/s", mega),
    "realtime_with_card_two_threads": Figure("of real time, card, 2 threads", "×"),
    "realtime_with_card_all_cores": Figure("of real time, card, all cores", "×"),
    "realtime_two_threads": Figure("2 threads, no card", "×"),
    "realtime_all_cores": Figure("all cores, no card", "×"),
    "first_use_s": Figure("first use in a process", "s"),
    "equal_bits": Figure("same bits"),
    "transcript_gbps_per_core": Figure("transcript, both tags", "Gb/s"),
    "poly1305_gbps_per_core": Figure("Poly1305", "Gb/s"),
    "polynomial_hash_gbps_per_core": Figure("polynomial hash", "Gb/s"),
    "mbps": Figure("sifted, a process each end", "Mb/s"),
    "efficiency_f": Figure("f", "", three_decimals),
    "leak_factor": Figure("f", "", three_decimals),
    "frame_error_rate": Figure("frames lost", "share"),
    "frame_error_rate_ci95": Figure("95 % interval", "share", interval),
    "frame_error_rate_95": Figure("95 % interval", "share", interval),
    "ci95": Figure("95 % interval", "share", interval),
    "frames": Figure("of frames"),
    "rounds": Figure("round trips"),
    "round_trips": Figure("round trips"),
    "rounds_most": Figure("at most"),
    "messages": Figure("messages"),
    "keys_wrong": Figure("keys wrong"),
    "iterations_per_frame": Figure("iterations", "a frame"),
    "sifted_mbps": Figure("sifted key", "Mb/s"),
    "secret_mbps": Figure("secret key", "Mb/s"),
    "sifted_bits": Figure("sifted", "bits"),
    "secret_bits": Figure("secret", "bits"),
    "stage_ns_per_sifted_bit": Figure("time", "ns a sifted bit"),
    "light_s": Figure("light that it stands for", "s"),
    "secret_bps_of_light": Figure("secret key a second of light", "kb/s", kilo),
    "keys_per_s": Figure("relayed keys", "keys/s"),
    "day_s": Figure("all its passes", "s"),
    "sites": Figure("sites"),
    "demands": Figure("demands"),
    "demands_met": Figure("met"),
    "candidates": Figure("links to choose from"),
    "rates_s": Figure("what devices give", "s"),
    "solved_s": Figure("solved", "s"),
    "processor_s": Figure("of processors", "s"),
    "plan_cost": Figure("cost"),
    "plan_bound": Figure("no network below"),
    "gap_above_cheapest": Figure("above the cheapest, at most", "%", hundredths),
    "pairs_per_s": Figure("pairs delivered", "a second"),
    "pairs_per_network_s": Figure("pairs delivered", "a second of the network's time"),
    "requests_per_s": Figure("enc_keys", "requests/s"),
    "p50_ms": Figure("answer, median", "ms"),
    "p99_ms": Figure("answer, 99th percentile", "ms"),
    "message_bytes": Figure("message", "bytes"),
    "messages_per_s": Figure("messages sealed and opened", "messages/s"),
    "reservations_per_s": Figure("durable reservations, one at a time", "reservations/s"),
    "reservations_by_16_per_s": Figure("durable reservations, 16 a lease", "reservations/s"),
    "file_mb": Figure("file", "MB"),
    "seal_mbyte_per_s": Figure("file sealed", "MB/s"),
    "open_mbyte_per_s": Figure("file opened", "MB/s"),
    "deposit_keys_per_s": Figure("deposited", "keys/s"),
    "almost_empty_keys_per_s": Figure("almost empty", "keys/s"),
    "full_keys_per_s": Figure("full", "keys/s"),
    "share": Figure("full / almost empty"),
    "memory_mib_before": Figure("memory, almost empty", "MiB"),
    "memory_mib_after": Figure("memory, full", "MiB"),
    "help_s": Figure("noclone --help", "s"),
    "first_kernel_s": Figure("first kernel, compiled before", "s"),
    "first_kernel_uncached_s": Figure("first kernel, compiled now", "s"),
    "light_cached_s": Figure("light, compiled before", "s"),
    "light_uncached_s": Figure("light, compiled now", "s"),
    "cascade_cached_s": Figure("Cascade, compiled before", "s"),
    "cascade_uncached_s": Figure("Cascade, compiled now", "s"),
    "chain_cached_s": Figure("a whole block, compiled before", "s"),
    "chain_uncached_s": Figure("a whole block, compiled now", "s"),
}

# Lists of figures within a row: one column each, named by a key of the entry.
WITHIN = {"with_round_trip": ("round_trip_ms", "mbps", "{:g} ms away", "Mb/s")}

# What documents a run and would crowd the table; JSON has it.
HIDDEN = {"round_trip_ms", "blocks_in_flight", "bytes_crossed_per_block", "seed_bytes", "equal", "binary_toeplitz_bits"}


@dataclass(frozen=True, slots=True)
class Table:
    """A stage's figures as rows: the case of each, and its figures by key."""

    name: str
    case: Case
    rows: tuple[tuple[Any, dict[str, Any]], ...]

    def figures(self) -> list[str]:
        """Return the figures that any row has, those of FIGURES first and in its order."""
        present = {key: None for _, row in self.rows for key in row if key not in HIDDEN and key != self.case.key}
        known = [key for key in FIGURES if key in present]
        return known + [key for key in present if key not in FIGURES]


def figure(key: str) -> Figure:
    """Return how a key is shown."""
    if key in FIGURES:
        return FIGURES[key]
    for list_name, (_, _, heading, unit) in WITHIN.items():
        if key.startswith(list_name + ":"):
            return Figure(heading.format(float(key.partition(":")[2])), unit)
    return Figure(key.replace("_", " "))


def tables(result: Mapping[str, Any]) -> Iterator[Table]:
    """Yield the tables within a stage's result: lists of rows, dictionaries of rows, and rows named NAME_NUMBER."""
    numbered: dict[str, list[tuple[Any, dict[str, Any]]]] = {}
    for name, value in result.items():
        case = CASES.get(name, Case(name.replace("_", " ")))
        head, _, tail = name.rpartition("_")
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            yield Table(name, case, tuple((row.get(case.key, number), flat(row)) for number, row in enumerate(value)))
        elif isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
            yield Table(name, case, tuple((_as_number(label), flat(row)) for label, row in value.items()))
        elif isinstance(value, dict) and tail.isdigit():
            numbered.setdefault(head, []).append((int(tail), flat(value)))
        elif isinstance(value, dict) and value:
            yield Table(
                name, Case(""), tuple((label.replace("_", " "), {name: worth}) for label, worth in value.items())
            )
    for name, found in numbered.items():
        yield Table(name, CASES.get(name, Case(name.replace("_", " "))), tuple(found))


def scalars(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage says of itself as a whole."""
    return {name: value for name, value in result.items() if not isinstance(value, dict | list)}


def flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row without nesting."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in WITHIN and isinstance(value, list):
            label, wanted, _, _ = WITHIN[key]
            found |= {f"{key}:{entry[label]:g}": entry[wanted] for entry in value}
        elif isinstance(value, dict):
            found |= {f"{key} {inner}": worth for inner, worth in value.items()}
        else:
            found[key] = value
    return found


def _as_number(label: str) -> Any:
    try:
        return float(label)
    except ValueError:
        return label
