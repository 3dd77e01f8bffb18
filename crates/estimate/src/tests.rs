//! Each limit alone, a bill by hand, and what holds for every input.

use proptest::prelude::*;
use rust_decimal::Decimal;
use trunnion_catalog::{instance_type, prices::Item};

use crate::{
    Bill, Billed, Budget, Bytes, Comparison, Constraints, Host, Limit, Market, Mode, NatGateway, NoChoice, Per, Period,
    Pool, Prices, Route, Targets, Total, Tracking, Traffic, Use, Verdict, Workload, growth, held, managed, size,
};

fn decimal(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

/// A large host without any limit of EC2.
fn large() -> Host {
    Host {
        instance_type: instance_type("c6in.32xlarge").unwrap(),
        interfaces: 8,
        addresses: 30,
        public_addresses: 0,
        mode: Mode::Kernel,
        tracking: Tracking::Untracked,
        ports: 64_511,
        route: Route::Other,
        nat_gateway: None,
    }
}

/// Users that hold a connection and send nothing.
fn idle() -> Workload {
    Workload { requests_per_second_per_user: Decimal::ZERO, memory_margin_percent: 0, ..Workload::default() }
}

fn bound(host: &Host, workload: &Workload, limit: Limit) -> u64 {
    let capacity = host.capacity(1, workload, None);
    capacity.bounds.iter().find(|bound| bound.limit == limit).unwrap().virtual_users
}

#[test]
fn ports_count_for_each_address_and_target() {
    let to = |targets| Workload { targets, ..idle() };
    let one = to(Targets { private: 1, public: 0 });
    assert_eq!(bound(&large(), &one, Limit::SourcePorts), 210 * 64_509 - 4);
    let three = to(Targets { private: 3, public: 0 });
    assert_eq!(bound(&large(), &three, Limit::SourcePorts), 3 * (210 * 64_509 - 4));
    let two_each = Workload { connections_per_user: 2, ..one.clone() };
    assert_eq!(bound(&large(), &two_each, Limit::SourcePorts), 105 * 64_509 - 2);
    let off = Host { mode: Mode::Off, ..large() };
    assert_eq!(bound(&off, &three, Limit::SourcePorts), 3 * (64_509 - 4));
    let simulation = Host { mode: Mode::Simulation, ..large() };
    assert_eq!(bound(&simulation, &three, Limit::SourcePorts), 210 * 64_509 - 4, "a port is taken towards all targets");
}

#[test]
fn public_targets_need_public_addresses_or_a_way_for_all() {
    let public = Workload { targets: Targets { private: 0, public: 2 }, ..idle() };
    let behind = |route, public_addresses| Host { public_addresses, route, ..large() };
    assert_eq!(bound(&behind(Route::InternetGateway, 4), &public, Limit::PublicSourcePorts), 2 * (4 * 64_509 - 4));
    assert_eq!(behind(Route::InternetGateway, 0).capacity(1, &public, None).binds, Some(Limit::Route));
    assert_eq!(behind(Route::None, 4).capacity(3, &public, None).virtual_users, 0);
    let nat = behind(Route::Nat, 0).capacity(3, &public, None);
    assert_eq!((nat.virtual_users, nat.binds), (2 * 55_000, Some(Limit::NatGateway)), "for all hosts together");
    let simulation = Host { mode: Mode::Simulation, ..behind(Route::Other, 4) };
    assert_eq!(simulation.capacity(1, &public, None).virtual_users, 0);
    // Users are spread evenly, so the target with the fewest ways to it limits the others, too.
    let both = Workload { targets: Targets { private: 9, public: 1 }, ..idle() };
    let host = behind(Route::InternetGateway, 1);
    assert_eq!(host.capacity(1, &both, None).virtual_users, 10 * 64_505);
}

#[test]
fn memory_holds_what_one_jvm_was_measured_to_hold() {
    // Users, their resident memory with Gatling's own, and the kernel's at both ends: idle WebSocket users of two runs, and HTTP
    // users with a request in flight.
    for (users, resident, kernel) in [(640_000, 6_185, 8_408), (100_000, 7_378, 8_301), (100_000, 7_947, 8_295)] {
        let memory = users * (resident + kernel / 2) + crate::SYSTEM_BYTES;
        let predicted = crate::users_in(memory, &idle());
        assert!((users / 10 * 9..=users).contains(&predicted), "{predicted} of {users}");
    }
    let with_margin = Workload { memory_margin_percent: 100, ..idle() };
    assert!(crate::users_in(8 << 30, &with_margin) < crate::users_in(8 << 30, &idle()) * 2 / 3);
    assert_eq!(crate::users_in(0, &with_margin), 0);
    assert_eq!(crate::users_in_heap(120_000 * 6_100, &idle()), 120_000);
}

#[test]
fn cpu_and_bandwidth_follow_the_rate() {
    let rate = |rate: &str| Workload { requests_per_second_per_user: decimal(rate), ..Workload::default() };
    assert_eq!(bound(&large(), &rate("1"), Limit::Cpu), 128 * 500_000 / 33);
    assert_eq!(bound(&large(), &rate("0.5"), Limit::Cpu), 128 * 1_000_000 / 33);
    assert_eq!(bound(&large(), &rate("1"), Limit::Bandwidth), 200_000_000_000 / 100 * 90 / 80_000);
    let public = Workload { targets: Targets { private: 0, public: 1 }, ..rate("1") };
    let gateway = Host { route: Route::InternetGateway, public_addresses: 240, ..large() };
    assert_eq!(bound(&gateway, &public, Limit::Bandwidth), 100_000_000_000 / 100 * 90 / 80_000);
    let small = Host { instance_type: instance_type("c6in.4xlarge").unwrap(), ..gateway };
    assert_eq!(bound(&small, &public, Limit::Bandwidth), 5_000_000_000 / 100 * 90 / 80_000);
    let idle = large().capacity(1, &idle(), None);
    assert!(idle.bounds.iter().all(|bound| !matches!(bound.limit, Limit::Cpu | Limit::Bandwidth)));
}

#[test]
fn ec2_is_known_to_track_a_hundred_thousand() {
    let tracked = Host { tracking: Tracking::Tracked, ..large() };
    let capacity = tracked.capacity(2, &idle(), None);
    assert_eq!((capacity.virtual_users, capacity.binds), (200_000, Some(Limit::ConnectionTracking)));
    assert_eq!(capacity.lifted_by.as_deref(), Some("`tracking: untracked`"));
    let none = large().capacity(0, &idle(), None);
    assert_eq!((none.virtual_users, none.binds, none.bounds.len()), (0, None, 0));
}

#[test]
fn a_bill_is_exact() {
    let of = |billed, quantity: &str, per| Use { of: "x".into(), count: 3, billed, quantity: decimal(quantity), per };
    let uses = [
        of(Billed::Instance("c6in.32xlarge".into(), Market::OnDemand), "1", Per::Hour),
        of(Billed::Item(Item::Gp3GbMonth), "100", Per::Month),
        of(Billed::Item(Item::InternetTransferGb), "2.5", Per::HourOfLoad),
    ];
    let workload = Workload { hours_per_month: 10, ..Workload::default() };
    let bill = Bill::new(uses.clone(), &Prices::of_region("us-east-1"), &workload);
    let amounts: Vec<_> = bill.lines.iter().map(|line| (line.hourly.unwrap(), line.monthly.unwrap())).collect();
    // 3 × 7.2576; 3 × 100 × 0.08 = 24 a month; 3 × 2.5 × 0.09 = 0.675 an hour of load.
    let hourly = ["21.7728", "0.032877", "0.675"].map(decimal);
    let monthly = ["15894.144", "24", "6.75"].map(decimal);
    assert_eq!(amounts, hourly.into_iter().zip(monthly).collect::<Vec<_>>());
    assert_eq!((bill.total.hourly, bill.total.monthly), (decimal("22.480677"), decimal("15924.894")));
    assert!(bill.total.unpriced.is_empty());

    let euros = Prices {
        currency: "EUR".into(),
        exchange_rate: decimal("0.9"),
        discount_percent: decimal("50"),
        ..Prices::of_region("us-east-1")
    };
    let bill = Bill::new(uses.clone(), &euros, &workload);
    assert_eq!(bill.lines[0].hourly, Some(decimal("9.79776")), "the discount is of instances");
    assert_eq!(bill.lines[1].monthly, Some(decimal("21.6")));

    let bill = Bill::new(uses, &Prices::of_region("eu-central-2"), &workload);
    let units: Vec<_> = bill.total.unpriced.iter().map(|(item, units)| (item.as_str(), *units)).collect();
    let expected = [("c6in.32xlarge", "3"), ("gp3_gb_month", "300"), ("internet_transfer_gb", "7.5")];
    assert_eq!(units, expected.map(|(item, units)| (item, decimal(units))));
    assert!(
        bill.total.has_more_unpriced(&Total {
            unpriced: [("c6in.32xlarge".into(), Decimal::TWO)].into(),
            ..Total::default()
        })
    );
    assert_eq!(bill.total.hourly, Decimal::ZERO);
    assert!(bill.unpriced[1].elsewhere.as_ref().unwrap().starts_with("USD 0.096 in ap-northeast-1"));
}

#[test]
fn a_spot_price_without_a_source_is_the_on_demand_price() {
    let prices = Prices::of_region("us-east-1");
    let spot = prices.instance("c6in.8xlarge", Market::Spot).unwrap();
    assert!(spot.amount < prices.instance("c6in.8xlarge", Market::OnDemand).unwrap().amount);
    let discounted = Prices { discount_percent: decimal("90"), ..prices.clone() };
    assert_eq!(discounted.instance("c6in.32xlarge", Market::Spot).unwrap().amount, decimal("7.2576"));
    let bound = prices.instance("c6in.32xlarge", Market::Spot).unwrap();
    assert_eq!(bound.amount, decimal("7.2576"));
    assert!(bound.source.to_string().contains("never exceeds"));
}

#[test]
fn traffic_is_charged_by_its_way() {
    let workload = Workload {
        bytes_per_request: Bytes::Each { sent: 1 << 20, received: 3 << 20 },
        targets: Targets { private: 1, public: 3 },
        other_zone_percent: 50,
        ..Workload::default()
    };
    let uses = Traffic { requests_per_second: 1_024.into(), is_behind_nat: true }.uses("traffic", &workload);
    let quantity = |item| uses.iter().find(|one| one.billed == Billed::Item(item)).unwrap().quantity.normalize();
    // 3,600 GiB an hour are sent, three times as much comes back; a quarter of it to private targets.
    assert_eq!(quantity(Item::ZoneTransferGb), decimal("3600"), "a quarter of 14,400, half of that, at both ends");
    assert_eq!(quantity(Item::InternetTransferGb), decimal("2700"));
    assert_eq!(quantity(Item::NatGatewayGb), decimal("10800"));
}

#[test]
fn a_budget_names_what_exceeds_it_or_that_it_cannot_tell() {
    let bill = |region: &str| {
        let uses = [
            Use {
                of: "instance.heavy".into(),
                count: 4,
                billed: Billed::Instance("c6in.32xlarge".into(), Market::OnDemand),
                quantity: Decimal::ONE,
                per: Per::Hour,
            },
            Use {
                of: "ecs_service".into(),
                count: 1,
                billed: Billed::Item(Item::FargateVcpuHour),
                quantity: Decimal::ONE,
                per: Per::Hour,
            },
        ];
        Bill::new(uses, &Prices::of_region(region), &Workload::default())
    };
    let hourly = |limit: &str| Budget { hourly: Some(decimal(limit)), monthly: None };
    assert_eq!(hourly("29.07088").check(&bill("us-east-1")), Verdict::Within, "the limit itself is allowed");
    let Verdict::Exceeded { period: Period::Hourly, most: Some(most), .. } = hourly("29").check(&bill("us-east-1"))
    else {
        panic!("29 is less than it costs")
    };
    assert_eq!(most.of, "instance.heavy");
    let Verdict::CannotTell(unpriced) = hourly("40").check(&bill("eu-west-3")) else { panic!("Fargate is unpriced") };
    assert_eq!(unpriced[0].key, "fargate_vcpu_hour: …");
    assert!(matches!(hourly("1").check(&bill("eu-west-3")), Verdict::Exceeded { .. }));
    assert_eq!(Budget::default().check(&bill("eu-west-3")), Verdict::Within, "no budget, nothing to tell");
}

#[test]
fn the_cheapest_change_may_cost_nothing() {
    let pool = |host, count| Pool {
        name: "heavy".into(),
        host,
        count,
        market: Market::OnDemand,
        volume_gib: 30,
        keeps_hosts: false,
        room: None,
    };
    let prices = Prices::of_region("us-east-1");
    let narrow = pool(Host { interfaces: 2, addresses: 1, ..large() }, 1);
    assert_eq!(held(std::slice::from_ref(&narrow), &idle()), 64_505);
    let free = growth(&[narrow], 1_000_000, &idle(), &prices).unwrap();
    assert_eq!((free.hourly, free.pool.count), (Some(Decimal::ZERO), 1));
    assert!(free.keys.iter().any(|key| key.starts_with("addresses")), "{:?}", free.keys);
    let busy = Workload::default();
    let more = growth(&[pool(large(), 1)], 3_000_000, &busy, &prices).unwrap();
    assert!(more.hourly <= Some(decimal("7.2609")) && more.virtual_users >= 3_000_000, "{more:?}");
    assert_eq!(growth(&[pool(large(), 1)], u64::MAX, &busy, &prices), None);
}

#[test]
fn a_change_costs_its_volumes_too_and_what_has_no_price_is_said() {
    let pool = |count, volume_gib| {
        let host = Host { addresses: 50, interfaces: 15, ..large() };
        Pool { name: "heavy".into(), host, count, market: Market::OnDemand, volume_gib, keeps_hosts: true, room: None }
    };
    let busy = Workload::default();
    let needed = held(&[pool(2, 0)], &busy);
    let prices = Prices::of_region("us-east-1");
    let host = prices.instance("c6in.32xlarge", Market::OnDemand).unwrap().amount;
    for gib in [0, 30, 16_384] {
        let one_more = growth(&[pool(1, gib)], needed, &busy, &prices).unwrap();
        let volume = decimal("0.08") * Decimal::from(gib) / decimal("730");
        assert_eq!((one_more.hourly, one_more.has_unpriced), (Some(host + volume), false));
    }
    // Where nothing has a price, a change is known all the same.
    let nowhere = Prices { region: "nowhere".to_owned(), ..prices.clone() };
    let one_more = growth(&[pool(1, 30)], needed, &busy, &nowhere).unwrap();
    assert_eq!((one_more.keys.as_slice(), one_more.hourly), (["count: 2".to_owned()].as_slice(), None));
    assert!(one_more.has_unpriced);
    // What does not fit into the subnet is no change.
    let fits = |room| growth(&[Pool { room: Some(room), ..pool(1, 30) }], needed, &busy, &prices).is_some();
    assert!(fits(2 * 15 * 50) && !fits(2 * 15 * 50 - 1));
}

#[test]
fn no_more_public_addresses_are_proposed_than_are_needed() {
    let public = Workload { targets: Targets { private: 0, public: 20 }, ..idle() };
    let prices = Prices::of_region("us-east-1");
    for (interfaces, users) in (2..=8).flat_map(|interfaces| (3..40).map(move |step| (interfaces, step * 100_000))) {
        let host = Host {
            interfaces,
            addresses: 10,
            public_addresses: 1,
            route: Route::InternetGateway,
            instance_type: instance_type("c6in.8xlarge").unwrap(),
            ..large()
        };
        let pool = Pool {
            name: "heavy".into(),
            host,
            count: 1,
            market: Market::OnDemand,
            volume_gib: 30,
            keeps_hosts: false,
            room: None,
        };
        let Some(growth) = growth(std::slice::from_ref(&pool), users, &public, &prices) else { continue };
        let after = &growth.pool;
        for fewer in 1..after.host.public_addresses {
            let fewer = Host { public_addresses: fewer, ..after.host.clone() };
            let holds = fewer.capacity(after.count, &public, None).virtual_users;
            assert!(holds < users, "{} are enough: {growth:?}", fewer.public_addresses);
        }
    }
}

#[test]
fn hosts_that_must_stay_are_joined_by_others() {
    let pool = |keeps_hosts| {
        let host = Host { interfaces: 2, addresses: 1, ..large() };
        Pool { name: "heavy".into(), host, count: 2, market: Market::OnDemand, volume_gib: 30, keeps_hosts, room: None }
    };
    let prices = Prices::of_region("us-east-1");
    let more = growth(&[pool(true)], 500_000, &idle(), &prices).unwrap();
    assert_eq!(more.keys, ["count: 8"], "{more:?}");
    let others = growth(&[pool(false)], 500_000, &idle(), &prices).unwrap();
    assert!(others.hourly < more.hourly, "{others:?}");
}

#[test]
fn hosts_behind_one_nat_gateway_share_it() {
    let public = Workload { targets: Targets { private: 0, public: 2 }, ..idle() };
    let host = Host { route: Route::Nat, ..large() };
    assert_eq!(crate::held_by([(&host, 1), (&host, 3)], &public), 110_000);
    let of_gateway = |id: &str, addresses| {
        let nat_gateway = Some(NatGateway { id: id.to_owned(), addresses, public_addresses: addresses });
        Host { nat_gateway, ..host.clone() }
    };
    let (one, other) = (of_gateway("nat-1", 1), of_gateway("nat-2", 3));
    assert_eq!(crate::held_by([(&one, 1), (&one, 3)], &public), 110_000);
    assert_eq!(crate::held_by([(&one, 1), (&other, 1), (&one, 1)], &public), 440_000);
    assert_eq!(crate::held_by([(&host, 1), (&large(), 1)], &idle()), held_alone(&host) + held_alone(&large()));
}

fn held_alone(host: &Host) -> u64 {
    host.capacity(1, &idle(), None).virtual_users
}

#[test]
fn ec2_tracks_the_public_addresses_of_the_primary_interface() {
    let public = Workload { targets: Targets { private: 0, public: 100 }, ..idle() };
    let with = |public_addresses| Host { public_addresses, route: Route::InternetGateway, ..large() };
    // One of one, one of eight, two of nine addresses are on the primary interface.
    for (addresses, users) in [(1, 100_000), (8, 800_000), (9, 450_000)] {
        assert_eq!(bound(&with(addresses), &public, Limit::ConnectionTracking), users);
    }
}

#[test]
fn a_heap_is_what_its_users_need() {
    for users in [1, 1_000, 1_000_000] {
        let heap = crate::heap_for(users, &Workload::default());
        assert_eq!(crate::users_in_heap(heap, &Workload::default()), users);
        assert!(crate::users_in_heap(heap - 1, &Workload::default()) < users);
    }
}

#[test]
fn a_change_keeps_hosts_reachable_and_takes_no_more_than_it_needs() {
    let host = Host { interfaces: 1, addresses: 1, public_addresses: 1, route: Route::InternetGateway, ..large() };
    let pool = Pool {
        name: "heavy".into(),
        host: Host { tracking: Tracking::Tracked, ..host },
        count: 1,
        market: Market::OnDemand,
        volume_gib: 30,
        keeps_hosts: false,
        room: None,
    };
    let prices = Prices::of_region("us-east-1");
    let two = growth(std::slice::from_ref(&pool), 80_000, &idle(), &prices).unwrap();
    assert!(two.hourly <= Some(Decimal::ZERO), "{two:?}");
    assert_eq!((two.pool.host.interfaces, two.pool.host.addresses), (1, 2));
    let many = growth(&[pool], 5_000_000, &idle(), &prices).unwrap();
    assert!(many.keys.contains(&"public_ip: true".to_owned()) || many.pool.host.interfaces == 1, "{:?}", many.keys);
}

#[test]
fn no_pool_is_an_answer() {
    let workload = Workload::default();
    let of = |region: &str, constraints: &Constraints| size(1_000, &workload, constraints, &Prices::of_region(region));
    assert_eq!(of("mars-north-1", &Constraints::default()), Err(NoChoice::Unpriced));
    let impossible = Constraints { most_hosts: 1, families: vec!["c6g.medium".into()], ..Constraints::default() };
    let huge = size(100_000_000, &workload, &impossible, &Prices::of_region("us-east-1"));
    assert!(matches!(huge, Err(NoChoice::TooSmall(Some(_)))));
}

#[test]
fn managed_generators_are_compared_by_credits() {
    let one = managed(&Workload::default());
    assert_eq!((one.virtual_users, one.binds), (60_606, Some(Limit::Cpu)));
    let prices = Prices::of_region("us-east-1");
    let compared = Comparison::new(2_000_000, 4, decimal("30"), &Workload::default(), &prices).unwrap();
    assert_eq!(
        (compared.managed_generators, compared.managed_credits_per_hour, compared.credits_per_hour),
        (34, 2_040, 240)
    );
    assert_eq!((compared.managed_hourly, compared.cheaper_from_credit), (None, Some(decimal("0.016667"))));
    let with_credit = Prices { gatling_credit: Some(decimal("0.1")), ..prices };
    let compared = Comparison::new(2_000_000, 4, decimal("30"), &Workload::default(), &with_credit).unwrap();
    assert_eq!((compared.managed_hourly, compared.hourly), (Some(decimal("204.0")), Some(decimal("54.0"))));
}

proptest! {
    #[test]
    fn more_never_holds_less(
        (interfaces, addresses, hosts) in (2..16_u32, 1..50_u32, 1..1_000_u32),
        (connections, private, public) in (1..100_u32, 0..1_000_u32, 0..1_000_u32),
        (rate, bytes, memory) in (0..1_000_000_u32, 0..u32::MAX, 1..u32::MAX),
    ) {
        let workload = Workload {
            connections_per_user: connections,
            requests_per_second_per_user: Decimal::new(rate.into(), 6),
            bytes_per_request: Bytes::Together(bytes.into()),
            targets: Targets { private: private + 1, public },
            memory_per_user: memory.into(),
            ..Workload::default()
        };
        let host = Host { interfaces, addresses, public_addresses: 1, route: Route::InternetGateway, ..large() };
        let held = host.capacity(hosts, &workload, None);
        prop_assert!(held.bounds.iter().all(|bound| bound.virtual_users >= held.virtual_users));
        let wider = Host { addresses: addresses + 1, ..host.clone() };
        prop_assert!(wider.capacity(hosts, &workload, None).virtual_users >= held.virtual_users);
        prop_assert!(host.capacity(hosts + 1, &workload, None).virtual_users >= held.virtual_users);
    }
}
