//! The JSON Schema of stack files, for editors.
//!
//! The structs here are never made: they say to `schemars` what a file may hold, and their comments are what an editor
//! shows. What a schema cannot say (a pool's interfaces fit its instance type) is checked on reading.

#![expect(dead_code, reason = "the structs are only looked at by the derive")]

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, generate::SchemaSettings, json_schema};
use serde_json::{Map as JsonMap, Value, json};

use crate::{
    decode::{INIT_IMAGE, METRICS_PORT, METRICS_PORTS, MOST_TAGS},
    words::SYSTEM_USERS,
};

/// The JSON Schema of stack files, environments included.
pub fn json_schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    let mut root = settings.into_generator().into_root_schema_for::<StackFile>().to_value();
    tidy(&mut root);
    let mut overlay = root.clone();
    loosen(&mut overlay);
    if let Some(overlay) = overlay.as_object_mut() {
        for only_of_root in ["$schema", "title", "description"] {
            overlay.remove(only_of_root);
        }
        // One that differs by its name alone.
        overlay.insert("type".to_owned(), json!(["object", "null"]));
    }
    let environments = json!({
        "description": "What differs between environments, chosen with --env. Each is laid over the stack: maps are \
            merged, everything else is replaced, null takes a key away. The stack's name gets the environment's behind \
            it.",
        "type": ["object", "null"],
        "propertyNames": { "pattern": "^[a-z][a-z0-9-]{0,27}$" },
        "additionalProperties": overlay,
    });
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("environments".to_owned(), environments);
    }
    strict(&mut root);
    root
}

/// What strict validators such as Ajv take too: no format of their own, and one type each, with alternatives beside another.
fn strict(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(strict),
        Value::Object(object) => {
            object.values_mut().for_each(strict);
            if object.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
                object.remove("format");
            }
            let Some(Value::Array(types)) = object.get("type").cloned() else { return };
            object.remove("type");
            let mut around = JsonMap::new();
            for annotation in ["description", "default", "examples"] {
                around.extend(object.remove_entry(annotation));
            }
            let constraints = std::mem::take(object);
            let one = |kind: Value| {
                let mut one = JsonMap::new();
                let fit = constraints.iter().filter(|(key, _)| speaks_of(key, &kind));
                one.extend(fit.map(|(key, value)| (key.clone(), value.clone())));
                one.insert("type".to_owned(), kind);
                Value::Object(one)
            };
            around.insert("anyOf".to_owned(), types.into_iter().map(one).collect());
            *object = around;
        }
        _ => {}
    }
}

/// Whether a keyword says something of values of a type.
fn speaks_of(keyword: &str, kind: &Value) -> bool {
    let of = match keyword {
        "pattern" | "minLength" | "maxLength" => "string",
        "properties" | "additionalProperties" | "propertyNames" | "required" | "minProperties" | "maxProperties" => {
            "object"
        }
        "items" | "maxItems" | "minItems" | "uniqueItems" => "array",
        _ => return true,
    };
    kind == of
}

/// The schemas of everything directly below a map.
fn below(object: &mut JsonMap<String, Value>) -> impl Iterator<Item = &mut Value> {
    object
        .iter_mut()
        .filter_map(|(key, value)| match key.as_str() {
            "properties" => value.as_object_mut().map(|properties| properties.values_mut().collect::<Vec<_>>()),
            "additionalProperties" => Some(vec![value]),
            _ => None,
        })
        .flatten()
}

/// An optional key may be left out, but only maps and lists may be written without anything behind the colon.
fn tidy(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(description) = object.get_mut("description")
        && let Some(text) = description.as_str()
    {
        *description = Value::from(text.replace('\n', " "));
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some([Value::String(only), Value::String(_)]) =
        object.get("type").and_then(Value::as_array).map(Vec::as_slice)
        && !matches!(only.as_str(), "object" | "array")
    {
        let only = only.clone();
        object.insert("type".to_owned(), Value::String(only));
    }
    below(object).for_each(tidy);
}

/// An environment needs nothing, and may take a key away by null.
fn loosen(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    for requirement in ["required", "minProperties", "oneOf"] {
        object.remove(requirement);
    }
    for below in below(object).filter(|below| below.is_object()) {
        loosen(below);
        if below["type"].as_array().is_none_or(|types| !types.contains(&json!("null"))) {
            *below = json!({ "anyOf": [below.take(), { "type": "null" }] });
        }
    }
}

/// A Gatling load-testing platform on AWS: generator hosts, control plane and private locations.
#[derive(JsonSchema)]
#[schemars(title = "Trunnion stack", deny_unknown_fields)]
struct StackFile {
    /// Prefix of every name in AWS.
    #[schemars(regex(pattern = "^[a-z][a-z0-9-]{1,30}$"), example = &"loadtest")]
    stack: String,
    /// AWS region.
    #[schemars(regex(pattern = "^([a-z]{2}|eusc)(-[a-z]+){1,2}-[0-9]{1,2}$"), example = &"eu-west-3")]
    region: String,
    /// The AWS account, twelve digits in quotes. Any other one is refused before the first change.
    #[schemars(regex(pattern = "^[0-9]{12}$"), example = &"123456789012")]
    account: String,
    /// Tags of every resource, beside those of Trunnion.
    #[schemars(default, schema_with = "tags")]
    tags: Option<BTreeMap<String, String>>,
    /// Where the state lies: `s3://bucket/prefix`, or a directory, relative to this file. By default `.trunnion` beside
    /// this file.
    #[schemars(length(min = 1), example = &"s3://acme-trunnion/state")]
    state: Option<String>,
    network: Option<Network>,
    generator: Option<Generator>,
    /// Pools of identical generator hosts, by name.
    #[schemars(schema_with = "pools")]
    pools: BTreeMap<String, Pool>,
    control_plane: ControlPlane,
    /// Gatling private locations by id (`prl_…`), each backed by a pool of its own.
    #[schemars(default, schema_with = "locations")]
    locations: Option<BTreeMap<String, Location>>,
}

fn tags(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "maxProperties": MOST_TAGS,
        "propertyNames": { "minLength": 1, "maxLength": 128, "not": { "pattern": "^([aA][wW][sS]|[tT][rR][uU][nN][nN][iI][oO][nN]):" } },
        "additionalProperties": { "type": ["string", "number", "boolean"], "maxLength": 256 },
    })
}

fn variables(_: &mut schemars::SchemaGenerator) -> Schema {
    scalars("^[A-Za-z_][A-Za-z0-9_]{0,127}$")
}

fn system_properties(_: &mut schemars::SchemaGenerator) -> Schema {
    scalars("^[A-Za-z_][A-Za-z0-9_.-]{0,127}$")
}

fn scalars(names: &str) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "propertyNames": { "pattern": names },
        "additionalProperties": { "type": ["string", "number", "boolean"] },
    })
}

fn pools(generator: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "minProperties": 1,
        "propertyNames": { "pattern": "^[a-z][a-z0-9-]{0,19}$" },
        "additionalProperties": generator.subschema_for::<Pool>(),
    })
}

fn locations(generator: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["object", "null"],
        "propertyNames": { "pattern": "^prl_[0-9a-z_]{1,26}$" },
        "additionalProperties": generator.subschema_for::<Location>(),
    })
}

/// The network that is looked up and never changed.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Network {
    /// `default`, a VPC's id, or the one tag that only this VPC has: `{ Name: loadtest }`.
    #[schemars(default, schema_with = "vpc")]
    vpc: Option<String>,
    /// DNS servers that the VPC's DHCP options name instead of Amazon's own: the control plane may ask them. By default they
    /// are looked up for any VPC but the region's default one.
    #[schemars(default, schema_with = "dns_servers")]
    dns_servers: Option<Vec<String>>,
}

fn dns_servers(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": { "type": "string", "pattern": "^([0-9]+(\\.[0-9]+){3}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$" },
        "maxItems": 4,
        "uniqueItems": true,
        "examples": [["10.0.0.2"]],
    })
}

fn vpc(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "const": "default" },
            { "type": "string", "pattern": "^vpc-([0-9a-f]{8}|[0-9a-f]{17})$" },
            { "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": { "type": "string" } },
        ],
        "default": "default",
    })
}

/// What turns a bare host into a generator.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Generator {
    /// Where the generator binary lies, or one file for each architecture. By default `trunnion-generator` beside the trunnion
    /// executable. Hosts keep the binary that they were first applied with until `--update-generator`.
    #[schemars(default, schema_with = "binary")]
    binary: Option<String>,
    /// The SHA-256 of the generator binary, or one for each architecture: hosts boot that one and no other. By default that of
    /// the file.
    #[schemars(default, schema_with = "sha256")]
    sha256: Option<String>,
    /// Java version of the hosts.
    #[schemars(range(min = 11, max = 25), extend("default" = 21))]
    java: Option<u8>,
    /// A boot template of your own, relative to this file. By default the built-in one.
    template: Option<String>,
    /// Handed to the boot template.
    #[schemars(default, schema_with = "variables")]
    variables: Option<BTreeMap<String, String>>,
    /// Who picks the source address of an outgoing connection: the kernel of the host, for every connection of Gatling
    /// that binds no address itself; the simulation; or nobody, and all come from the primary address.
    #[schemars(extend("enum" = ["kernel", "simulation", "off"], "default" = "kernel"))]
    spread: Option<String>,
    /// Destinations that keep a host's normal source address: ranges of IP addresses, or `own-subnets`.
    #[schemars(default, schema_with = "spread_except")]
    spread_except: Option<Vec<String>>,
    /// TCP port of `/health` and `/metrics` on the primary address of every host.
    #[schemars(extend("minimum" = METRICS_PORTS.start(), "maximum" = METRICS_PORTS.end(), "default" = METRICS_PORT))]
    metrics_port: Option<u16>,
    /// Networks that may reach that port, IPv4 and of /8 or narrower. By default nobody may.
    #[schemars(default, schema_with = "metrics_from")]
    metrics_from: Option<Vec<String>>,
}

fn spread_except(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": { "type": "string", "pattern": "^(own-subnets|[0-9]+(\\.[0-9]+){3}/([1-9]|[12][0-9]|3[0-2])|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]{1,3})$" },
        "maxItems": 100,
        "uniqueItems": true,
        "examples": [["own-subnets", "10.20.0.0/16"]],
    })
}

fn metrics_from(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+){3}/([89]|[12][0-9]|3[0-2])$" },
        "maxItems": 50,
        "uniqueItems": true,
        "examples": [["10.0.0.0/8"]],
    })
}

fn binary(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "object",
                "properties": { "x86_64": { "type": "string" }, "arm64": { "type": "string" } },
                "additionalProperties": false,
            },
        ],
    })
}

fn sha256(_: &mut schemars::SchemaGenerator) -> Schema {
    let digest = json_schema!({ "type": "string", "pattern": "^[0-9a-f]{64}$" });
    json_schema!({
        "anyOf": [
            digest,
            {
                "type": "object",
                "properties": { "x86_64": digest, "arm64": digest },
                "additionalProperties": false,
            },
        ],
    })
}

/// Identical generator hosts. Exactly one of `zone` and `subnet` says where they stand.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("oneOf" = [
    { "properties": { "zone": true }, "required": ["zone"] },
    { "properties": { "subnet": true }, "required": ["subnet"] },
]))]
struct Pool {
    /// EC2 instance type.
    #[schemars(example = &"c6in.32xlarge")]
    instance_type: String,
    /// How many hosts.
    #[schemars(range(min = 0, max = 1000), extend("default" = 1))]
    count: Option<u32>,
    /// Availability zone: the VPC's subnet in it is taken.
    #[schemars(example = &"eu-west-3a")]
    zone: Option<String>,
    /// This subnet.
    #[schemars(regex(pattern = "^subnet-([0-9a-f]{8}|[0-9a-f]{17})$"))]
    subnet: Option<String>,
    /// `al2023`, an image's id, or the SSM parameter that holds one.
    #[schemars(default, schema_with = "image")]
    image: Option<String>,
    /// Network interfaces per host, spread over its network cards.
    #[schemars(range(min = 1), extend("default" = 1))]
    interfaces: Option<u32>,
    /// Private IPv4 addresses per interface, the primary one included.
    #[schemars(range(min = 1), extend("default" = 1))]
    addresses: Option<u32>,
    /// Size of the root volume in GiB.
    #[schemars(range(min = 8, max = 16384), extend("default" = 30))]
    volume_gib: Option<u32>,
    /// How the hosts are paid.
    #[schemars(extend("enum" = ["on-demand", "spot"], "default" = "on-demand"))]
    market: Option<String>,
    /// Whether AWS tracks the connections of the load interfaces, which are all but the primary one. Untracked, its
    /// allowance for the instance does not cap them, and everything that routes and network ACLs let through reaches
    /// them.
    #[schemars(extend("enum" = ["tracked", "untracked"], "default" = "tracked"))]
    tracking: Option<String>,
    /// Whether each host gets an Elastic IP on the primary address of its primary interface. A host that is replaced hands
    /// it on, so that targets can let it in by its number.
    #[schemars(extend("default" = false))]
    public_ip: Option<bool>,
}

fn image(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "anyOf": [
            { "const": "al2023" },
            { "type": "string", "pattern": "^ami-([0-9a-f]{8}|[0-9a-f]{17})$" },
            {
                "type": "object",
                "properties": { "ssm": { "type": "string", "pattern": "^/[A-Za-z0-9_.\\-/]+$" } },
                "required": ["ssm"],
                "additionalProperties": false,
            },
        ],
        "default": "al2023",
    })
}

/// The Gatling control plane, an ECS service on Fargate.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ControlPlane {
    /// Container image, pinned to a version or a digest.
    #[schemars(
        length(max = 255),
        regex(pattern = r"^([A-Za-z0-9._:/-]+@sha256:[0-9a-fA-F]{64}|([A-Za-z0-9._:-]*/)*[A-Za-z0-9._-]+:[A-Za-z0-9._:-]+)$"),
        extend("not" = { "pattern": ":latest(-[A-Za-z0-9._:-]*)?$" }),
        example = &"gatlingcorp/control-plane:2026.42.2"
    )]
    image: String,
    /// Image of the container that writes its conf before it starts: any with a shell, `chown` and `chmod`.
    #[schemars(
        length(max = 255),
        regex(pattern = r"^([A-Za-z0-9._:/-]+@sha256:[0-9a-fA-F]{64}|([A-Za-z0-9._:-]*/)*[A-Za-z0-9._-]+:[A-Za-z0-9._:-]+)$"),
        extend("not" = { "pattern": ":latest(-[A-Za-z0-9._:-]*)?$" }, "default" = INIT_IMAGE)
    )]
    init_image: Option<String>,
    /// ARN of the secret that holds its token, with `:<json key>:<version stage>:<version id>` behind it where the token is
    /// only a part of it (in quotes, because it ends in a colon then).
    #[schemars(regex(pattern = "^arn:aws[a-z-]*:secretsmanager:"))]
    token: String,
    ssh: Ssh,
    /// Whether the task gets a public address of its own; false behind a NAT gateway.
    #[schemars(extend("default" = true))]
    public_ip: Option<bool>,
    /// Fargate CPU units; 1024 is one vCPU.
    #[schemars(extend("enum" = [256, 512, 1024, 2048, 4096, 8192, 16384], "default" = 1024))]
    cpu: Option<u32>,
    /// Fargate memory in MiB, of a size that goes with `cpu`.
    #[schemars(range(min = 512, max = 122_880), extend("default" = 3072))]
    memory: Option<u32>,
    /// Availability zones of its subnets. By default it stands in the subnets of the pools.
    #[schemars(extend("uniqueItems" = true))]
    zones: Option<Vec<String>>,
    /// How many days its log is kept.
    #[schemars(extend(
        "enum" = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
        "default" = 30
    ))]
    log_retention_days: Option<u32>,
}

/// The names that [`crate::words::is_of_system`] knows, as a pattern.
fn of_system() -> String {
    format!("^({}|systemd-.*)$", SYSTEM_USERS.join("|"))
}

/// How the control plane reaches the hosts.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Ssh {
    /// The user it logs in as, who is made on the hosts.
    #[schemars(
        regex(pattern = "^[a-z_][a-z0-9_-]{0,31}$"),
        extend("not" = { "pattern": of_system() }, "default" = "gatling")
    )]
    user: Option<String>,
    /// ARN of the secret that holds the private key, with `:<json key>:<version stage>:<version id>` behind it where the key
    /// is only a part of it.
    #[schemars(regex(pattern = "^arn:aws[a-z-]*:secretsmanager:"))]
    private_key: String,
    /// The public key, as one line of `authorized_keys`.
    #[schemars(regex(pattern = "^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) "))]
    public_key: String,
}

/// A Gatling private location, backed by one pool.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Location {
    /// The pool's name.
    pool: String,
    /// What Gatling shows of it.
    description: Option<String>,
    /// What runs the simulations.
    #[schemars(extend("enum" = ["classic", "javascript"], "default" = "classic"))]
    engine: Option<String>,
    /// Options of the generators' JVM.
    #[schemars(inner(regex(pattern = "^-[^ ]*$")), extend("examples" = [["-Xmx128g"]]))]
    jvm_options: Option<Vec<String>>,
    /// Java system properties of every run.
    #[schemars(default, schema_with = "system_properties")]
    system_properties: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests;
