//! What each pool's hosts boot. It is decided after the cloud was observed.
//!
//! Generator binary, boot script and config format of a pool belong together. While the stack's own inputs stay the same, a
//! pool keeps the user data of its launch template byte for byte. So the plan does not depend on the machine that makes it,
//! nor on its version of Trunnion. New and changed pools take the newest, and with `--update-generator` all pools do.
//!
//! A launch template of version 0.1.0 does not record its inputs. They count as unchanged if a script, rendered with the
//! binary that the template names, gives the same user data. So a copy of that version's script is kept
//! (`templates/boot-0.1.0.sh.tera`): with the newest script alone, each change of the script would replace the hosts of such
//! pools at an upgrade. The copy is used for nothing else, and not if the stack has its own template.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_engine::{Address, Index, Map, Note, Observed, Remote, Value, from_map};
use trunnion_kinds::{Boot, LaunchTemplate, S3Object, stands_for};
use trunnion_stack::{Pool, Stack};

use crate::{
    Binaries, BlueprintError, address,
    binaries::key,
    boot::{Script, VERSION, config_in, default_routes, network, newest},
    hosts::image_source_of,
    inputs,
    moves::former_names,
};

/// What the hosts of each pool boot, and the generator binaries that the bucket needs for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots {
    pools: BTreeMap<String, PoolBoot>,
    objects: BTreeMap<Address, Artifact>,
    held: Vec<Held>,
    outdated: Vec<String>,
}

/// What the hosts of one pool boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PoolBoot {
    pub(crate) user_data: String,
    pub(crate) boot: Option<Boot>,
}

/// A generator binary in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Artifact {
    pub(crate) sha256: String,
    /// The file to upload; empty if the bucket already holds the binary.
    pub(crate) source: String,
}

/// A pool that keeps its boot although there is a newer one. Both are given as generator digest and version of
/// Trunnion.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    pool: String,
    has: (String, String),
    newest: (String, String),
}

/// The input of [`Boots::decide`].
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// What was observed in the cloud.
    pub observed: &'a Observed,
    /// Whether every pool takes the newest boot, as with `--update-generator`.
    pub update: bool,
    /// The addresses in the plan; everything else stays as it is. `None` selects all.
    pub selected: Option<&'a BTreeSet<Address>>,
}

impl Boots {
    /// Every pool boots the newest, as for a stack without any resource yet.
    pub fn newest(stack: &Stack, binaries: &Binaries) -> Result<Self, BlueprintError> {
        let observed = Observed::default();
        let standing = Standing { observed: &observed, update: true, selected: None };
        Self::decide(stack, binaries, &standing)
    }

    /// Boots with a placeholder for the generator binary, so that no binary is read. They are enough to check the stack
    /// and to find the dependencies of its resources.
    pub fn without_binaries(stack: &Stack) -> Result<Self, BlueprintError> {
        let nothing = Observed::default();
        let script = Script::read(stack, &nothing)?;
        let mut boots = Self::default();
        for (name, pool) in &stack.pools {
            let user_data = script.render(name, NO_BINARY)?;
            let of_none = |text: &str| text.to_owned();
            let boot = Boot { trunnion: of_none(VERSION), generator: of_none(NO_BINARY), digest: String::new() };
            boots.pools.insert(name.clone(), PoolBoot { user_data, boot: Some(boot) });
            let object = Artifact { sha256: of_none(NO_BINARY), source: String::new() };
            boots.objects.insert(address::object(pool.instance_type.architecture.as_str()), object);
        }
        Ok(boots)
    }

    /// Decides what each pool boots: what it keeps, or the newest.
    pub fn decide(stack: &Stack, binaries: &Binaries, standing: &Standing<'_>) -> Result<Self, BlueprintError> {
        let script = Script::read(stack, standing.observed)?;
        let first = Script::first(stack, standing.observed)?;
        let uploaded = Uploaded::of(standing.observed);
        let mut boots = Self::default();
        let mut needed = Vec::new();
        for (name, pool) in &stack.pools {
            let one = OnePool { stack, name, pool, script: &script, first: first.as_ref(), binaries, standing };
            if !one.is_selected() {
                boots.pools.extend(one.as_it_stands().map(|boot| (name.clone(), boot)));
                continue;
            }
            let mut kept = one.kept(&uploaded)?;
            if standing.update && !kept.as_ref().is_some_and(|(user_data, boot)| one.is_newest_renamed(user_data, boot))
            {
                kept = None;
            }
            boots.held.extend(kept.as_ref().and_then(|(user_data, boot)| one.held(user_data, boot)));
            boots.outdated.extend(kept.as_ref().and_then(|(user_data, _)| one.outdated_network(user_data)));
            let (user_data, boot) = kept.map_or_else(|| one.newest(), Ok)?;
            needed.push((pool.instance_type.architecture, boot.generator.clone(), name.as_str()));
            boots.pools.insert(name.clone(), PoolBoot { user_data, boot: Some(boot) });
        }
        let mut objects = Vec::new();
        for (architecture, sha256, pool) in needed {
            let is_there = uploaded.holds(&sha256);
            let source = if is_there { String::new() } else { source(stack, binaries, pool, &sha256)? };
            objects.push((architecture.as_str().to_owned(), Artifact { sha256, source }));
        }
        // Launch templates outside this plan keep the binaries that they name.
        for (at, sha256) in uploaded.named_by(&unselected(standing)) {
            let architecture = match &at.index {
                Some(Index::Key(key)) => key.split('-').next().unwrap_or_default().to_owned(),
                _ => "other".to_owned(),
            };
            objects.push((architecture, Artifact { sha256, source: String::new() }));
        }
        // Objects that exist come first: they keep their addresses.
        let (there, new): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|(_, object)| uploaded.holds(&object.sha256));
        for (architecture, object) in there.into_iter().chain(new) {
            boots.put(uploaded.address(&object.sha256), &architecture, object);
        }
        Ok(boots)
    }

    /// Adds an artifact at the first free address: its present one, else the architecture's, else one with its digest.
    fn put(&mut self, standing: Option<Address>, architecture: &str, artifact: Artifact) {
        if self.objects.values().any(|known| known.sha256 == artifact.sha256) {
            return;
        }
        let its_own = format!("{architecture}-{}", short(&artifact.sha256));
        let usual = [address::object(architecture), address::object(&its_own)];
        let free = standing.into_iter().chain(usual).find(|address| !self.objects.contains_key(address));
        self.objects.extend(free.map(|address| (address, artifact)));
    }

    pub(crate) fn of(&self, pool: &str) -> Option<&PoolBoot> {
        self.pools.get(pool)
    }

    pub(crate) fn objects(&self) -> &BTreeMap<Address, Artifact> {
        &self.objects
    }

    /// The address of the binary that a pool's hosts boot.
    pub(crate) fn object_of(&self, pool: &str) -> Option<Address> {
        let generator = &self.pools.get(pool)?.boot.as_ref()?.generator;
        self.objects.iter().find(|(_, object)| object.sha256 == *generator).map(|(address, _)| address.clone())
    }

    /// The SHA-256 of each binary that must be uploaded.
    pub fn uploads(&self) -> impl Iterator<Item = &str> {
        self.objects.values().filter(|object| !object.source.is_empty()).map(|object| object.sha256.as_str())
    }

    /// Rewrites the observation so that it can be compared with the stack: it moves each wanted object to its wanted
    /// address, and replaces shortened image sources of launch templates by the full ones.
    pub fn spell_out(&self, stack: &Stack, observed: &mut Observed) {
        let asked: BTreeMap<String, &Address> =
            self.objects.iter().map(|(address, object)| (key(&object.sha256), address)).collect();
        let mut moved = Vec::new();
        for (at, remotes) in observed.remotes.iter_mut().filter(|(at, _)| at.kind.as_str() == S3Object::KIND) {
            let to = |remote: &Remote| asked.get(text(&remote.attributes, "key")).copied();
            // An object behind a delete marker is uploaded again, which makes it visible.
            remotes.retain(|remote| !(remote.is_spent && to(remote).is_some()));
            moved.extend(remotes.extract_if(.., |remote| to(remote).is_some_and(|to| to != at)));
        }
        for remote in moved {
            if let Some(to) = asked.get(text(&remote.attributes, "key")) {
                observed.remotes.entry((*to).clone()).or_default().insert(0, remote);
            }
        }
        observed.remotes.retain(|_, remotes| !remotes.is_empty());
        for (name, pool) in &stack.pools {
            let source = image_source_of(pool);
            let names: Vec<&str> = std::iter::once(name.as_str()).chain(former_names(stack, name)).collect();
            let is_its = |address: &Address| names.iter().any(|name| *address == address::launch_template(name));
            let templates = observed.remotes.iter_mut().filter(|(address, _)| is_its(address));
            let templates = templates.flat_map(|(_, remotes)| remotes);
            for attributes in
                templates.flat_map(|template| [&mut template.attributes].into_iter().chain(&mut template.earlier))
            {
                if let Some(Value::Map(data)) = attributes.get_mut("data")
                    && let Some(Value::Text(kept)) = data.get_mut("image_source")
                    && stands_for(kept, &source)
                {
                    kept.clone_from(&source);
                }
            }
        }
    }

    /// Pools whose hosts were configured for another network than they are in now, as one note.
    pub fn outdated_networks(&self) -> Option<Note> {
        (!self.outdated.is_empty()).then(|| Note {
            code: "plan::network".to_owned(),
            message: self.outdated.join("; "),
            help: Some(
                "if that is intended, run with `--update-generator`, which replaces these hosts one by one".to_owned(),
            ),
        })
    }

    /// What `--update-generator` would change, as one note.
    pub fn note(&self) -> Option<Note> {
        let mut alike: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for Held { pool, has, newest } in &self.held {
            alike.entry((has, newest)).or_default().push(pool);
        }
        let parts = alike.into_iter().map(|((has, newest), pools)| {
            let names = pools.iter().map(|pool| format!("`{pool}`")).collect::<Vec<_>>().join(", ");
            let (word, keep) = if pools.len() == 1 { ("pool", "keeps") } else { ("pools", "keep") };
            let one = |(generator, trunnion): &(String, String)| {
                format!("generator {} with the boot script of Trunnion {trunnion}", short(generator))
            };
            format!("{word} {names} {keep} {}; the newest is {}", one(has), one(newest))
        });
        let message = parts.collect::<Vec<_>>().join("; ");
        (!message.is_empty()).then(|| Note {
            code: "plan::generator".to_owned(),
            message,
            help: Some(
                "to use the newest, run with `--update-generator`, which replaces these hosts one by one".to_owned(),
            ),
        })
    }
}

/// The first 12 digits of a digest, for messages.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// The placeholder for the digest of a binary that was not read.
const NO_BINARY: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Decides for one pool.
struct OnePool<'a> {
    stack: &'a Stack,
    name: &'a str,
    pool: &'a Pool,
    script: &'a Script<'a>,
    /// The script of version 0.1.0.
    first: Option<&'a Script<'a>>,
    binaries: &'a Binaries,
    standing: &'a Standing<'a>,
}

/// User data, and where it comes from.
type Known = (String, Boot);

impl OnePool<'_> {
    /// Whether the plan includes the pool's launch template, or the binary of a pool that has no launch template yet.
    fn is_selected(&self) -> bool {
        let Some(selected) = self.standing.selected else { return true };
        let object = address::object(self.pool.instance_type.architecture.as_str());
        let is_new = || self.looks().is_empty();
        selected.contains(&address::launch_template(self.name)) || (selected.contains(&object) && is_new())
    }

    /// The name of the pool, and those that it had before.
    fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name).chain(former_names(self.stack, self.name))
    }

    /// The attributes of the pool's launch template: as observed, then as its last version of ours has them, in case
    /// somebody edited it since.
    fn looks(&self) -> Vec<&Map> {
        let look = |name: &str| {
            let address = address::launch_template(name);
            let remote = self.standing.observed.remotes.get(&address)?.iter().find(|remote| !remote.is_spent)?;
            Some([&remote.attributes].into_iter().chain(&remote.earlier).collect())
        };
        self.names().find_map(look).unwrap_or_default()
    }

    fn as_it_stands(&self) -> Option<PoolBoot> {
        let look = *self.looks().first()?;
        Some(PoolBoot { user_data: user_data_of(look)?.to_owned(), boot: boot_of(look) })
    }

    fn newest(&self) -> Result<Known, BlueprintError> {
        let sha256 = newest(self.name, self.pool.instance_type.architecture, self.binaries)?;
        let user_data = self.script.render(self.name, sha256)?;
        let boot = self.boot(VERSION, sha256, &user_data)?;
        Ok((user_data, boot))
    }

    fn boot(&self, trunnion: &str, generator: &str, user_data: &str) -> Result<Boot, BlueprintError> {
        self.boot_as(self.name, trunnion, generator, user_data)
    }

    /// The boot of hosts that were launched when the pool had this name.
    fn boot_as(&self, named: &str, trunnion: &str, generator: &str, user_data: &str) -> Result<Boot, BlueprintError> {
        let inputs = inputs::digest(self.stack, self.name, named, self.script)?;
        let digest = inputs::seal(&inputs, user_data);
        Ok(Boot { trunnion: trunnion.to_owned(), generator: generator.to_owned(), digest })
    }

    /// What the pool keeps; `None` if it takes the newest.
    fn kept(&self, uploaded: &Uploaded) -> Result<Option<Known>, BlueprintError> {
        for look in self.looks() {
            let Some(user_data) = user_data_of(look) else { continue };
            if let Some(boot) = self.kept_from(user_data, boot_of(look).as_ref(), uploaded)? {
                return Ok(Some((user_data.to_owned(), boot)));
            }
        }
        Ok(None)
    }

    fn kept_from(
        &self,
        user_data: &str,
        known: Option<&Boot>,
        uploaded: &Uploaded,
    ) -> Result<Option<Boot>, BlueprintError> {
        let architecture = self.pool.instance_type.architecture;
        let named = self.stack.generator.sha256.get(&architecture);
        let fits = |generator: &str| named.is_none_or(|named| named == generator);
        if let Some(boot) = known.filter(|boot| fits(&boot.generator)) {
            for named in self.names() {
                if self.boot_as(named, &boot.trunnion, &boot.generator, user_data)?.digest == boot.digest {
                    return Ok(Some(self.boot(&boot.trunnion, &boot.generator, user_data)?));
                }
            }
        }
        // Version 0.1.0 had no Elastic IPs for hosts: its script does not wait for one.
        let first = self.first.filter(|_| known.is_none() && !self.pool.public_ip);
        let scripts = [Some(self.script), first];
        let renders = |script: &Script<'_>, generator: &str| {
            let rendered = |named| script.render_as(self.name, named, generator);
            self.names().any(|named| rendered(named).is_ok_and(|rendered| rendered == user_data))
        };
        // The version of the script that renders the user data.
        let rendering = |generator: &str| {
            let script = scripts.into_iter().flatten().find(|script| renders(script, generator))?;
            Some(known.map_or(script.version(), |boot| &boot.trunnion))
        };
        let generators = known.iter().map(|boot| boot.generator.as_str()).chain(digests_in(user_data));
        for generator in generators.filter(|generator| fits(generator)).collect::<BTreeSet<_>>() {
            if let Some(trunnion) = rendering(generator) {
                return Ok(Some(self.boot(trunnion, generator, user_data)?));
            }
        }
        // A template of the user may not name the binary. Then it is the one at the architecture's usual address.
        let usual = uploaded.usual(architecture.as_str()).filter(|generator| fits(generator));
        let unnamed = usual.and_then(|generator| Some((rendering(NO_BINARY)?, generator)));
        unnamed.map(|(trunnion, generator)| self.boot(trunnion, generator, user_data)).transpose()
    }

    /// Whether this is the newest boot of a pool that had another name when its hosts were launched.
    fn is_newest_renamed(&self, user_data: &str, boot: &Boot) -> bool {
        let newest = self.binaries.newest(self.pool.instance_type.architecture);
        let renders = |named| {
            let rendered = self.script.render_as(self.name, named, &boot.generator);
            rendered.is_ok_and(|rendered| rendered == user_data)
        };
        newest.is_ok_and(|newest| newest == boot.generator) && former_names(self.stack, self.name).any(renders)
    }

    /// How the network that the pool's hosts are configured for differs from the present one.
    fn outdated_network(&self, user_data: &str) -> Option<String> {
        let known = config_in(user_data)?.network;
        let now = network(self.stack, self.pool, self.standing.observed);
        if known == now {
            return None;
        }
        let routes = default_routes(self.pool, self.standing.observed);
        let Some(known) = known else {
            return Some(format!(
                "the hosts of pool `{}` are not configured for the default route to {}: load also uses addresses that \
                 do not reach the internet",
                self.name, routes.ipv4
            ));
        };
        let families =
            [("IPv4", known.default_routes.ipv4, routes.ipv4), ("IPv6", known.default_routes.ipv6, routes.ipv6)];
        let why = match families.into_iter().find(|(_, known, now)| known != now) {
            Some((family, known, now)) => format!("a default route for {family} to {known}, but it leads to {now}"),
            None => "other ranges of the VPC".to_owned(),
        };
        Some(format!("the hosts of pool `{}` are configured for {why}", self.name))
    }

    /// What the pool keeps and what the newest is, if these differ.
    fn held(&self, user_data: &str, boot: &Boot) -> Option<Held> {
        let newest = self.binaries.newest(self.pool.instance_type.architecture).unwrap_or(&boot.generator);
        let is_newest = self.script.render(self.name, newest).is_ok_and(|rendered| rendered == user_data);
        let has = (boot.generator.clone(), boot.trunnion.clone());
        let newest = (newest.to_owned(), VERSION.to_owned());
        // The hosts of a pool that was renamed boot with its earlier name.
        (!is_newest && has != newest).then(|| Held { pool: self.name.to_owned(), has, newest })
    }
}

/// The binaries that the bucket holds, by digest, each with its address.
struct Uploaded(BTreeMap<String, Address>);

impl Uploaded {
    fn of(observed: &Observed) -> Self {
        let mut found = BTreeMap::new();
        for (address, remotes) in observed.remotes.iter().filter(|(address, _)| address.kind.as_str() == S3Object::KIND)
        {
            for remote in remotes.iter().filter(|remote| !remote.is_spent) {
                // The key contains the digest: other content under it is not the binary.
                let sha256 = text(&remote.attributes, "sha256");
                if text(&remote.attributes, "key") == key(sha256) {
                    found.insert(sha256.to_owned(), address.clone());
                }
            }
        }
        Self(found)
    }

    fn holds(&self, sha256: &str) -> bool {
        self.0.contains_key(sha256)
    }

    fn address(&self, sha256: &str) -> Option<Address> {
        self.0.get(sha256).cloned()
    }

    /// The digest of the object at the architecture's usual address.
    fn usual(&self, architecture: &str) -> Option<&str> {
        let usual = address::object(architecture);
        self.0.iter().find(|(_, address)| **address == usual).map(|(sha256, _)| sha256.as_str())
    }

    /// The objects that these launch templates name.
    fn named_by(&self, templates: &[&Remote]) -> Vec<(Address, String)> {
        let named: BTreeSet<String> = templates
            .iter()
            .flat_map(|template| {
                let user_data = user_data_of(&template.attributes).unwrap_or_default();
                let boot = boot_of(&template.attributes).map(|boot| boot.generator);
                boot.into_iter().chain(digests_in(user_data).map(str::to_owned)).collect::<Vec<_>>()
            })
            .collect();
        let is_named = |(sha256, _): &(&String, &Address)| named.contains(*sha256);
        self.0.iter().filter(is_named).map(|(sha256, address)| (address.clone(), sha256.clone())).collect()
    }
}

/// The launch templates that no target selects.
fn unselected<'a>(standing: &Standing<'a>) -> Vec<&'a Remote> {
    let Some(selected) = standing.selected else { return Vec::new() };
    let is_left = |address: &Address| address.kind.as_str() == LaunchTemplate::KIND && !selected.contains(address);
    standing.observed.remotes.iter().filter(|(address, _)| is_left(address)).flat_map(|(_, remotes)| remotes).collect()
}

/// The local file of a binary that the bucket does not hold.
fn source(stack: &Stack, binaries: &Binaries, pool: &str, sha256: &str) -> Result<String, BlueprintError> {
    let architecture = stack.pools.get(pool).map(|pool| pool.instance_type.architecture);
    let architecture = architecture.ok_or_else(|| BlueprintError::NoPool { pool: pool.to_owned() })?;
    let (found, why) = match binaries.get(architecture) {
        Ok(binary) if binary.sha256 == sha256 => return Ok(binary.path.display().to_string()),
        Ok(binary) => (Some((binary.path.clone(), binary.sha256.clone())), None),
        Err(why) => (None, Some(why)),
    };
    Err(BlueprintError::OtherBinary {
        pool: pool.to_owned(),
        wanted: sha256.to_owned(),
        found,
        why,
        is_named: stack.generator.sha256.contains_key(&architecture),
        architecture,
    })
}

fn user_data_of(template: &Map) -> Option<&str> {
    template.get("data")?.as_map()?.get("user_data")?.as_text()
}

fn boot_of(template: &Map) -> Option<Boot> {
    from_map(template.get("boot")?.as_map()?).ok()
}

fn text<'a>(attributes: &'a Map, name: &str) -> &'a str {
    attributes.get(name).and_then(Value::as_text).unwrap_or_default()
}

/// Every word of exactly 64 hexadecimal digits.
fn digests_in(text: &str) -> impl Iterator<Item = &str> {
    let is_digit = |letter: char| matches!(letter, '0'..='9' | 'a'..='f');
    text.split(move |letter: char| !letter.is_ascii_alphanumeric())
        .filter(move |word| word.len() == 64 && word.chars().all(is_digit))
}

#[cfg(test)]
mod tests;
