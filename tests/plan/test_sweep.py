"""What changes if: plans side by side on this machine, and on a Dask cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from noclone.cli.main import run_command
from noclone.errors import NocloneError
from noclone.plan.sites import PlanError, load_brief
from noclone.plan.sweep import Task, plan_task
from noclone.plan.variations import points, read_variation, varied

ALPINE = Path(__file__).parents[2] / "examples" / "sites.toml"
# Processes of their own: Dask's threads, sockets and warnings stay out of the tests' process.
SCHEDULER = """
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=None) as it:
        print(it.scheduler_address, flush=True)
        input()
"""


def noclone(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "noclone", *arguments], capture_output=True, text=True, timeout=280, check=False
    )


def test_values_are_read_and_combined() -> None:
    assert read_variation("demands=0.5:2:4").values == (0.5, 1.0, 1.5, 2.0)
    assert read_variation("costs.node = 1,20").values == (1.0, 20.0)
    assert read_variation("demands=3:9:1").values == (3.0,)
    brief = load_brief(ALPINE)
    both = list(points(brief, [read_variation("demands=1,2"), read_variation("device.avalanche.cost=5,6")]))
    assert [values for values, _ in both][1] == {"demands": 1.0, "device.avalanche.cost": 6.0}
    assert both[3][1].demands[2].rate_bps == 4000.0
    assert next(device for device in both[3][1].devices if device.name == "avalanche").cost == 6.0
    assert varied(brief, {"costs.node": 7.0}).costs.node == 7.0
    assert varied(brief, {"neighbours": 3.0}).neighbours == 3


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("demands", "names no parameter"),
        ("demands=1:2", "no values"),
        ("demands=a,b", "no values"),
        ("demands=1:2:0", "no values"),
        ("demands=nan,1", "finite"),
        ("demands=-1,1", "are none"),
        ("costs.nodes=1,2", "no such number"),
        ("device.magic.cost=1,2", "no such number"),
        ("device.avalanche.efficiency=0.5,3", "less than or equal to 1"),
        ("title=1,2", "no such number"),
        ("site.bern=1,2", "a table, not a number"),
        ("fibre=1,2", "a table, not a number"),
        ("site.nowhere=1,2", "no such number"),
    ],
)
def test_what_cannot_be_varied_is_said(text: str, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        list(points(load_brief(ALPINE), [read_variation(text)]))


def test_a_table_is_answered_by_its_numbers() -> None:
    with pytest.raises(PlanError) as refused:
        varied(load_brief(ALPINE), {"site.bern": 1.0})
    assert "site.bern.cost" in refused.value.hint


def test_too_many_plans_are_refused() -> None:
    with pytest.raises(PlanError, match="1200 plans"):
        list(points(load_brief(ALPINE), [read_variation("demands=1:2:30"), read_variation("costs.node=1:2:40")]))


def test_one_plan_of_a_sweep_is_the_plan() -> None:
    text = load_brief(ALPINE).model_dump_json(by_alias=True)
    found = plan_task(Task(text, {}, 30.0, 0.0))
    assert (found.cost, found.met, found.demands) == (550.0, 3, 3)
    with pytest.raises(NocloneError, match="a worker has"):
        plan_task(Task(text, {}, 30.0, 0.0, version="0.0.0-other"))


def test_a_sweep_runs_on_this_machine() -> None:
    done = noclone("plan", str(ALPINE), "--sweep", "demands=0.5,100", "--gap", "0", "--json")
    assert done.returncode == 0, done.stderr
    low, high = json.loads(done.stdout)
    assert (low["values"], high["values"]) == ({"demands": 0.5}, {"demands": 100.0})
    assert low["cost"] < high["cost"]


def test_a_sweep_runs_on_a_cluster() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCHEDULER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as cluster:
        assert cluster.stdin is not None
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        assert address.startswith("tcp://")
        done = noclone("plan", str(ALPINE), "--sweep", "demands=1:1:1", "--cluster", address, "--json")
        cluster.stdin.write("\n")
        cluster.stdin.close()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["cost"] == 550.0


def test_a_cluster_that_is_not_there_is_said() -> None:
    done = noclone("plan", str(ALPINE), "--sweep", "demands=1,2", "--cluster", "tcp://127.0.0.1:9")
    assert done.returncode != 0
    assert "no Dask scheduler answers" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["plan", str(ALPINE), "--cluster", "tcp://127.0.0.1:9"]) == 2
    assert "--cluster is for sweeps" in capsys.readouterr().err
    assert run_command(["plan", str(ALPINE), "--sweep", "demands=1,2", "-o", "x.toml"]) == 2
    assert "writes no scenario" in capsys.readouterr().err
