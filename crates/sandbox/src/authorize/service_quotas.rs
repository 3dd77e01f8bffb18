//! The permissions of Service Quotas' calls. Only one has a resource (Service Authorization
//! Reference, read November 2026).

use super::{Row, Scene, Target, any};

pub(super) const PERMISSIONS: &[Row] = &[
    ("GetAWSDefaultServiceQuota", &[("servicequotas:GetAWSDefaultServiceQuota", any)]),
    ("GetServiceQuota", &[("servicequotas:GetServiceQuota", quota)]),
    ("ListServiceQuotas", &[("servicequotas:ListServiceQuotas", any)]),
];

fn quota(scene: &Scene<'_>) -> Vec<Target> {
    let (Some(service), Some(code)) = (scene.text("ServiceCode"), scene.text("QuotaCode")) else { return Vec::new() };
    let target = Target::of("quota", scene.arn("servicequotas", &format!("{service}/{code}")));
    vec![target.with("servicequotas:service", service)]
}
