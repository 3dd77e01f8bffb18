//! Limits what deeply nested policies take: the time to parse them, which doubles with each bracket, and the stack.

use std::thread;

use crate::PolicyError;

/// How deep brackets may be nested.
const DEEPEST: usize = 12;

/// Parsing and evaluation are recursive: long sums and chains of `else` take much of it. It is memory only once it is used.
const STACK: usize = 256 << 20;

/// Runs something on a large stack.
pub(crate) fn on_large_stack<T: Send>(run: impl FnOnce() -> Result<T, PolicyError> + Send) -> Result<T, PolicyError> {
    let failed = |what: String| PolicyError {
        file: "policies".into(),
        line: None,
        message: format!("cannot be evaluated: {what}"),
        help: "look for rules that are very long or deeply nested".into(),
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, run);
        match thread.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(failed("the evaluator failed".into())),
            Err(error) => Err(failed(error.to_string())),
        }
    })
}

/// Refuses brackets that are nested too deep.
pub(crate) fn check(file: &str, text: &str) -> Result<(), PolicyError> {
    let (mut depth, mut line) = (0_usize, 1);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\n' => line += 1,
            '#' => line += u32::from(characters.by_ref().any(|it| it == '\n')),
            '"' | '`' => {
                while let Some(inner) = characters.next().filter(|it| *it != character) {
                    line += u32::from(inner == '\n');
                    if inner == '\\' && character == '"' {
                        characters.next();
                    }
                }
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEEPEST {
            return Err(PolicyError {
                file: file.to_owned(),
                line: Some(line),
                message: format!("brackets are nested more than {DEEPEST} deep"),
                help: "give a part of it a name, as a rule or a function of its own".into(),
            });
        }
    }
    Ok(())
}
