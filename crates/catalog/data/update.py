#!/usr/bin/env python3
"""Writes instance-types.csv from moto's copy of DescribeInstanceTypes and the measured table below.

Run with moto installed: python3 crates/catalog/data/update.py > crates/catalog/data/instance-types.csv
"""
import datetime
import gzip
import json
import pathlib
import re

import moto

# What AWS's pricing page and type pages said on 2026-07-20 for us-east-1; wins over moto.
# type: (peak Gbit/s, baseline Gbit/s, interfaces per card, IPv4 per interface)
MEASURED = {
    "c5n.9xlarge": (50, 50, "8", 30),
    "c5n.18xlarge": (100, 100, "15", 50),
    "c6in.4xlarge": (50, 25, "8", 30),
    "c6in.8xlarge": (50, 50, "8", 30),
    "c6in.16xlarge": (100, 100, "15", 50),
    "c6in.32xlarge": (200, 200, "8+8", 50),
    "c7gn.4xlarge": (50, 50, "8", 30),
    "c7gn.8xlarge": (100, 100, "8", 30),
    "c7gn.16xlarge": (200, 200, "15", 50),
    "c8gn.16xlarge": (200, 200, "16", 50),
    "c8gn.24xlarge": (300, 300, "24", 50),
    "c8gn.48xlarge": (600, 600, "12+12", 50),
    "c7i.xlarge": (12.5, 1.562, "4", 15),
    "c7i.8xlarge": (12.5, 12.5, "8", 30),
    "c7i.24xlarge": (37.5, 37.5, "15", 50),
    "c7i.48xlarge": (50, 50, "15", 50),
    "m6in.32xlarge": (200, 200, "8+8", 50),
}


def bandwidth(network):
    """(baseline, peak) in Mbit/s of all cards together; the words of AWS win over the sum of the cards."""
    cards = network["NetworkCards"]
    baseline = sum(card["BaselineBandwidthInGbps"] for card in cards)
    peak = sum(card["PeakBandwidthInGbps"] for card in cards)
    words = re.fullmatch(r"(Up to )?(?:(\d+)x )?([\d.]+) Gigabit", network["NetworkPerformance"])
    if words:
        peak = float(words[3]) * int(words[2] or 1)
        baseline = min(baseline, peak) if words[1] else peak
    return round(baseline * 1000), round(peak * 1000)


def main():
    source = pathlib.Path(moto.__path__[0]) / "ec2/resources/instance_types.json.gz"
    types = json.loads(gzip.decompress(source.read_bytes()))
    print("# EC2 instance types: what DescribeInstanceTypes says of them, sorted by name. Made by update.py, not by hand.")
    print(f"# Taken on {datetime.date.today()} from moto {moto.__version__} (moto/ec2/resources/instance_types.json.gz,")
    print("# Apache License 2.0, https://github.com/getmoto/moto); bandwidth, interfaces and addresses of")
    print("# the types that load generators run on: AWS's pages for us-east-1, 2026-07-20.")
    print("# name,architecture,vcpu,memory_mib,baseline_mbps,peak_mbps,interfaces per card,ipv4 per interface")
    for name, facts in sorted(types.items()):
        architectures = facts["ProcessorInfo"]["SupportedArchitectures"]
        architecture = next((a for a in ("x86_64", "arm64") if a in architectures), None)
        if architecture is None:
            continue  # macOS hosts, which cannot run the generator
        network = facts["NetworkInfo"]
        baseline, peak = bandwidth(network)
        cards = "+".join(str(card["MaximumNetworkInterfaces"]) for card in network["NetworkCards"])
        ipv4 = network["Ipv4AddressesPerInterface"]
        if name in MEASURED:
            peak, baseline, cards, ipv4 = MEASURED[name]
            baseline, peak = round(baseline * 1000), round(peak * 1000)
        vcpu, memory = facts["VCpuInfo"]["DefaultVCpus"], facts["MemoryInfo"]["SizeInMiB"]
        print(f"{name},{architecture},{vcpu},{memory},{baseline},{peak},{cards},{ipv4}")


main()
