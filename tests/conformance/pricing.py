"""The model of capacity and cost, written a second time: with fractions, without search, and from the tables themselves."""

from dataclasses import dataclass
from fractions import Fraction

from stage import ROOT

DATA = ROOT / "crates" / "catalog" / "data"
PORTS = 65_535 - 1_024 + 1 - 1  # the widest range without the metrics port
HOURS = 730


def rows(name):
    lines = (DATA / name).read_text().splitlines()
    return [line.split(",") for line in lines if not line.startswith("#")]


@dataclass(frozen=True)
class Type:
    name: str
    arch: str
    vcpu: int
    memory: int
    mbps: int
    interfaces: int
    addresses: int


def types():
    found = []
    for name, arch, vcpu, mib, baseline, _, cards, addresses in rows("instance-types.csv"):
        interfaces = sum(int(card) for card in cards.split("+"))
        found.append(Type(name, arch, int(vcpu), int(mib) << 20, int(baseline), interfaces, int(addresses)))
    return found


TYPES = types()
ON_DEMAND = {(row[0], row[1]): Fraction(row[2]) for row in rows("on-demand-prices.csv")}
SPOT = {(row[0], row[1]): Fraction(row[2]) for row in rows("spot-prices.csv")}
OTHER = {(row[0], row[1]): Fraction(row[2]) for row in rows("other-prices.csv")}


@dataclass(frozen=True)
class Workload:
    users: int
    connections: int
    rate: Fraction
    size: int
    private: int
    public: int
    memory: int
    margin: int


def capacity(kind, hosts, interfaces, public_addresses, workload, tracked, network):
    """How many users these hosts hold, with all addresses of each interface."""
    of_all = of_network(workload, network)
    return min(hosts * of_one(kind, interfaces, public_addresses, workload, tracked, network), of_all)


def of_network(workload, network):
    """How many users the way to the targets holds, however many hosts there are."""
    targets = workload.private + workload.public
    return 55_000 * targets // workload.connections if workload.public and network == "nat-gateway" else 10**18


def reachable(addresses):
    """The first and the last port of an address are not always free, and the host has connections of its own."""
    return max(addresses * (PORTS - 2) - 4, 0)


def of_one(kind, interfaces, public_addresses, workload, tracked, network):
    """How many users one host holds."""
    targets = workload.private + workload.public
    spread = interfaces if tracked else max(interfaces - 1, 1)
    sources = spread * kind.addresses
    bounds = []
    if workload.private:
        bounds.append(reachable(sources) * targets // workload.connections)
    if workload.public:
        reaching = public_addresses if network == "internet-gateway" else sources
        bounds.append(reachable(reaching) * targets // workload.connections)
        if network == "internet-gateway" and not tracked and public_addresses:
            on_primary = -(-public_addresses // interfaces)
            followed = 100_000 * public_addresses // on_primary * targets // workload.public
            bounds.append(followed // workload.connections)
    visible = kind.memory // 10 * 9
    bounds.append(visible // 2 // 5_400 // workload.connections)
    if tracked:
        bounds.append(100_000 // workload.connections)
    each = workload.memory * (100 + workload.margin) // 100 + workload.connections * 4_204
    bounds.append(max(visible - (436 << 20), 0) // each)
    descriptors = min(max(sources * PORTS, 1_048_576), 1_073_741_816) - 130
    bounds.append(descriptors // workload.connections)
    if workload.rate:
        bounds.append(int(Fraction(kind.vcpu * 500_000, 33) / workload.rate))
        if workload.size:
            mbps = kind.mbps
            if network == "internet-gateway" and workload.public:
                mbps = mbps // 2 if kind.vcpu >= 32 else min(mbps, 5_000)
            bounds.append(int(Fraction(mbps * 900_000, workload.size * 8) / workload.rate))
    return min(bounds)


def cheapest(workload, region, *, arch, spot, tracked, one_may_fail, most_hosts, network):
    """The lowest cost for an hour of any pool: every type, every number of hosts, every number of public addresses."""
    volume = OTHER.get(("gp3_gb_month", region))
    if volume is None:
        return None
    spare = 1 if one_may_fail else 0
    best = None
    for kind in TYPES:
        price = ON_DEMAND.get((kind.name, region))
        if spot:
            price = SPOT.get((kind.name, region), price)
        if price is None or (arch and kind.arch != arch) or (not tracked and kind.interfaces < 2):
            continue
        fixed = price + volume * 30 / HOURS
        # Behind an internet gateway, a host without a public address cannot reach Gatling.
        public = range(1, kind.interfaces * kind.addresses + 1) if network == "internet-gateway" else [0]
        held = {number: of_one(kind, kind.interfaces, number, workload, tracked, network) for number in public}
        for hosts in range(1, most_hosts - spare + 1):
            if best is not None and (hosts + spare) * fixed >= best:
                break
            for number in public:
                if min(hosts * held[number], of_network(workload, network)) >= workload.users:
                    cost = (hosts + spare) * (fixed + number * OTHER["public_ipv4_hour", "*"])
                    best = cost if best is None else min(best, cost)
                    break
    return best
