//! The conf file of the Gatling control plane: its locations, each with the hosts of its pool.
//!
//! Every location has the type `dedicated`. Hosts of other types cannot have several interfaces.

use trunnion_engine::{Reference, Value};
use trunnion_stack::{ControlPlane, Engine, Location, Stack};

use crate::{BlueprintError, address, hocon::Hocon};

/// The directory that the control plane reads its conf from.
pub(crate) const DIRECTORY: &str = "/app/conf";
/// The conf itself.
pub(crate) const CONF: &str = "/app/conf/control-plane.conf";
/// The private key with which the control plane logs in to the hosts by SSH.
pub(crate) const PRIVATE_KEY: &str = "/app/conf/ssh-private-key";
/// The environment variable with its token.
pub(crate) const TOKEN: &str = "CONTROL_PLANE_TOKEN";
/// The port it listens on.
pub(crate) const PORT: u16 = 8080;

/// The directory where Gatling unpacks its programs on the hosts. The default is `/tmp`, but on Amazon Linux 2023 that
/// is a file system in memory, limited to half of it. The boot template creates this directory instead.
pub(crate) const EXECUTABLE_DIR: &str = "/var/lib/gatling";

/// Simulations of Gatling 3.15.1 on Java 17 end at their start without this option (tried in November 2026). Gatling does not
/// document whether the options of a location replace its defaults, so this one is always among them.
const OPENS: &str = "--add-opens=java.base/java.lang=ALL-UNNAMED";

/// The conf of the stack's control plane. The hosts' primary private addresses are references, which apply resolves.
pub fn control_plane_conf(stack: &Stack) -> Result<Value, BlueprintError> {
    let locations = stack.locations.iter().map(|(id, one)| location(stack, id, one)).collect();
    let conf = Hocon::object([(
        "control-plane",
        Hocon::object([
            ("token", Hocon::Substitution(TOKEN)),
            ("description", Hocon::Text(format!("Trunnion stack {}", stack.name))),
            (
                "server",
                Hocon::object([
                    ("port", Hocon::Number(PORT.into())),
                    ("bind-address", Hocon::Text("0.0.0.0".to_owned())),
                ]),
            ),
            ("locations", Hocon::List(locations)),
        ]),
    )]);
    Ok(conf.document()?)
}

fn location(stack: &Stack, id: &str, location: &Location) -> Hocon {
    let text = |text: &str| Hocon::Text(text.to_owned());
    let count = stack.pools.get(&location.pool).map_or(0, |pool| pool.count);
    let host = |number| {
        Hocon::Unknown(Reference {
            address: address::instance(&location.pool, number),
            attribute: "private_ip".to_owned(),
        })
    };
    let mut fields = vec![
        ("id", text(id)),
        ("description", text(&location.description)),
        ("type", text("dedicated")),
        ("engine", text(engine(location.engine))),
        (
            "ssh",
            Hocon::object([
                ("user", text(&stack.control_plane.ssh.user)),
                ("private-key", Hocon::object([("path", text(PRIVATE_KEY))])),
            ]),
        ),
        ("hosts", Hocon::List((0..count).map(host).collect())),
        (executable_dir_key(stack), text(EXECUTABLE_DIR)),
    ];
    // An empty list would mean "no options"; without the key, Gatling uses its defaults.
    if !location.jvm_options.is_empty() {
        fields.push(("jvm-options", Hocon::texts(&jvm_options(&location.jvm_options))));
    }
    if !location.system_properties.is_empty() {
        let properties = location.system_properties.iter().map(|(key, value)| (key.clone(), text(value)));
        fields.push(("system-properties", Hocon::Object(properties.collect())));
    }
    Hocon::object(fields)
}

/// The location's options, after [`OPENS`], unless they contain it.
fn jvm_options(asked: &[String]) -> Vec<String> {
    let needed = Some(OPENS.to_owned()).filter(|needed| !asked.contains(needed));
    needed.into_iter().chain(asked.iter().cloned()).collect()
}

/// The conf key for the directory where Gatling unpacks its programs. An older control plane ignores the newer key and
/// would use `/tmp`. If the image's tag does not give a version, it counts as new.
fn executable_dir_key(stack: &Stack) -> &'static str {
    match stack.control_plane.version() {
        Some(version) if version < ControlPlane::FIRST_WITH_EXECUTABLE_DIR => "working-directory",
        _ => "executable-dir",
    }
}

fn engine(engine: Engine) -> &'static str {
    match engine {
        Engine::Classic => "classic",
        Engine::JavaScript => "javascript",
    }
}

/// The text of a value, to read. References that are not resolved yet appear as `<instance.heavy[0].private_ip>`.
pub fn with_placeholders(value: &Value) -> String {
    let known = value.resolve(&|reference| Some(format!("<{}.{}>", reference.address, reference.attribute).into()));
    known.as_text().unwrap_or_default().to_owned()
}
