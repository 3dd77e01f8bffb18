//! The quotas of vCPUs, and which instance types share one.

/// A quota of the vCPUs that run on demand, with that of spot requests, for the instance types that share it.
///
/// The groups and the codes on demand are those of the EC2 User Guide ("On-Demand Instance quotas"), the codes of spot requests
/// those of outputs of `ListServiceQuotas` in public repositories; read November 2026.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VcpuQuota {
    /// The letters before the first digit of the types' names.
    families: &'static [&'static str],
    /// AWS's name of the group: `Standard`, `G and VT`.
    pub group: &'static str,
    /// The code in Service Quotas of what runs on demand.
    pub on_demand: &'static str,
    /// The code of spot requests; nothing where the types are not offered as spot instances.
    pub spot: Option<&'static str>,
}

impl VcpuQuota {
    /// Every quota.
    pub const ALL: [Self; 10] = [
        Self {
            families: &["a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"],
            group: "Standard",
            on_demand: "L-1216C47A",
            spot: Some("L-34B43A08"),
        },
        Self { families: &["dl"], group: "DL", on_demand: "L-6E869C2A", spot: Some("L-85EED4F7") },
        Self { families: &["f"], group: "F", on_demand: "L-74FC7D96", spot: Some("L-88CF9481") },
        Self { families: &["g", "gr", "vt"], group: "G and VT", on_demand: "L-DB2E81BA", spot: Some("L-3819A6DF") },
        Self { families: &["hpc"], group: "HPC", on_demand: "L-F7808C92", spot: None },
        Self { families: &["inf"], group: "Inf", on_demand: "L-1945791B", spot: Some("L-B5D1601B") },
        Self { families: &["p"], group: "P", on_demand: "L-417A185B", spot: Some("L-7212CCBC") },
        Self { families: &["trn"], group: "Trn", on_demand: "L-2C3B7624", spot: Some("L-6B0D517C") },
        Self { families: &["u"], group: "High Memory", on_demand: "L-43DA4232", spot: None },
        Self { families: &["x"], group: "X", on_demand: "L-7295265B", spot: Some("L-E3A00192") },
    ];

    /// The quota of an instance type, such as `c6in.32xlarge`; nothing for one that no quota of vCPUs counts, such as a Mac.
    pub fn of(instance_type: &str) -> Option<&'static Self> {
        let family = instance_type.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
        Self::ALL.iter().find(|quota| quota.families.contains(&family))
    }

    /// The code in Service Quotas.
    pub fn code(&self, is_spot: bool) -> Option<&'static str> {
        if is_spot { self.spot } else { Some(self.on_demand) }
    }

    /// Which instances it counts: `On-Demand Standard instances`, `Standard spot requests`.
    pub fn counts(&self, is_spot: bool) -> String {
        if is_spot { format!("{} spot requests", self.group) } else { format!("On-Demand {} instances", self.group) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_the_catalog_has_a_quota() {
        for one in crate::instance_types() {
            assert!(VcpuQuota::of(one.name).is_some(), "{}", one.name);
        }
    }

    #[test]
    fn families_that_begin_with_letters_of_others_have_their_own() {
        for (name, group) in [
            ("c6in.32xlarge", Some("Standard")),
            ("im4gn.large", Some("Standard")),
            ("inf2.xlarge", Some("Inf")),
            ("gr6.4xlarge", Some("G and VT")),
            ("trn1.2xlarge", Some("Trn")),
            ("hpc7g.4xlarge", Some("HPC")),
            ("dl1.24xlarge", Some("DL")),
            ("u-6tb1.56xlarge", Some("High Memory")),
            ("u7i-12tb.224xlarge", Some("High Memory")),
            ("mac2.metal", None),
            ("", None),
        ] {
            assert_eq!(VcpuQuota::of(name).map(|quota| quota.group), group, "{name}");
        }
    }
}
