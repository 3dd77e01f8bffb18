//! The modules of this crate do not import each other in a cycle, and only one of them speaks rtnetlink.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::visit::{self, Visit};

/// A module, such as `check::network`; empty for the crate root.
type Module = Vec<String>;

/// The names that one module uses, outside of its tests.
#[derive(Default)]
struct Imports {
    /// The module that is being read; inline modules are appended.
    here: Module,
    /// Absolute paths within the crate.
    own: BTreeSet<Module>,
    /// The first segments of all other paths, such as the names of crates.
    foreign: BTreeSet<String>,
}

impl Imports {
    fn of(module: &Module, source: &str) -> Self {
        let mut imports = Self { here: module.clone(), ..Self::default() };
        imports.visit_file(&syn::parse_file(source).unwrap());
        imports
    }

    fn add(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut module = match first.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.here.clone(),
            other => {
                self.foreign.insert(other.to_owned());
                // It can also be a module below this one.
                [self.here.as_slice(), &[other.to_owned()]].concat()
            }
        };
        for segment in path.iter().skip(usize::from(first != "super")) {
            match segment.as_str() {
                "self" => {}
                "super" => drop(module.pop()),
                name => module.push(name.to_owned()),
            }
        }
        self.own.insert(module);
    }

    fn add_tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.add(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.add(&with(&rename.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
            syn::UseTree::Glob(_) => self.add(before),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
    })
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.here.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.here.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // A single name is a local one, or comes from a `use`.
        if path.segments.len() > 1 {
            self.add(&path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'ast syn::Macro) {
        // The arguments of a macro are not parsed, so their paths are looked for in the text.
        let text = item.tokens.to_string().replace(" :: ", "::");
        for path in text.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c)).filter(|word| word.contains("::")) {
            self.add(&path.split("::").map(str::to_owned).collect::<Vec<_>>());
        }
        visit::visit_macro(self, item);
    }
}

/// All modules of this crate with their sources.
fn sources() -> BTreeMap<Module, String> {
    fn read(folder: &Path, module: &Module, sources: &mut BTreeMap<Module, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let inner = [module.as_slice(), std::slice::from_ref(&name)].concat();
            match name.as_str() {
                "tests" => {}
                _ if path.is_dir() => read(&path, &inner, sources),
                "main" | "mod" => drop(sources.insert(module.clone(), fs::read_to_string(path).unwrap())),
                _ => drop(sources.insert(inner, fs::read_to_string(path).unwrap())),
            }
        }
    }
    let mut sources = BTreeMap::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &Vec::new(), &mut sources);
    sources
}

/// Which module imports which.
fn imports_of_modules(sources: &BTreeMap<Module, String>) -> BTreeSet<(&Module, &Module)> {
    let mut found = BTreeSet::new();
    for (module, source) in sources {
        for path in Imports::of(module, source).own {
            let target = (0..=path.len()).rev().find_map(|length| sources.get_key_value(path.get(..length)?));
            // A path into another crate resolves to the module itself, which is dropped below.
            if let Some((target, _)) = target {
                found.insert((module, target));
            }
        }
    }
    found.retain(|(module, target)| module != target);
    found
}

/// The import cycles, each as a list of modules.
fn cycles(sources: &BTreeMap<Module, String>) -> Vec<Vec<String>> {
    let graph: DiGraphMap<&Module, ()> = imports_of_modules(sources).into_iter().collect();
    let cycles = tarjan_scc(&graph).into_iter().filter(|cycle| cycle.len() > 1);
    cycles.map(|cycle| cycle.into_iter().map(|module| module.join("::")).collect()).collect()
}

#[test]
fn no_modules_import_each_other_in_a_cycle() {
    let sources = sources();
    let module = |name: &str| name.split("::").map(str::to_owned).collect::<Module>();
    for (from, to) in [("cli", "setup"), ("check", "check::network"), ("check::network", "netlink")] {
        assert!(
            imports_of_modules(&sources).contains(&(&module(from), &module(to))),
            "`{from}` does not import `{to}`"
        );
    }
    assert_eq!(cycles(&sources), Vec::<Vec<String>>::new());
}

#[test]
fn a_cycle_is_found_for_every_form_of_import() {
    for import in [
        "use super::b::Item;",
        "use crate::{b::{self, Item}, c};",
        "fn call() { super::b::call() }",
        "fn call() { say!(\"{}\", crate::b::TEXT) }",
    ] {
        let sources = [("", "mod a; mod b;"), ("a", import), ("b", "fn call() { crate::a::call() }")];
        let module = |name: &str| if name.is_empty() { Module::new() } else { vec![name.to_owned()] };
        let found = cycles(&sources.map(|(name, source)| (module(name), source.to_owned())).into());
        assert_eq!(found.len(), 1, "{import}");
    }
    let parent = [("a", "mod b; pub use self::b::Item; pub struct Other;"), ("a::b", "use super::Other;")];
    let module = |name: &str| name.split("::").map(str::to_owned).collect::<Module>();
    assert_eq!(cycles(&parent.map(|(name, source)| (module(name), source.to_owned())).into()).len(), 1);
}

#[test]
fn the_network_is_read_in_one_place() {
    let others: Vec<String> = sources()
        .iter()
        .filter(|(module, _)| module.first().is_none_or(|first| first != "netlink"))
        .filter(|(module, source)| {
            let foreign = Imports::of(module, source).foreign;
            ["rtnetlink", "netlink_packet_route"].iter().any(|name| foreign.contains(*name))
        })
        .map(|(module, _)| module.join("::"))
        .collect();
    assert_eq!(others, Vec::<String>::new());
}
