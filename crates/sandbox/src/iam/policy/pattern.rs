//! Texts of a policy with wildcards and policy variables ("IAM policy elements: Variables and tags", IAM user guide,
//! read November 2026).

use super::context::{Context, Looked, Values};
use super::{Unknown, Version};

/// A text of a policy, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(char),
    /// `*`.
    Any,
    /// `?`.
    One,
    /// `${key}` or `${key, 'default'}`.
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A pattern whose variables have their values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Literal(char),
    Any,
    One,
}

impl Pattern {
    /// Reads a text. Only the version 2012-10-17 has variables; before, `${` is text.
    pub(super) fn read(text: &str, version: Version) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(letter) = rest.chars().next() {
            if version == Version::V2012
                && let Some(inner) = rest.strip_prefix("${")
            {
                let (inside, after) = inner.split_once('}').ok_or_else(|| format!("`{text}` has an open `${{`"))?;
                parts.push(variable(inside).ok_or_else(|| format!("`${{{inside}}}` is not a policy variable"))?);
                rest = after;
                continue;
            }
            parts.push(match letter {
                '*' => Part::Any,
                '?' => Part::One,
                letter => Part::Literal(letter),
            });
            rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        }
        Ok(Self { parts, text: text.to_owned() })
    }

    /// The text as the policy has it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is `*` alone.
    pub(super) fn is_everything(&self) -> bool {
        self.parts == [Part::Any]
    }

    /// Whether it has no variable, so that its text is its value.
    pub(super) fn is_constant(&self) -> bool {
        !self.parts.iter().any(|part| matches!(part, Part::Variable { .. }))
    }

    /// The text with the values of its variables; wildcards stand for themselves. `None` if a variable has no value,
    /// because that is equal to nothing and like nothing.
    pub(super) fn value(&self, context: &Context) -> Result<Option<String>, Unknown> {
        let tokens = self.tokens(context)?;
        Ok(tokens.map(|tokens| {
            let letter = |token: &Token| match token {
                Token::Literal(letter) => *letter,
                Token::Any => '*',
                Token::One => '?',
            };
            tokens.iter().map(letter).collect()
        }))
    }

    /// The pattern with the values of its variables, in which no wildcard is read.
    pub(super) fn tokens(&self, context: &Context) -> Result<Option<Vec<Token>>, Unknown> {
        let mut tokens = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            match part {
                Part::Literal(letter) => tokens.push(Token::Literal(*letter)),
                Part::Any => tokens.push(Token::Any),
                Part::One => tokens.push(Token::One),
                Part::Variable { key, default } => {
                    let value = match context.look(key) {
                        Looked::Unknown => return Err(Unknown::Key(key.clone())),
                        // Only keys with a single value can be variables.
                        Looked::Absent | Looked::Set(Values::Many(_)) => default.as_deref(),
                        Looked::Set(Values::One(value)) => Some(value.as_str()),
                    };
                    let Some(value) = value else { return Ok(None) };
                    tokens.extend(value.chars().map(Token::Literal));
                }
            }
        }
        Ok(Some(tokens))
    }

    /// Whether a text matches, with wildcards.
    pub(super) fn matches(&self, text: &str, context: &Context, ignores_case: bool) -> Result<bool, Unknown> {
        Ok(self.tokens(context)?.is_some_and(|tokens| glob(&tokens, text, ignores_case)))
    }

    /// Whether an ARN matches. Each of the first five parts is compared for itself, so a `*` in one of them does not
    /// reach into the next (operators for ARNs, IAM user guide, read November 2026).
    pub(super) fn matches_arn(&self, arn: &str, context: &Context) -> Result<bool, Unknown> {
        let Some(tokens) = self.tokens(context)? else { return Ok(false) };
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let patterns: Vec<&[Token]> = tokens.splitn(6, |token| *token == Token::Literal(':')).collect();
        Ok(parts.len() == 6
            && patterns.len() == 6
            && parts.iter().zip(patterns).all(|(part, pattern)| glob(pattern, part, false)))
    }
}

/// `*`, `?` and `$` stand for the characters themselves.
fn variable(inside: &str) -> Option<Part> {
    if let "*" | "?" | "$" = inside {
        return inside.chars().next().map(Part::Literal);
    }
    let (key, default) = match inside.split_once(',') {
        None => (inside.trim(), None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key.trim(), Some(default.to_owned()))
        }
    };
    let is_key = key.split_once(':').is_some_and(|(prefix, name)| !prefix.is_empty() && !name.is_empty());
    (is_key && !key.contains('$')).then(|| Part::Variable { key: key.to_owned(), default })
}

/// Whether a text matches a pattern.
fn glob(pattern: &[Token], text: &str, ignores_case: bool) -> bool {
    let text: Vec<char> = text.chars().collect();
    let same = |one: char, other: char| one == other || (ignores_case && one.to_lowercase().eq(other.to_lowercase()));
    // The position after the last `*`, and where in the text the pattern is tried from there.
    let mut star: Option<(usize, usize)> = None;
    let (mut at, mut place) = (0, 0);
    while let Some(letter) = text.get(place) {
        match pattern.get(at) {
            Some(Token::Any) => {
                at += 1;
                star = Some((at, place));
            }
            Some(Token::One) => (at, place) = (at + 1, place + 1),
            Some(Token::Literal(wanted)) if same(*wanted, *letter) => (at, place) = (at + 1, place + 1),
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, place) = (after, taken + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|token| *token == Token::Any)
}
