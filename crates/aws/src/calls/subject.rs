//! The stack that a policy is for, as far as ARNs and conditions need it.

use std::collections::BTreeSet;

use trunnion_catalog::Partition;
use trunnion_engine::{Graph, Map, Value};
use trunnion_kinds::{
    LaunchTemplate, LogGroup, S3Object, bucket_name, control_plane_name, former_role_name, iam_path, iam_prefix,
    lookup::{Image, Secret, Subnet, Vpc},
    role_name,
};

use super::grant::On;

/// What the ARNs of a stack consist of.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub stack: String,
    pub account: String,
    pub region: String,
    /// The bucket of the state, and the keys of the document and of its lock, as patterns.
    state: Option<(String, [String; 2])>,
    /// Whether a pool asks for spot instances.
    pub has_spot: bool,
    /// Ids; `*` if the stack finds them in another way.
    images: BTreeSet<String>,
    subnets: BTreeSet<String>,
    vpcs: BTreeSet<String>,
    secrets: BTreeSet<String>,
    parameters: BTreeSet<String>,
}

/// The roles of a stack, as the last part of their names.
const HOST_ROLE: &str = "generator";
const TASK_ROLES: [&str; 2] = ["control-plane", "execution"];

/// The part of a name that any text matches.
const ANY: &str = "*";

impl Subject {
    /// A stack of which only the name and the place are known: ids, secrets and parameters may be any.
    pub fn somewhere(stack: &str, account: &str, region: &str) -> Self {
        let any = || BTreeSet::from([ANY.to_owned()]);
        let subject = Self {
            stack: stack.to_owned(),
            account: account.to_owned(),
            region: region.to_owned(),
            state: None,
            has_spot: true,
            images: any(),
            subnets: any(),
            vpcs: any(),
            secrets: BTreeSet::new(),
            parameters: BTreeSet::from(["/*".to_owned()]),
        };
        let secrets = BTreeSet::from([subject.arn("secretsmanager", "secret:*")]);
        Self { secrets, ..subject }
    }

    /// A stack with everything that it asks for.
    pub fn of(account: &str, region: &str, graph: &Graph) -> Self {
        let texts = |kind: &str, find: fn(&Map) -> Option<String>| -> BTreeSet<String> {
            let of_kind = graph.lookups().values().filter(|lookup| lookup.address.kind.as_str() == kind);
            of_kind.filter_map(|lookup| find(&lookup.query)).collect()
        };
        let is_spot = |data: &Map| data.get("market").and_then(Value::as_text) == Some("spot");
        let mut templates =
            graph.resources().values().filter(|resource| resource.kind().as_str() == LaunchTemplate::KIND);
        let has_spot =
            templates.any(|template| template.attributes.get("data").and_then(Value::as_map).is_some_and(is_spot));
        Self {
            has_spot,
            images: texts(Image::KIND, |query| Some(id(query))),
            subnets: texts(Subnet::KIND, |query| Some(id(query))),
            vpcs: texts(Vpc::KIND, |query| Some(id(query))),
            secrets: texts(Secret::KIND, |query| text(query, "arn").map(|arn| literal(&arn))),
            parameters: texts(Image::KIND, |query| text(query, "parameter").map(|name| literal(&name))),
            ..Self::somewhere(graph.stack(), account, region)
        }
    }

    /// The same with the state's place in S3.
    #[must_use]
    pub fn with_state(self, bucket: &str, keys: [String; 2]) -> Self {
        Self { state: Some((literal(bucket), keys.map(|key| literal(&key)))), ..self }
    }

    /// The principal of a service.
    pub fn principal(&self, service: &str) -> String {
        Partition::of(&self.region).service_principal(service)
    }

    fn partition(&self) -> &'static str {
        Partition::of(&self.region).id
    }

    /// An ARN of the account in the region.
    fn arn(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{}:{}:{rest}", self.partition(), self.region, self.account)
    }

    fn ec2(&self, resource_type: &str) -> Vec<String> {
        vec![self.arn("ec2", &format!("{resource_type}/*"))]
    }

    /// The ARNs of ids. One that may be any makes the others superfluous.
    fn ids(&self, resource_type: &str, ids: &BTreeSet<String>) -> Vec<String> {
        if ids.contains(ANY) {
            return self.ec2(resource_type);
        }
        ids.iter().map(|id| self.arn("ec2", &format!("{resource_type}/{id}"))).collect()
    }

    /// An ARN that AWS itself owns: without an account.
    fn of_aws(&self, service: &str, rest: &str) -> String {
        format!("arn:{}:{service}:{}::{rest}", self.partition(), self.region)
    }

    fn iam(&self, rest: &str) -> String {
        format!("arn:{}:iam::{}:{rest}", self.partition(), self.account)
    }

    fn s3(&self, rest: &str) -> String {
        format!("arn:{}:s3:::{rest}", self.partition())
    }

    fn bucket(&self) -> String {
        bucket_name(&self.stack, &self.account, &self.region)
    }

    /// Everything of the stack in its region and under the names of earlier versions. The last one is for names that IAM
    /// does not know yet.
    fn in_iam(&self, resource_type: &str) -> Vec<String> {
        let Self { stack, region, .. } = self;
        let path = iam_path(stack, region);
        let former = format!("{}{stack}-", iam_prefix(stack));
        vec![
            self.iam(&format!("{resource_type}{path}*")),
            self.iam(&format!("{resource_type}{former}*")),
            self.iam(&format!("{resource_type}/{stack}.{region}.*")),
        ]
    }

    /// A role by the last part of its name, and the same of earlier versions.
    fn role(&self, which: &str) -> Vec<String> {
        let Self { stack, region, .. } = self;
        let path = iam_path(stack, region);
        let former = format!("{}{}", iam_prefix(stack), former_role_name(stack, which));
        vec![self.iam(&format!("role{path}{}", role_name(stack, region, which))), self.iam(&format!("role{former}"))]
    }

    fn parameter(&self, name: &str) -> String {
        let rest = format!("parameter/{}", name.trim_start_matches('/'));
        // AWS's public parameters have no account.
        if name.starts_with("/aws/") { self.of_aws("ssm", &rest) } else { self.arn("ssm", &rest) }
    }

    /// ARNs without wildcards that stand for all that the stack uses, to ask IAM about; none if the stack has no such
    /// resource.
    pub fn examples(&self, on: On) -> Vec<String> {
        let Self { stack, region, .. } = self;
        let path = iam_path(stack, region);
        let named = |kind: &str, which: &str| self.iam(&format!("{kind}{path}{}", role_name(stack, region, which)));
        match on {
            On::Role => [HOST_ROLE].iter().chain(&TASK_ROLES).map(|which| named("role", which)).collect(),
            On::InstanceProfile => vec![named("instance-profile", HOST_ROLE)],
            On::HostRole => vec![named("role", HOST_ROLE)],
            On::TaskRole => TASK_ROLES.iter().map(|which| named("role", which)).collect(),
            On::LogGroup => vec![self.arn("logs", &format!("log-group:{}control-plane", LogGroup::prefix(stack)))],
            // A secret without the end of its name stands for the complete one, which comes last.
            On::Secret => {
                let pattern = |arn: &String| if is_whole(arn) { Some(arn.clone()) } else { secret(arn).pop() };
                self.secrets.iter().filter_map(pattern).map(|arn| example(&arn)).collect()
            }
            On::Everything => vec![ANY.to_owned()],
            _ => self.arns(on).iter().map(|arn| example(arn)).collect(),
        }
    }

    /// The ARNs of resources; none if the stack has no such resource.
    pub fn arns(&self, on: On) -> Vec<String> {
        let stack = &self.stack;
        match on {
            On::Everything => vec![ANY.to_owned()],
            On::Bucket => vec![self.s3(&self.bucket())],
            On::Objects => vec![self.s3(&format!("{}/{}*", self.bucket(), S3Object::PREFIX))],
            On::StateBucket => self.state.iter().map(|(bucket, _)| self.s3(bucket)).collect(),
            On::StateObjects => {
                let keys = self.state.iter().flat_map(|(bucket, keys)| keys.iter().map(move |key| (bucket, key)));
                keys.map(|(bucket, key)| self.s3(&format!("{bucket}/{key}"))).collect()
            }
            On::Cluster => vec![self.arn("ecs", &format!("cluster/{stack}"))],
            On::Service => vec![self.arn("ecs", &format!("service/{stack}/{}", control_plane_name(stack)))],
            On::Tasks => vec![self.arn("ecs", &format!("task/{stack}/*"))],
            On::TaskDefinition => vec![self.arn("ecs", &format!("task-definition/{}:*", control_plane_name(stack)))],
            On::Image if self.images.contains(ANY) => vec![self.of_aws("ec2", "image/*")],
            On::Image => self.images.iter().map(|id| self.of_aws("ec2", &format!("image/{id}"))).collect(),
            On::Snapshot => vec![self.of_aws("ec2", "snapshot/*")],
            On::Subnet => self.ids("subnet", &self.subnets),
            On::Vpc => self.ids("vpc", &self.vpcs),
            On::SpotRequest | On::SpotRole if !self.has_spot => Vec::new(),
            On::SpotRole => vec![self.iam("role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot")],
            On::EcsRole => vec![self.iam("role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS")],
            On::SpotRequest
            | On::ElasticIp
            | On::Instance
            | On::LaunchTemplate
            | On::NetworkInterface
            | On::SecurityGroup
            | On::Volume => self.ec2(on.resource_type().map_or("", |(_, resource_type)| resource_type)),
            On::Role => self.in_iam("role"),
            On::InstanceProfile => self.in_iam("instance-profile"),
            On::HostRole => self.role(HOST_ROLE),
            On::TaskRole => TASK_ROLES.iter().flat_map(|which| self.role(which)).collect(),
            // With and without the end that stands for the streams: CloudWatch Logs uses both.
            On::LogGroup => vec![self.arn("logs", &format!("log-group:{}*", LogGroup::prefix(stack)))],
            On::Secret => self.secrets.iter().flat_map(|arn| secret(arn)).collect(),
            On::Parameter => self.parameters.iter().map(|name| self.parameter(name)).collect(),
        }
    }
}

/// The ARN of a secret, and what it may lack: Secrets Manager appends a hyphen and six characters to the name. The name
/// itself can end like that, so an ARN never shows that it is complete.
fn secret(arn: &str) -> Vec<String> {
    if arn.ends_with(ANY) { vec![arn.to_owned()] } else { vec![arn.to_owned(), format!("{arn}-??????")] }
}

/// Whether an ARN of a secret looks complete.
fn is_whole(arn: &str) -> bool {
    let end = arn.rsplit_once('-').map_or("", |(_, end)| end);
    end.len() == 6 && end.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// A pattern that only this text matches (IAM User Guide, "IAM policy elements: variables and tags", read November 2026).
fn literal(text: &str) -> String {
    let special = |character: char| matches!(character, '*' | '?' | '$');
    text.chars().fold(String::new(), |mut pattern, character| {
        if special(character) {
            pattern.extend(['$', '{', character, '}']);
        } else {
            pattern.push(character);
        }
        pattern
    })
}

/// A part of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Character(char),
    One,
    Many,
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let escaped =
            ["${*}", "${?}", "${$}"].into_iter().find_map(|escape| Some((escape, rest.strip_prefix(escape)?)));
        rest = if let Some((escape, after)) = escaped {
            parts.extend(escape.chars().nth(2).map(Part::Character));
            after
        } else {
            parts.push(match first {
                '*' => Part::Many,
                '?' => Part::One,
                other => Part::Character(other),
            });
            rest.get(first.len_utf8()..).unwrap_or_default()
        };
    }
    parts
}

/// A text that the pattern matches.
fn example(pattern: &str) -> String {
    let part = |part: Part| match part {
        Part::Character(character) => character.to_string(),
        Part::One => "A".to_owned(),
        Part::Many => "0123456789abcdef0".to_owned(),
    };
    parts(pattern).into_iter().map(part).collect()
}

/// Whether a pattern of a policy matches a text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    // Whether the parts so far match the first characters, by the number of these.
    let mut reached: Vec<bool> = (0..=text.len()).map(|count| count == 0).collect();
    for part in parts(pattern) {
        let fits = |character: char| part == Part::One || part == Part::Character(character);
        reached = if part == Part::Many {
            let any = |any: &mut bool, here: &bool| {
                *any |= *here;
                Some(*any)
            };
            reached.iter().scan(false, any).collect()
        } else {
            let after = reached.iter().zip(&text).map(|(before, character)| *before && fits(*character));
            std::iter::once(false).chain(after).collect()
        };
    }
    reached.last().copied().unwrap_or_default()
}

/// The pattern of an id, or of any.
fn id(query: &Map) -> String {
    text(query, "id").map_or_else(|| ANY.to_owned(), |id| literal(&id))
}

fn text(query: &Map, name: &str) -> Option<String> {
    query.get(name).and_then(Value::as_text).map(str::to_owned)
}
