//! Checks of policies before any evaluation. Rego gives nothing where a path leads nowhere, so a policy with a typing error
//! would never deny anything. Here a name after a point has to exist in the plan document, in the policy itself or in another
//! one; names that a stack chooses, such as keys of tags, are written in brackets: `tags["team"]`.

use std::collections::{BTreeMap, BTreeSet};

use regorus::unstable::{AssignOp, BUILTINS, BoolOp, Expr, Literal, Module, NodeRef, Query, Rule, RuleHead, Span};
use trunnion_engine::preview::Severity;

use crate::{
    PolicyError, ROOT, functions,
    names::{Names, Place, most_similar},
};

/// A rule whose elements are verdicts.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The name of its package after `trunnion`.
    pub(crate) package: String,
    /// What its elements are.
    pub(crate) severity: Severity,
    /// The file that has it; the first one, where several have it.
    pub(crate) file: String,
    /// The line of its head.
    line: u32,
}

impl Entry {
    /// The path of the rule.
    pub(crate) fn rule(&self) -> String {
        format!("data.{ROOT}.{}.{}", self.package, self.name())
    }

    fn name(&self) -> &'static str {
        match self.severity {
            Severity::Deny => "deny",
            Severity::Warn => "warn",
        }
    }

    /// An error of what it contains.
    pub(crate) fn wrong(&self, what: &str) -> PolicyError {
        PolicyError {
            file: self.file.clone(),
            line: Some(self.line),
            message: format!("`{}` of the package `{ROOT}.{}` {what}", self.name(), self.package),
            help: HEAD.into(),
        }
    }
}

/// The names of the rules of each package.
type Packages = BTreeMap<Vec<String>, BTreeSet<String>>;

const HEAD: &str = "write `deny contains TEXT if { … }`, or an object with `message`, `help` and `address` in place of the text; `warn` alike";

/// The rules to evaluate, once everything that the modules use is known to exist.
pub(crate) fn entries(modules: &[NodeRef<Module>]) -> Result<Vec<Entry>, PolicyError> {
    let names = Names::new();
    let mut packages = Packages::new();
    for module in modules {
        let rules = packages.entry(path(&module.package.refr)).or_default();
        rules.extend(module.policy.iter().filter_map(|rule| path(head(rule)).first().cloned()));
    }
    for module in modules {
        Checks::new(module, &names, &packages).module(module)?;
    }
    no_recursion(modules, &packages)?;
    let mut entries: Vec<Entry> = Vec::new();
    for module in modules {
        for entry in own_entries(module, &packages)? {
            if !entries.iter().any(|it| (&it.package, it.severity) == (&entry.package, entry.severity)) {
                entries.push(entry);
            }
        }
    }
    entries.sort_by(|one, other| (&one.package, other.severity).cmp(&(&other.package, one.severity)));
    Ok(entries)
}

/// Refuses rules that need themselves. The evaluator finds such rules when it comes to them, but not such functions.
fn no_recursion(modules: &[NodeRef<Module>], packages: &Packages) -> Checked {
    type Name = (Vec<String>, String);
    let mut needs: BTreeMap<Name, (Span, BTreeSet<Name>)> = BTreeMap::new();
    for module in modules {
        let package = path(&module.package.refr);
        let imports = imports(module);
        for rule in &module.policy {
            let Some(name) = path(head(rule)).first().cloned() else { continue };
            let (_, needed) =
                needs.entry((package.clone(), name)).or_insert_with(|| (head(rule).span().clone(), BTreeSet::new()));
            let mut calls = BTreeSet::new();
            visit_rule(rule, &mut |expr| {
                let path = match expr {
                    Expr::Call { fcn, .. } => {
                        calls.extend(path(fcn).first().cloned());
                        path(fcn)
                    }
                    Expr::Var { .. } | Expr::RefDot { .. } | Expr::RefBrack { .. } => path(expr),
                    _ => return Ok(()),
                };
                needed.extend(rules_at(&package, &whole(&imports, path), packages));
                Ok(())
            })?;
            // A variable may have the name of a rule; what is called is none.
            let mut is_variable = BTreeSet::new();
            visit_bindings(rule, &mut |name, _, _| {
                is_variable.insert(name.to_owned());
            });
            needed.retain(|(of, name)| *of != package || calls.contains(name) || !is_variable.contains(name));
        }
    }
    // What needs nothing is evaluated first, then what needs only that; the others need themselves.
    loop {
        let done: Vec<Name> =
            needs.iter().filter(|(_, (_, needed))| needed.is_empty()).map(|(name, _)| name.clone()).collect();
        if done.is_empty() {
            break;
        }
        needs.retain(|name, _| !done.contains(name));
        for (_, needed) in needs.values_mut() {
            needed.retain(|name| !done.contains(name));
        }
    }
    // Of them, those that nothing needs are no part of the circle.
    loop {
        let needed: BTreeSet<Name> = needs.values().flat_map(|(_, needed)| needed.iter().cloned()).collect();
        let before = needs.len();
        needs.retain(|name, _| needed.contains(name));
        if needs.len() == before {
            break;
        }
    }
    match needs.iter().next() {
        Some(((_, name), (span, _))) => Err(error(
            span,
            format!("`{name}` needs itself, directly or by other rules"),
            "Rego has no recursion; `walk` and comprehensions go through what is nested".into(),
        )),
        None => Ok(()),
    }
}

/// The rules that a path leads to, from a package: one rule, or all that are below it.
fn rules_at(package: &[String], path: &[String], packages: &Packages) -> Vec<(Vec<String>, String)> {
    let Some(path) = path.strip_prefix(&["data".to_owned()]) else {
        let own = packages.get(package).zip(path.first()).filter(|(rules, name)| rules.contains(*name));
        return own.map(|(_, name)| (package.to_vec(), name.clone())).into_iter().collect();
    };
    let mut found = Vec::new();
    for (package, rules) in packages {
        match path.strip_prefix(package.as_slice()).map(<[String]>::first) {
            Some(Some(name)) if rules.contains(name) => found.push((package.clone(), name.clone())),
            Some(None) => found.extend(rules.iter().map(|rule| (package.clone(), rule.clone()))),
            None if package.starts_with(path) => found.extend(rules.iter().map(|rule| (package.clone(), rule.clone()))),
            Some(Some(_)) | None => {}
        }
    }
    found
}

/// What imported names stand for.
fn imports(module: &Module) -> BTreeMap<String, Vec<String>> {
    let mut imports = BTreeMap::new();
    for import in &module.imports {
        let path = path(&import.refr);
        let name = import.r#as.as_ref().map(|span| span.text().to_owned()).or_else(|| path.last().cloned());
        if path.first().is_some_and(|first| first == "data" || first == "input") {
            imports.extend(name.map(|name| (name, path)));
        }
    }
    imports
}

/// A path with what an imported name stands for.
fn whole(imports: &BTreeMap<String, Vec<String>>, mut path: Vec<String>) -> Vec<String> {
    if let Some(imported) = path.first().and_then(|first| imports.get(first)) {
        path.splice(..1, imported.iter().cloned());
    }
    path
}

/// The verdicts of one module, whose package and heads are checked.
fn own_entries(module: &NodeRef<Module>, packages: &Packages) -> Result<Vec<Entry>, PolicyError> {
    let package = path(&module.package.refr);
    let span = &module.package.span;
    let shown = package.join(".");
    let name = match package.as_slice() {
        [root, name] if root == ROOT => Some(name),
        [root, ..] if root == ROOT => {
            let help = format!("name it `{ROOT}.NAME`: the name becomes the code of its verdicts, `policy::NAME`");
            return Err(error(span, format!("the package `{shown}` has no name, or several"), help));
        }
        _ => None,
    };
    let mut entries = Vec::new();
    for rule in &module.policy {
        let refr = head(rule);
        let severity = match path(refr).first().map(String::as_str) {
            Some("deny") => Severity::Deny,
            Some("warn") => Severity::Warn,
            _ => continue,
        };
        let Some(name) = name else {
            let message = format!("`{}` is in the package `{shown}`, so nothing evaluates it", refr.span().text());
            return Err(error(refr.span(), message, format!("name the package `{ROOT}.NAME`")));
        };
        let is_set = matches!(&**rule, Rule::Spec { head: RuleHead::Set { refr, key: Some(_), .. }, .. } if matches!(**refr, Expr::Var { .. }));
        if !is_set {
            let message = format!("`{}` is not a set of messages", refr.span().text());
            return Err(error(refr.span(), message, HEAD.into()));
        }
        entries.push(Entry {
            package: name.clone(),
            severity,
            file: refr.span().source.file().clone(),
            line: refr.span().line,
        });
    }
    let has_any = packages.get(&package).is_some_and(|rules| rules.contains("deny") || rules.contains("warn"));
    if name.is_some_and(|name| !name.ends_with("_test")) && !has_any {
        let message = format!("the package `{shown}` has no rule `deny` or `warn`, so it says nothing");
        let help =
            format!("{HEAD}; a package of helpers has a name without `{ROOT}`, and one of tests ends in `_test`");
        return Err(error(span, message, help));
    }
    Ok(entries)
}

fn error(span: &Span, message: String, help: String) -> PolicyError {
    PolicyError { file: span.source.file().clone(), line: Some(span.line), message, help }
}

/// What is before the body of a rule.
fn head(rule: &Rule) -> &Expr {
    match rule {
        Rule::Spec {
            head: RuleHead::Compr { refr, .. } | RuleHead::Set { refr, .. } | RuleHead::Func { refr, .. },
            ..
        }
        | Rule::Default { refr, .. } => refr,
    }
}

/// The names of a reference, as far as they are known: `["data", "trunnion"]` of `data.trunnion[name]`.
fn path(expr: &Expr) -> Vec<String> {
    fn walk(expr: &Expr, path: &mut Vec<String>) -> bool {
        match expr {
            Expr::Var { span, .. } => {
                path.push(span.text().to_owned());
                true
            }
            Expr::RefDot { refr, field, .. } => {
                let is_whole = walk(refr, path);
                if is_whole {
                    path.push(field.0.text().to_owned());
                }
                is_whole
            }
            Expr::RefBrack { refr, index, .. } => {
                let is_whole = walk(refr, path);
                match &**index {
                    Expr::String { value, .. } | Expr::RawString { value, .. } if is_whole => {
                        path.extend(value.as_string().ok().map(ToString::to_string));
                        true
                    }
                    _ => false,
                }
            }
            _ => false,
        }
    }
    let mut found = Vec::new();
    walk(expr, &mut found);
    found
}

/// The first name of a reference.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Var { span, .. } => Some(span.text()),
        Expr::RefDot { refr, .. } | Expr::RefBrack { refr, .. } => root(refr),
        _ => None,
    }
}

/// The checks of one module.
struct Checks<'a> {
    names: &'a Names,
    packages: &'a Packages,
    /// The path of the module's package.
    package: Vec<String>,
    /// What imported names stand for.
    imports: BTreeMap<String, Vec<String>>,
    /// The keys of objects that the module writes down.
    keys: BTreeSet<String>,
    /// What the variables of the rule are.
    variables: BTreeMap<String, Place<'a>>,
}

type Checked = Result<(), PolicyError>;

impl<'a> Checks<'a> {
    fn new(module: &Module, names: &'a Names, packages: &'a Packages) -> Self {
        Self {
            names,
            packages,
            package: path(&module.package.refr),
            imports: imports(module),
            keys: BTreeSet::new(),
            variables: BTreeMap::new(),
        }
    }

    fn module(&mut self, module: &Module) -> Checked {
        for import in &module.imports {
            match root(&import.refr) {
                Some("data") => self.rule_exists(&path(&import.refr), import.refr.span())?,
                Some("input") => {
                    self.place(&import.refr)?;
                }
                _ => {}
            }
        }
        for rule in &module.policy {
            visit_rule(rule, &mut |expr| {
                if let Expr::Object { fields, .. } = expr {
                    self.keys.extend(fields.iter().filter_map(|(_, key, _)| text(key)));
                }
                Ok(())
            })?;
        }
        for rule in &module.policy {
            self.rule(rule)?;
        }
        Ok(())
    }

    fn rule(&mut self, rule: &Rule) -> Checked {
        self.variables.clear();
        // What a variable is may be known only after another one is.
        for _ in 0..3 {
            let mut found: BTreeMap<String, Place<'a>> = BTreeMap::new();
            visit_bindings(rule, &mut |name, collection, is_element| {
                let place = self.place(collection).unwrap_or(Place::Open);
                let place = if is_element { self.names.elements(&place) } else { place };
                let is_other = found.get(name).is_some_and(|other| *other != place);
                found.insert(name.to_owned(), if is_other { Place::Open } else { place });
            });
            self.variables = found;
        }
        // Arguments of a function can be anything.
        if let Rule::Spec { head: RuleHead::Func { args, .. }, .. } = rule {
            for argument in args {
                self.variables.remove(argument.span().text());
            }
        }
        visit_rule(rule, &mut |expr| self.expression(expr))
    }

    fn expression(&self, expr: &Expr) -> Checked {
        match expr {
            Expr::RefDot { .. } | Expr::RefBrack { .. } => match root(expr) {
                Some(name) if self.stands_for_data(name) => {
                    let whole = whole(&self.imports, path(expr));
                    self.rule_exists(&whole, expr.span())
                }
                _ => self.place(expr).map(|_| ()),
            },
            Expr::Call { fcn, .. } => self.function_exists(fcn),
            Expr::BoolExpr { op: BoolOp::Eq | BoolOp::Ne, lhs, rhs, .. }
            | Expr::AssignExpr { op: AssignOp::Eq, lhs, rhs, .. } => {
                self.texts(lhs, &[rhs])?;
                self.texts(rhs, &[lhs])
            }
            Expr::Membership { value, collection, .. } => match &**collection {
                Expr::Set { items, .. } | Expr::Array { items, .. } => {
                    self.texts(value, &items.iter().map(|item| &**item).collect::<Vec<_>>())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn stands_for_data(&self, name: &str) -> bool {
        name == "data" || self.imports.get(name).is_some_and(|path| path.first().is_some_and(|first| first == "data"))
    }

    /// Where a reference leads. Its names are checked on the way.
    fn place(&self, expr: &Expr) -> Result<Place<'a>, PolicyError> {
        match expr {
            Expr::Var { span, .. } => {
                let name = span.text();
                let imported = self.imports.get(name).filter(|path| path.first().is_some_and(|first| first == "input"));
                if name == "input" {
                    return Ok(self.names.document());
                }
                if let Some(path) = imported {
                    let names = path.get(1..).unwrap_or_default();
                    let step = |place, name: &String| self.names.property(&place, name);
                    return Ok(names.iter().try_fold(self.names.document(), step).unwrap_or(Place::Open));
                }
                Ok(self.variables.get(name).cloned().unwrap_or(Place::Open))
            }
            Expr::RefDot { refr, field, .. } => self.step(refr, &field.0, field.0.text(), true),
            Expr::RefBrack { refr, index, .. } => match text(index) {
                Some(name) => self.step(refr, index.span(), &name, false),
                None => Ok(self.names.elements(&self.place(refr)?)),
            },
            _ => Ok(Place::Open),
        }
    }

    fn step(&self, refr: &Expr, span: &Span, name: &str, is_dot: bool) -> Result<Place<'a>, PolicyError> {
        let place = self.place(refr)?;
        let Some(next) = self.names.property(&place, name) else {
            let there = place.names();
            let help = match most_similar(name, there.iter().copied()) {
                Some(similar) => format!("the most similar name there is `{similar}`"),
                None if there.is_empty() => "it is a list or a single value".into(),
                None => format!("the names there are {}", there.join(", ")),
            };
            return Err(error(span, format!("`{}` of the plan document has no `{name}`", refr.span().text()), help));
        };
        let is_known = !is_dot || !place.names().is_empty() || self.names.has(name) || self.keys.contains(name);
        if !is_known && !root(refr).is_some_and(|root| self.stands_for_data(root)) {
            let similar =
                self.names.similar(name).map(|similar| format!("write `{similar}`, or, ")).unwrap_or_default();
            let help = format!("{similar}if a stack or AWS chooses this name, write it in brackets: [\"{name}\"]");
            return Err(error(span, format!("nothing in a plan document has the name `{name}`"), help));
        }
        Ok(next)
    }

    /// Whether a reference is compared with texts that it can be.
    fn texts(&self, refr: &Expr, others: &[&Expr]) -> Checked {
        let is_reference = matches!(refr, Expr::RefDot { .. } | Expr::RefBrack { .. } | Expr::Var { .. });
        let place = if is_reference { self.place(refr)? } else { Place::Open };
        let Some(texts) = place.texts() else { return Ok(()) };
        for other in others {
            if let Some(wrong) = text(other).filter(|text| !texts.contains(&text.as_str())) {
                let message = format!("`{}` is never `{wrong}`", refr.span().text());
                return Err(error(other.span(), message, format!("it is one of {}", texts.join(", "))));
            }
        }
        Ok(())
    }

    /// Whether a path of `data` leads to a rule or to a package.
    fn rule_exists(&self, path: &[String], span: &Span) -> Checked {
        let path = path.strip_prefix(&["data".to_owned()]).unwrap_or(path);
        let is_prefix = |package: &[String]| package.starts_with(path);
        let is_rule = |package: &[String], rules: &BTreeSet<String>| {
            path.strip_prefix(package).and_then(<[String]>::first).is_some_and(|name| rules.contains(name))
        };
        if self.packages.iter().any(|(package, rules)| is_prefix(package) || is_rule(package, rules)) {
            return Ok(());
        }
        let known = self
            .packages
            .iter()
            .flat_map(|(package, rules)| rules.iter().map(|rule| format!("{}.{rule}", package.join("."))));
        let known: Vec<String> = known.collect();
        let help = match most_similar(&path.join("."), known.iter().map(String::as_str)) {
            Some(similar) => format!("the most similar rule is `data.{similar}`"),
            None => "policies have no other data than the rules of these files".into(),
        };
        Err(error(span, format!("`data.{}` is neither a rule nor a package", path.join(".")), help))
    }

    fn function_exists(&self, function: &Expr) -> Checked {
        let names = path(function);
        let shown = names.join(".");
        let is_own =
            self.packages.get(&self.package).zip(names.first()).is_some_and(|(rules, name)| rules.contains(name));
        let is_refused = functions::REFUSED.contains(&shown.as_str());
        if is_own || shown == "print" || functions::NAMES.contains(&shown.as_str()) {
            return Ok(());
        }
        match names.first() {
            Some(first) if self.stands_for_data(first) => {
                return self.rule_exists(&whole(&self.imports, names.clone()), function.span());
            }
            _ if BUILTINS.contains_key(shown.as_str()) && !is_refused => return Ok(()),
            _ => {}
        }
        let own = self.packages.get(&self.package).into_iter().flatten().map(String::as_str);
        let known = BUILTINS.keys().copied().filter(|name| !functions::REFUSED.contains(name)).chain(own);
        let similar = most_similar(&shown, known).map(|similar| format!("; the most similar one is `{similar}`"));
        let help = "a policy has neither network, files, clock nor random numbers, and not all functions of OPA";
        Err(error(
            function.span(),
            format!("there is no function `{shown}`"),
            help.to_owned() + &similar.unwrap_or_default(),
        ))
    }
}

/// The text that an expression is.
fn text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::String { value, .. } | Expr::RawString { value, .. } => value.as_string().ok().map(ToString::to_string),
        _ => None,
    }
}

type OnExpression<'f> = dyn FnMut(&Expr) -> Checked + 'f;

/// Calls this for every expression of a rule; of a reference only for the whole, and for what is in its brackets.
fn visit_rule(rule: &Rule, on: &mut OnExpression) -> Checked {
    match rule {
        Rule::Default { value, .. } => visit(value, on),
        Rule::Spec { head, bodies, .. } => {
            let (refr, values) = match head {
                RuleHead::Compr { refr, assign, .. } | RuleHead::Func { refr, assign, .. } => {
                    (refr, assign.as_ref().map(|assign| &assign.value))
                }
                RuleHead::Set { refr, key, .. } => (refr, key.as_ref()),
            };
            visit_indexes(refr, on)?;
            values.into_iter().try_for_each(|value| visit(value, on))?;
            for body in bodies {
                body.assign.iter().try_for_each(|assign| visit(&assign.value, on))?;
                visit_query(&body.query, on)?;
            }
            Ok(())
        }
    }
}

fn visit_query(query: &Query, on: &mut OnExpression) -> Checked {
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeVars { .. } => {}
            Literal::SomeIn { key, value, collection, .. } => {
                key.iter().try_for_each(|key| visit(key, on))?;
                visit(value, on)?;
                visit(collection, on)?;
            }
            Literal::Expr { expr, .. } | Literal::NotExpr { expr, .. } => visit(expr, on)?,
            Literal::Every { domain, query, .. } => {
                visit(domain, on)?;
                visit_query(query, on)?;
            }
        }
        statement.with_mods.iter().try_for_each(|with| visit(&with.r#as, on))?;
    }
    Ok(())
}

fn visit_indexes(expr: &Expr, on: &mut OnExpression) -> Checked {
    match expr {
        Expr::RefDot { refr, .. } => visit_indexes(refr, on),
        Expr::RefBrack { refr, index, .. } => {
            visit_indexes(refr, on)?;
            visit(index, on)
        }
        Expr::Var { .. } => Ok(()),
        other => visit(other, on),
    }
}

fn visit(expr: &Expr, on: &mut OnExpression) -> Checked {
    on(expr)?;
    match expr {
        Expr::RefDot { .. } | Expr::RefBrack { .. } => visit_indexes(expr, on),
        Expr::Array { items, .. } | Expr::Set { items, .. } => items.iter().try_for_each(|item| visit(item, on)),
        Expr::Object { fields, .. } => fields.iter().try_for_each(|(_, key, value)| {
            visit(key, on)?;
            visit(value, on)
        }),
        Expr::ArrayCompr { term, query, .. } | Expr::SetCompr { term, query, .. } => {
            visit(term, on)?;
            visit_query(query, on)
        }
        Expr::ObjectCompr { key, value, query, .. } => {
            visit(key, on)?;
            visit(value, on)?;
            visit_query(query, on)
        }
        // The name of a function is no reference to a value.
        Expr::Call { params, .. } => params.iter().try_for_each(|parameter| visit(parameter, on)),
        Expr::UnaryExpr { expr, .. } => visit(expr, on),
        Expr::BinExpr { lhs, rhs, .. }
        | Expr::BoolExpr { lhs, rhs, .. }
        | Expr::ArithExpr { lhs, rhs, .. }
        | Expr::AssignExpr { lhs, rhs, .. } => {
            visit(lhs, on)?;
            visit(rhs, on)
        }
        Expr::Membership { key, value, collection, .. } => {
            key.iter().try_for_each(|key| visit(key, on))?;
            visit(value, on)?;
            visit(collection, on)
        }
        _ => Ok(()),
    }
}

/// Calls this for every variable of a rule that gets a value: its name, an expression, and whether it is an element of that.
fn visit_bindings(rule: &Rule, on: &mut dyn FnMut(&str, &Expr, bool)) {
    let Rule::Spec { bodies, .. } = rule else { return };
    for body in bodies {
        bindings_of(&body.query, on);
    }
    // Queries within expressions.
    let _ = visit_rule(rule, &mut |expr| {
        if let Expr::ArrayCompr { query, .. } | Expr::SetCompr { query, .. } | Expr::ObjectCompr { query, .. } = expr {
            bindings_of(query, on);
        }
        Ok(())
    });
}

fn bindings_of(query: &Query, on: &mut dyn FnMut(&str, &Expr, bool)) {
    for statement in &query.stmts {
        match &statement.literal {
            Literal::SomeIn { value, collection, .. } => {
                if let Expr::Var { span, .. } = &**value {
                    on(span.text(), collection, true);
                }
            }
            Literal::Expr { expr, .. } => {
                if let Expr::AssignExpr { lhs, rhs, .. } = &**expr
                    && let Expr::Var { span, .. } = &**lhs
                {
                    on(span.text(), rhs, false);
                }
            }
            Literal::Every { value, domain, query, .. } => {
                on(value.text(), domain, true);
                bindings_of(query, on);
            }
            Literal::SomeVars { .. } | Literal::NotExpr { .. } => {}
        }
    }
}
