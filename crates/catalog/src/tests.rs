//! The whole embedded table can be read, and lookups return what AWS's pages say.

use crate::{Architecture, instance_type, instance_types, nearest};

#[test]
fn every_line_of_the_file_is_read() {
    let text = include_str!("../data/instance-types.csv");
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(lines > 1000, "the file has only {lines} lines");
    assert_eq!(instance_types().count(), lines);
    for known in instance_types() {
        assert_eq!(instance_type(known.name), Some(known));
        assert!(known.max_interfaces() >= 1 && known.ipv4_per_interface >= 1, "{known:?}");
        assert!(known.baseline_mbps <= known.peak_mbps && known.peak_mbps > 0, "{known:?}");
    }
}

#[test]
fn facts_match_aws_pages() {
    let big = instance_type("c6in.32xlarge").unwrap();
    assert_eq!(big.architecture, Architecture::X86_64);
    assert_eq!((big.vcpu, big.memory_mib), (128, 256 * 1024));
    assert_eq!((big.baseline_mbps, big.peak_mbps), (200_000, 200_000));
    assert_eq!((big.cards.as_slice(), big.max_interfaces(), big.ipv4_per_interface), ([8, 8].as_slice(), 16, 50));
    let burst = instance_type("c7i.xlarge").unwrap();
    assert_eq!((burst.baseline_mbps, burst.peak_mbps), (1_562, 12_500));
    assert_eq!(instance_type("c8gn.48xlarge").unwrap().architecture.to_string(), "arm64");
    assert_eq!(instance_type("c6in.31xlarge"), None);
    assert_eq!(instance_type("mac1.metal"), None, "no generator runs on macOS");
}

#[test]
fn interface_limits_are_described_per_network_card() {
    assert_eq!(instance_type("c6in.32xlarge").unwrap().interfaces_in_words(), "16 (8 on each of 2 network cards)");
    assert_eq!(instance_type("c6in.16xlarge").unwrap().interfaces_in_words(), "15");
}

#[test]
fn a_larger_type_has_the_same_architecture_if_possible() {
    let small = instance_type("c7gn.16xlarge").unwrap();
    assert_eq!(small.larger(20, 50).unwrap().name, "c8gn.24xlarge");
    let intel = instance_type("c6in.8xlarge").unwrap();
    assert_eq!(intel.larger(16, 50).unwrap().name, "c8in.16xlarge");
    assert_eq!(intel.larger(20, 50).unwrap().architecture, Architecture::X86_64);
    let fast = instance_type("c6in.32xlarge").unwrap();
    assert!(fast.larger(20, 50).unwrap().baseline_mbps >= fast.baseline_mbps);
    assert_eq!(intel.larger(1000, 1), None);
    assert!(intel.fits(8, 30) && !intel.fits(9, 30) && !intel.fits(8, 31));
}

#[test]
fn a_mistyped_name_finds_the_nearest_type() {
    assert_eq!(nearest("c6in.32xlrage"), Some("c6in.32xlarge"));
    assert_eq!(nearest("C6IN.32XLARGE"), Some("c6in.32xlarge"));
    assert_eq!(nearest("enormous"), None);
    assert_eq!(nearest(&"c".repeat(1 << 20)), None);
}
