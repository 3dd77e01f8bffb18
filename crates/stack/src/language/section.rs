//! Macros that declare keys. One line per key makes its reader, its description and its field in the model.

use super::{
    Around,
    describe::{Description, Entry},
    key::Reader,
};
use crate::{diagnostic::Findings, field::Map};

/// A map with known keys.
pub(crate) trait Section: Sized {
    /// Every key.
    fn describe() -> Description;

    /// Reads every key, even if another one has a mistake.
    fn read(map: &Map, around: &Around, findings: &mut Findings) -> Option<Self>;
}

/// The keys that are read for a field of this type.
pub(super) fn entries<T>(reader: &impl Reader<Value = T>, name: &'static str, doc: &[&str]) -> Vec<Entry> {
    reader.describe(name, doc)
}

/// Declares a section: its struct in the model, and the reader of each field.
///
/// A field is read from the key with its name, or with the name after `as`. The first paragraph of its comment is the
/// description of the key in the reference. In `check`, each field is an `Option`, which is `None` if the field has a
/// mistake.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $Section:ident {
            $($(#[doc = $doc:literal])* $field:ident $(as $key:literal)?: $type:ty = $reader:expr,)*
        }
        $(check($map:ident, $around:ident, $findings:ident) $check:block)?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $Section {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl $crate::language::section::Section for $Section {
            fn describe() -> $crate::language::describe::Description {
                let mut keys = Vec::new();
                $(
                    let name = $crate::language::section::key_name!($field $($key)?);
                    keys.extend($crate::language::section::entries::<$type>(&$reader, name, &[$($doc),*]));
                )*
                $crate::language::describe::Description {
                    about: $crate::language::describe::paragraph(&[$($about),*]),
                    keys,
                }
            }

            fn read(
                map: &$crate::field::Map,
                around: &$crate::language::Around,
                findings: &mut $crate::diagnostic::Findings,
            ) -> Option<Self> {
                $(
                    let name = $crate::language::section::key_name!($field $($key)?);
                    let $field: Option<$type> =
                        $crate::language::key::Reader::read(&$reader, name, map, around, findings);
                )*
                $(
                    let ($map, $around, $findings) = (map, around, findings);
                    let checked: Option<()> = $check;
                    checked?;
                )?
                Some($Section { $($field: $field?,)* })
            }
        }
    };
}

/// Declares keys that are read one by one, each with the function of its name. A key without a reader does not compile.
macro_rules! keys {
    (
        $(#[doc = $about:literal])*
        $Keys:ident {
            $($(#[doc = $doc:literal])* $key:ident: $type:ty = $reader:expr,)*
        }
    ) => {
        $(#[doc = $about])*
        pub(crate) struct $Keys;

        #[deny(dead_code, reason = "a key without a reader would be accepted and ignored")]
        impl $Keys {
            $(
                $(#[doc = $doc])*
                fn $key(
                    map: &$crate::field::Map,
                    around: &$crate::language::Around,
                    findings: &mut $crate::diagnostic::Findings,
                ) -> Option<$type> {
                    $crate::language::key::Reader::read(&$reader, stringify!($key), map, around, findings)
                }
            )*

            /// Every key.
            pub(crate) fn describe() -> $crate::language::describe::Description {
                let mut keys = Vec::new();
                $(keys.extend($crate::language::section::entries::<$type>(&$reader, stringify!($key), &[$($doc),*]));)*
                $crate::language::describe::Description {
                    about: $crate::language::describe::paragraph(&[$($about),*]),
                    keys,
                }
            }
        }
    };
}

/// The key that a field is read from.
macro_rules! key_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

pub(crate) use {key_name, keys, section};
