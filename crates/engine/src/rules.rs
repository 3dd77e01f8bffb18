//! What the engine knows of a kind: which attributes change in place, which ones AWS decides, and how each is compared.

use std::{collections::BTreeMap, fmt};

use crate::{HomeRule, KindName, Map, Value, lies_under};

/// The rules of one kind. Names of kinds are those of [`Address::kind`](crate::Address::kind).
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The name of the kind, such as `launch_template`.
    pub kind: &'static str,
    /// Kinds whose resources this kind may depend on: they are deleted after it.
    pub depends_on: &'static [&'static str],
    /// Of those, the kinds of which the cloud refuses to delete a resource while one of this kind uses it.
    pub blocks: &'static [&'static str],
    /// Rules of attributes by path, `data.image_id`; a rule holds for everything beneath its path.
    /// What is not named here changes in place and compares as it is.
    pub attributes: &'static [(&'static str, Attribute)],
    /// Attributes that no stack sets: AWS or the engine computes them.
    pub computed: &'static [(&'static str, Computed)],
    /// In which order a replacement happens.
    pub replacement: Replacement,
}

/// How one attribute behaves. Start from [`Attribute::PLAIN`].
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each one is an independent property of an attribute")]
pub struct Attribute {
    /// A change of it replaces the resource.
    pub immutable: bool,
    /// A list whose order means nothing: it is compared sorted.
    pub unordered: bool,
    /// Text that holds JSON: it compares as JSON, as IAM means it.
    pub json: bool,
    /// Plans and the state hold a SHA-256 instead of the value.
    pub sensitive: bool,
    /// Plans and the state hold the texts beneath its path without the parts that may be secrets.
    pub redacts: Option<Redacts>,
    /// The create call needs it. It is not compared, shown or recorded afterwards.
    pub create_only: bool,
    /// An attribute that is absent in the cloud is no difference. It is set with the next change of another attribute.
    pub optional: bool,
    /// It keeps its observed value while the attribute of this path stays as it is.
    pub pinned_by: Option<&'static str>,
    /// It identifies a resource beside its address: a [`Token`](crate::Token) covers it, and no attribute without this.
    /// Where no attribute of a kind identifies, its tokens cover them all.
    pub identifies: bool,
    /// Which observed values are as good as the desired one: they stay, and are no difference.
    pub accepts: Option<Accepts>,
}

/// A text with digests in place of the parts that may be secrets. The function has to be pure, and to leave what it returned
/// as it is.
#[derive(Clone, Copy)]
pub struct Redacts(pub fn(Redacted<'_>) -> String);

/// A text that may hold secrets.
#[derive(Debug, Clone, Copy)]
pub struct Redacted<'t> {
    /// The path of the attribute: `containers.main.environment["A.B"]`.
    pub path: &'t str,
    /// The text, or a part of it.
    pub text: &'t str,
    /// Whether it is a part of what the stack asks for, between values that only the cloud knows.
    pub is_part: bool,
}

impl fmt::Debug for Redacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redacts")
    }
}

/// Whether an observed value is as good as the desired one. The function has to be pure.
#[derive(Clone, Copy)]
pub struct Accepts(pub fn(desired: &Value, observed: &Value) -> bool);

impl fmt::Debug for Accepts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Accepts")
    }
}

impl Attribute {
    /// It changes in place and compares as it is.
    pub const PLAIN: Self = Self {
        immutable: false,
        unordered: false,
        json: false,
        sensitive: false,
        redacts: None,
        create_only: false,
        optional: false,
        pinned_by: None,
        identifies: false,
        accepts: None,
    };
    /// See [`Attribute::immutable`].
    pub const IMMUTABLE: Self = Self { immutable: true, ..Self::PLAIN };
    /// See [`Attribute::unordered`].
    pub const UNORDERED: Self = Self { unordered: true, ..Self::PLAIN };
    /// See [`Attribute::json`].
    pub const JSON: Self = Self { json: true, ..Self::PLAIN };
    /// See [`Attribute::sensitive`].
    pub const SENSITIVE: Self = Self { sensitive: true, ..Self::PLAIN };
    /// See [`Attribute::create_only`].
    pub const CREATE_ONLY: Self = Self { create_only: true, ..Self::PLAIN };

    /// See [`Attribute::optional`].
    pub const OPTIONAL: Self = Self { optional: true, ..Self::PLAIN };

    /// The create call needs it. Afterwards, every observed value is accepted.
    pub const KEPT: Self = Self { accepts: Some(Accepts(|_, _| true)), ..Self::IMMUTABLE };

    /// The same, and observed values that `accepts` returns true for stay. Its first argument is the desired value.
    #[must_use]
    pub const fn accepting(self, accepts: fn(&Value, &Value) -> bool) -> Self {
        Self { accepts: Some(Accepts(accepts)), ..self }
    }

    /// The same, and documents hold what `redacts` makes of its text.
    #[must_use]
    pub const fn redacting(self, redacts: fn(Redacted<'_>) -> String) -> Self {
        Self { redacts: Some(Redacts(redacts)), ..self }
    }

    /// The same, and it identifies a resource beside its address.
    #[must_use]
    pub const fn identifying(self) -> Self {
        Self { identifies: true, ..self }
    }

    /// Pinned while the attribute at `path` stays the same.
    #[must_use]
    pub const fn pinned_by(self, path: &'static str) -> Self {
        Self { pinned_by: Some(path), ..self }
    }
}

/// What decides a computed attribute, and when it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Computed {
    /// AWS, once, at creation.
    AtCreation,
    /// AWS, again whenever one of these attributes is updated.
    ChangesWith(&'static [&'static str]),
    /// The engine: SHA-256 of this attribute's JSON, known as soon as the attribute is.
    DigestOf(&'static str),
}

/// In which order a replacement happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The old one is deleted first: the two cannot exist at the same time.
    DeleteFirst,
    /// The old one is deleted first, and only one of the same name is replaced at a time.
    DeleteFirstOneByOne,
    /// The new one is created first. The old one is deleted once nothing needs it any more.
    CreateFirst,
}

/// The rules of every kind.
#[derive(Debug, Clone, Default)]
pub struct RuleBook {
    kinds: BTreeMap<KindName, Rules>,
    home: Option<HomeRule>,
}

impl RuleBook {
    /// Collects the rules of kinds.
    pub fn new(rules: impl IntoIterator<Item = Rules>) -> Self {
        Self { kinds: rules.into_iter().map(|rules| (KindName::new(rules.kind), rules)).collect(), home: None }
    }

    /// The same, where resources say which home their stack has.
    #[must_use]
    pub fn with_home(self, rule: HomeRule) -> Self {
        Self { home: Some(rule), ..self }
    }

    /// How resources say which home their stack has.
    pub fn home(&self) -> Option<HomeRule> {
        self.home
    }

    /// The kinds, in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = &KindName> {
        self.kinds.keys()
    }

    /// The rules of a kind.
    pub fn get(&self, kind: &KindName) -> Option<&Rules> {
        self.kinds.get(kind)
    }

    /// Whether the cloud refuses to delete a resource of `other` while one of `kind` uses it.
    pub fn blocks(&self, kind: &KindName, other: &KindName) -> bool {
        self.get(kind).is_some_and(|rules| rules.blocks.contains(&other.as_str()))
    }

    /// Whether a resource of `kind` may depend on one of `other`, directly or through further kinds.
    pub fn may_depend(&self, kind: &KindName, other: &KindName) -> bool {
        self.get(kind).is_some_and(|rules| {
            rules.depends_on.iter().any(|&name| {
                name == other.as_str() || (name != kind.as_str() && self.may_depend(&KindName::new(name), other))
            })
        })
    }
}

impl Rules {
    /// The rule of an attribute path: the longest path named that it lies under.
    pub fn attribute(&self, path: &str) -> Attribute {
        self.attributes
            .iter()
            .filter(|(rule, _)| lies_under(path, rule))
            .max_by_key(|(rule, _)| rule.len())
            .map_or(Attribute::PLAIN, |(_, attribute)| *attribute)
    }

    /// What identifies a resource with these attributes beside its address.
    pub(crate) fn identity(&self, attributes: &Map) -> Value {
        let mut identity = attributes.clone();
        if self.attributes.iter().any(|(_, attribute)| attribute.identifies) {
            identity.retain(|name, _| self.attribute(name).identifies);
        }
        Value::Map(identity)
    }

    /// How a computed attribute, or an element of one, comes about.
    pub fn computed(&self, name: &str) -> Option<Computed> {
        let name = name.split_once('[').map_or(name, |(list, _)| list);
        self.computed.iter().find(|(computed, _)| *computed == name).map(|(_, computed)| *computed)
    }
}
