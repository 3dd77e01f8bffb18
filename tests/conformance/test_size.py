"""`size` finds the cheapest pool: a search without any shortcut, in another language, finds the same cost."""

import json
import random
import subprocess
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import pytest

import pricing
from stage import TRUNNION

REGIONS = ["us-east-1", "us-east-2", "eu-west-1", "eu-west-3", "eu-central-1", "ap-northeast-1", "sa-east-1"]


def rounded(amount: Fraction) -> Decimal:
    exact = Decimal(amount.numerator) / Decimal(amount.denominator)
    return exact.quantize(Decimal("0.000001"), ROUND_HALF_UP)


def drawn(seed):
    """A workload with the options that say it, and the same for the search."""
    draw = random.Random(seed)
    workload = pricing.Workload(
        users=int(10 ** draw.uniform(2, 7)),
        connections=draw.choice([1, 1, 2, 5, 40]),
        rate=Fraction(draw.choice(["0", "0.01", "0.2", "1", "3.141593"])),
        size=draw.choice([0, 500, 20_000, 1_000_000]),
        private=draw.choice([0, 1, 1, 3, 50]),
        public=draw.choice([0, 0, 1, 7]),
        memory=draw.choice([1, 6_000, 8_000, 40_000, 500_000]),
        margin=draw.choice([0, 50, 100, 1_000]),
    )
    if workload.private + workload.public == 0:
        workload = pricing.Workload(**{**workload.__dict__, "private": 1})
    how = {
        "arch": draw.choice([None, None, "x86_64", "arm64"]),
        "spot": draw.random() < 0.2,
        "tracked": draw.random() < 0.2,
        "one_may_fail": draw.random() < 0.3,
        "most_hosts": draw.choice([1, 4, 30, 1_000]),
        "network": draw.choice(["other", "internet-gateway", "nat-gateway"]),
    }
    return draw.choice(REGIONS), workload, how


def asked(region, workload, how):
    arguments = [
        TRUNNION, "size", "--json", "--show", "1", "--region", region,
        "--virtual-users", workload.users, "--connections-per-user", workload.connections,
        "--requests-per-second-per-user", format(float(workload.rate), "f"), "--bytes-per-request", workload.size,
        "--private-targets", workload.private, "--public-targets", workload.public,
        "--memory-per-user", workload.memory, "--memory-margin-percent", workload.margin,
        "--most-hosts", how["most_hosts"], "--network", how["network"],
    ]
    arguments += ["--arch", how["arch"]] if how["arch"] else []
    arguments += [f"--{flag.replace('_', '-')}" for flag in ("spot", "tracked", "one_may_fail") if how[flag]]
    return subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("seed", range(200))
def test_no_pool_is_cheaper(seed):
    region, workload, how = drawn(seed)
    answer = asked(region, workload, how)
    best = pricing.cheapest(workload, region, **how)
    if best is None:
        assert answer.returncode == 1, answer.stdout
        assert "size::" in answer.stderr
        return
    assert answer.returncode == 0, answer.stderr
    choice = json.loads(answer.stdout)[0]
    assert Decimal(choice["hourly"]) == rounded(best), (region, workload, how, choice)
    kind = next(kind for kind in pricing.TYPES if kind.name == choice["instance_type"])
    narrow = pricing.Type(**{**kind.__dict__, "addresses": choice["addresses"]})
    hosts = choice["count"] - (1 if how["one_may_fail"] else 0)
    held = pricing.capacity(
        narrow, hosts, choice["interfaces"], choice["public_addresses"], workload, how["tracked"], how["network"]
    )
    assert held == choice["virtual_users"] >= workload.users
