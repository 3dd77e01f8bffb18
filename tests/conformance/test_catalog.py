"""`cargo xtask catalog` writes the tables from answers that nobody here wrote: moto's copy of `DescribeInstanceTypes`, its spot
prices, and products that AWS's price list returned. botocore's models judge each call.
"""

import json
import os
import shutil
import statistics
import subprocess
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest

import models
from capture import Capture
from stage import CREDENTIALS, ROOT, TRUNNION
from test_moto import Moto

DATA = ROOT / "crates/catalog/data"
PRODUCTS = json.loads((ROOT / "crates/catalog-update/src/recorded.json").read_text())
# What AWS's pages say of bandwidth, interfaces and addresses of these types, moto's copy does not.
FROM_PAGES = 17
# No recorded product was found.
WITHOUT_PRODUCT = {
    "logs_gb", "logs_gb_month", "nat_gateway_gb", "nat_gateway_hour", "zone_transfer_gb", "internet_transfer_gb",
}  # fmt: skip
# So that there are several pages.
PAGE = 1


class PriceList(ThreadingHTTPServer):
    """`GetProducts` with the recorded products."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.denies = False
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        assert self.headers["x-amz-target"] == "AWSPriceListService.GetProducts"
        if self.server.denies:
            self.reply(400, {"__type": "AccessDeniedException", "message": "no"})
            return
        found = [json.dumps(one) for one in PRODUCTS if is_meant(one, asked)]
        start = int(asked.get("NextToken", 0))
        answer = {"FormatVersion": "aws_v1", "PriceList": found[start : start + PAGE]}
        if start + PAGE < len(found):
            answer["NextToken"] = str(start + PAGE)
        self.reply(200, answer)

    def reply(self, status, answer):
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.1")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def is_meant(product, asked):
    described = {"productFamily": product["product"].get("productFamily"), **product["product"]["attributes"]}
    filters = asked["Filters"]
    assert all(one["Type"] == "TERM_MATCH" for one in filters)
    right = all(described.get(one["Field"]) == one["Value"] for one in filters)
    return product["serviceCode"] == asked["ServiceCode"] and right


@pytest.fixture
def aws():
    moto, prices = Moto(), PriceList()
    captures = {"EC2": Capture(moto.endpoint), "PRICING": Capture(prices.endpoint)}
    yield moto, prices, captures
    for capture in captures.values():
        capture.stop()
    prices.shutdown()
    moto.stop()


def rows(path):
    lines = [line.split(",") for line in path.read_text().splitlines() if not line.startswith("#")]
    return {tuple(line[:1] if path.name == "instance-types.csv" else line[:2]): line for line in lines}


def run(aws, folder, *arguments):
    _, _, captures = aws
    names = {f"AWS_ENDPOINT_URL_{name}": capture.endpoint for name, capture in captures.items()}
    return subprocess.run(
        [TRUNNION.with_name("catalog-update"), "--folder", folder, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), **names, **CREDENTIALS},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """The tables, with the prices of two families."""
    for path in DATA.glob("*.csv"):
        shutil.copy(path, tmp_path)
    table = tmp_path / "on-demand-prices.csv"
    table.write_text("# stale\np4d.24xlarge,us-east-1,1,list,K\np4d.24xlarge,mars-1,1,list,K\n")
    return tmp_path


def test_the_tables_are_those_of_the_answers(aws, folder):
    ended = run(aws, folder, "--region", "us-east-1", "--family", "t3")
    assert ended.returncode == 1, ended.stderr
    assert "no product for" in ended.stderr
    assert all(item in ended.stderr.splitlines()[-1] for item in WITHOUT_PRODUCT), ended.stderr
    assert "gone: p4d.24xlarge,mars-1" in ended.stderr

    # Types: another program wrote the present table from the same copy.
    present, now = rows(DATA / "instance-types.csv"), rows(folder / "instance-types.csv")
    differing = {name for name in now if now[name] != present[name]}
    assert len(now) > 700 and len(differing) <= FROM_PAGES, differing
    assert all(now[name][:4] == present[name][:4] for name in differing)

    found = {key: line[2:] for key, line in rows(folder / "on-demand-prices.csv").items()}
    assert found == {
        ("p4d.24xlarge", "us-east-1"): ["32.7726", "list", "P"],
        ("t3.medium", "us-east-1"): ["0.0416", "list", "P"],
    }
    assert "# source P: 2026-08-10: AWS's price list" in (folder / "on-demand-prices.csv").read_text()

    present, now = rows(DATA / "other-prices.csv"), rows(folder / "other-prices.csv")
    kept = {key: line for key, line in now.items() if key[0] in WITHOUT_PRODUCT}
    assert kept == {key: line for key, line in present.items() if key[0] in WITHOUT_PRODUCT}
    assert {key: line[2] for key, line in now.items() if key not in kept} == {
        ("fargate_gb_hour", "us-east-1"): "0.004445",
        ("fargate_vcpu_hour", "us-east-1"): "0.04048",
        ("gp3_gb_month", "eu-west-1"): "0.088",
        ("gp3_gb_month", "us-east-1"): "0.08",
        ("public_ipv4_hour", "eu-west-1"): "0.005",
        ("s3_gb_month", "us-east-1"): "0.023",
    }

    moto, _, captures = aws
    session = boto3.session.Session(*CREDENTIALS.values())
    market = session.client("ec2", region_name="us-east-1", endpoint_url=moto.endpoint)
    prices = {}
    for page in market.get_paginator("describe_spot_price_history").paginate(ProductDescriptions=["Linux/UNIX"]):
        for price in page["SpotPriceHistory"]:
            if price["InstanceType"].split(".")[0] in {"p4d", "t3"}:
                prices.setdefault(price["InstanceType"], []).append(Decimal(price["SpotPrice"]))
    spot = {key[0]: Decimal(line[2]) for key, line in rows(folder / "spot-prices.csv").items()}
    assert prices and spot == {name: statistics.median(of) for name, of in prices.items()}

    calls = [call for capture in captures.values() for call in capture.calls]
    assert {models.operation(call) for call in calls} == {
        "ec2:DescribeInstanceTypes", "ec2:DescribeSpotPriceHistory", "pricing:GetProducts",
    }  # fmt: skip
    assert [one for call in calls for one in models.of_request(call, *models.operation(call).split(":"))] == []


def test_nothing_is_written_unless_every_answer_is_there(aws, folder):
    before = {path.name: path.read_text() for path in folder.glob("*.csv")}
    aws[1].denies = True
    ended = run(aws, folder, "--region", "us-east-1")
    assert ended.returncode == 1 and "AccessDeniedException" in ended.stderr, ended.stderr
    aws[1].denies = False
    ended = run(aws, folder, "--region", "us-east-1", "--family", "t99")
    assert ended.returncode == 1 and "`t99` is the family of no instance type" in ended.stderr, ended.stderr
    assert {path.name: path.read_text() for path in folder.glob("*.csv")} == before
