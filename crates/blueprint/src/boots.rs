//! What every pool's hosts boot: decided once what stands is known.
//!
//! Binary, boot script and the format of its config go together, per pool. A pool keeps the user data that its launch
//! template holds, byte for byte, while the stack's own inputs to it stay the same; then whose machine plans, and which
//! version of Trunnion, makes no difference. What is new or changed takes the newest, and so does everything that is asked to.
//!
//! Of a template that an earlier Trunnion made, the inputs are not known. They count as the same if the newest script, with
//! the binary that the template names, becomes what the template holds.

use std::collections::{BTreeMap, BTreeSet};

use trunnion_engine::{Address, Index, Map, Note, Observed, Remote, State, Value, from_map};
use trunnion_kinds::{Boot, LaunchTemplate, S3Object, stands_for};
use trunnion_stack::{Pool, Stack};

use crate::{
    Binaries, BlueprintError, address,
    binaries::key,
    boot::{Script, newest},
    hosts::image_source_of,
    inputs,
};

/// What every pool's hosts boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots {
    pools: BTreeMap<String, PoolBoot>,
    objects: BTreeMap<Address, Artifact>,
    held: Vec<Held>,
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
    /// The file to upload; empty where the bucket holds it.
    pub(crate) source: String,
}

/// A pool that keeps what it has, and what it would get.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    pool: String,
    has: (String, String),
    newest: (String, String),
}

/// What is known when boots are decided.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// What the cloud says.
    pub observed: &'a Observed,
    /// What was applied last.
    pub recorded: &'a State,
    /// Whether every pool takes the newest.
    pub update: bool,
    /// The addresses that are planned for: what no target selects stays as it is.
    pub selected: Option<&'a BTreeSet<Address>>,
}

impl Boots {
    /// Where nothing stands yet, every pool boots the newest.
    pub fn newest(stack: &Stack, binaries: &Binaries) -> Result<Self, BlueprintError> {
        let (observed, recorded) = (Observed::default(), State::empty(&stack.name));
        let standing = Standing { observed: &observed, recorded: &recorded, update: true, selected: None };
        Self::decide(stack, binaries, &standing)
    }

    /// What can be said of every pool's boot without reading a binary: enough to check the stack, and to find out what
    /// depends on what.
    pub fn without_binaries(stack: &Stack) -> Result<Self, BlueprintError> {
        let script = Script::read(stack)?;
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

    /// Decides for every pool.
    pub fn decide(stack: &Stack, binaries: &Binaries, standing: &Standing<'_>) -> Result<Self, BlueprintError> {
        let script = Script::read(stack)?;
        let uploaded = Uploaded::of(standing.observed);
        let mut boots = Self::default();
        let mut needed = Vec::new();
        for (name, pool) in &stack.pools {
            let one = OnePool { stack, name, pool, script: &script, binaries, standing };
            if !one.is_selected() {
                boots.pools.extend(one.as_it_stands().map(|boot| (name.clone(), boot)));
                continue;
            }
            let kept = if standing.update { None } else { one.kept(&uploaded)? };
            boots.held.extend(kept.as_ref().and_then(|(user_data, boot)| one.held(user_data, boot)));
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
        // What templates name that this plan does not touch stays, too.
        for (at, sha256) in uploaded.named_by(&unselected(standing)) {
            let architecture = match &at.index {
                Some(Index::Key(key)) => key.split('-').next().unwrap_or_default().to_owned(),
                _ => "other".to_owned(),
            };
            objects.push((architecture, Artifact { sha256, source: String::new() }));
        }
        // Those that are there first: they keep their addresses.
        let (there, new): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|(_, object)| uploaded.holds(&object.sha256));
        for (architecture, object) in there.into_iter().chain(new) {
            boots.put(uploaded.address(&object.sha256), &architecture, object);
        }
        Ok(boots)
    }

    /// Gives an artifact an address: the one it has, if that is free, else its architecture's, else one of its own.
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

    /// The SHA-256 of every binary that is to be uploaded.
    pub fn uploads(&self) -> impl Iterator<Item = &str> {
        self.objects.values().filter(|object| !object.source.is_empty()).map(|object| object.sha256.as_str())
    }

    /// What was observed, in the words of the stack: every object that is asked for at the address it is asked for at, and
    /// image sources that were too long for a launch template spelled out.
    pub fn spell_out(&self, stack: &Stack, observed: &mut Observed) {
        let asked: BTreeMap<String, &Address> =
            self.objects.iter().map(|(address, object)| (key(&object.sha256), address)).collect();
        let mut moved = Vec::new();
        for (at, remotes) in observed.remotes.iter_mut().filter(|(at, _)| at.kind.as_str() == S3Object::KIND) {
            let to = |remote: &Remote| asked.get(text(&remote.attributes, "key")).copied();
            // What is hidden behind a marker comes to light by being uploaded once more.
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
            let templates = observed.remotes.get_mut(&address::launch_template(name));
            let source = image_source_of(pool);
            for template in templates.into_iter().flatten() {
                if let Some(Value::Map(data)) = template.attributes.get_mut("data")
                    && let Some(Value::Text(kept)) = data.get_mut("image_source")
                    && stands_for(kept, &source)
                {
                    kept.clone_from(&source);
                }
            }
        }
    }

    /// What `--update-generator` would change, as one note.
    pub fn note(&self) -> Option<Note> {
        let mut alike: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for Held { pool, has, newest } in &self.held {
            alike.entry((has, newest)).or_default().push(pool);
        }
        let told = alike.into_iter().map(|((has, newest), pools)| {
            let names = pools.iter().map(|pool| format!("`{pool}`")).collect::<Vec<_>>().join(", ");
            let (word, keep) = if pools.len() == 1 { ("pool", "keeps") } else { ("pools", "keep") };
            let one = |(generator, trunnion): &(String, String)| {
                format!("generator {} with the boot script of Trunnion {trunnion}", short(generator))
            };
            format!("{word} {names} {keep} {}, and here is {}", one(has), one(newest))
        });
        let message = told.collect::<Vec<_>>().join("; ");
        (!message.is_empty()).then(|| Note {
            code: "plan::generator".to_owned(),
            message,
            help: Some("`--update-generator` takes it, and replaces these hosts one by one".to_owned()),
        })
    }
}

/// A digest as people compare it.
fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

/// What stands for a binary where there is none.
const NO_BINARY: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// The version of Trunnion that renders.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is decided for one pool.
struct OnePool<'a> {
    stack: &'a Stack,
    name: &'a str,
    pool: &'a Pool,
    script: &'a Script<'a>,
    binaries: &'a Binaries,
    standing: &'a Standing<'a>,
}

/// User data, and where it comes from.
type Known = (String, Boot);

impl OnePool<'_> {
    /// Whether the pool is planned for, be it that only its binary is to be there.
    fn is_selected(&self) -> bool {
        let Some(selected) = self.standing.selected else { return true };
        let object = address::object(self.pool.instance_type.architecture.as_str());
        let is_new = || self.looks().is_empty();
        selected.contains(&address::launch_template(self.name)) || (selected.contains(&object) && is_new())
    }

    /// How the pool's template looks: now, and where somebody edited that away, when it was last applied.
    fn looks(&self) -> Vec<&Map> {
        let address = address::launch_template(self.name);
        let remotes = self.standing.observed.remotes.get(&address).map(Vec::as_slice).unwrap_or_default();
        let Some(remote) = remotes.iter().find(|remote| !remote.is_spent) else { return Vec::new() };
        let recorded = self.standing.recorded.resources.get(&address).filter(|recorded| recorded.id == remote.id);
        [&remote.attributes].into_iter().chain(recorded.map(|recorded| &recorded.attributes)).collect()
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
        let inputs = inputs::digest(self.stack, self.name, self.script)?;
        let digest = inputs::seal(&inputs, user_data);
        Ok(Boot { trunnion: trunnion.to_owned(), generator: generator.to_owned(), digest })
    }

    /// What the pool keeps; nothing where it takes the newest.
    fn kept(&self, uploaded: &Uploaded) -> Result<Option<Known>, BlueprintError> {
        for look in self.looks() {
            let Some(user_data) = user_data_of(look) else { continue };
            if let Some(boot) = self.kept_from(user_data, boot_of(look), uploaded)? {
                return Ok(Some((user_data.to_owned(), boot)));
            }
        }
        Ok(None)
    }

    fn kept_from(
        &self,
        user_data: &str,
        known: Option<Boot>,
        uploaded: &Uploaded,
    ) -> Result<Option<Boot>, BlueprintError> {
        let architecture = self.pool.instance_type.architecture;
        let named = self.stack.generator.sha256.get(&architecture);
        let fits = |generator: &str| named.is_none_or(|named| named == generator);
        if let Some(boot) = known.as_ref().filter(|boot| fits(&boot.generator))
            && self.boot(&boot.trunnion, &boot.generator, user_data)?.digest == boot.digest
        {
            return Ok(known);
        }
        let trunnion = known.as_ref().map_or(VERSION, |boot| &boot.trunnion);
        let generators = known.iter().map(|boot| boot.generator.as_str()).chain(digests_in(user_data));
        for generator in generators.filter(|generator| fits(generator)).collect::<BTreeSet<_>>() {
            if self.script.render(self.name, generator).is_ok_and(|rendered| rendered == user_data) {
                return Ok(Some(self.boot(trunnion, generator, user_data)?));
            }
        }
        // A template of the user's own need not name the binary. Then it is the one that was uploaded for it.
        let is_unnamed = || self.script.render(self.name, NO_BINARY).is_ok_and(|rendered| rendered == user_data);
        match uploaded.usual(architecture.as_str()).filter(|generator| fits(generator)) {
            Some(generator) if is_unnamed() => Ok(Some(self.boot(trunnion, generator, user_data)?)),
            _ => Ok(None),
        }
    }

    /// What the pool would get instead of what it keeps, where that is something else.
    fn held(&self, user_data: &str, boot: &Boot) -> Option<Held> {
        let newest = self.binaries.newest(self.pool.instance_type.architecture).unwrap_or(&boot.generator);
        let is_newest = self.script.render(self.name, newest).is_ok_and(|rendered| rendered == user_data);
        (!is_newest).then(|| Held {
            pool: self.name.to_owned(),
            has: (boot.generator.clone(), boot.trunnion.clone()),
            newest: (newest.to_owned(), VERSION.to_owned()),
        })
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
                // Other content under its key is not the binary.
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

    /// The one at the architecture's usual address.
    fn usual(&self, architecture: &str) -> Option<&str> {
        let usual = address::object(architecture);
        self.0.iter().find(|(_, address)| **address == usual).map(|(sha256, _)| sha256.as_str())
    }

    /// Those that these templates name.
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

/// The templates that no target selects.
fn unselected<'a>(standing: &Standing<'a>) -> Vec<&'a Remote> {
    let Some(selected) = standing.selected else { return Vec::new() };
    let is_left = |address: &Address| address.kind.as_str() == LaunchTemplate::KIND && !selected.contains(address);
    standing.observed.remotes.iter().filter(|(address, _)| is_left(address)).flat_map(|(_, remotes)| remotes).collect()
}

/// The file that holds a binary which the bucket does not.
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
