//! Writes XML answers element by element into one string.
//!
//! Values are escaped; names need no escaping because they are constants of this crate.

use std::fmt::{Display, Write};

use jiff::Timestamp;
use quick_xml::escape::partial_escape;

/// An XML document under construction.
#[derive(Debug)]
pub struct Xml {
    out: String,
}

impl Xml {
    /// A document without an element yet.
    pub fn new() -> Self {
        Self { out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// A document whose root element has a namespace; `content` writes its children.
    pub fn document(root: &str, namespace: &str, content: impl FnOnce(&mut Xml)) -> String {
        let mut xml = Self::new();
        xml.out.extend(["<", root, " xmlns=\"", namespace, "\">"]);
        content(&mut xml);
        xml.close(root);
        xml.out
    }

    /// An element with child elements.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Xml)) -> &mut Self {
        self.out.extend(["<", name, ">"]);
        content(self);
        self.close(name);
        self
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        self.out.extend(["<", name, ">"]);
        self.out.push_str(&partial_escape(value.as_ref()));
        self.close(name);
        self
    }

    /// An element with text, if there is a value.
    pub fn optional(&mut self, name: &str, value: Option<impl AsRef<str>>) -> &mut Self {
        if let Some(value) = value {
            self.text(name, value);
        }
        self
    }

    /// An element with a value whose text needs no escaping: a number, a boolean, an address.
    pub fn plain(&mut self, name: &str, value: impl Display) -> &mut Self {
        self.out.extend(["<", name, ">"]);
        // Writing to a string cannot fail.
        let _ = write!(self.out, "{value}");
        self.close(name);
        self
    }

    /// An element with a time in AWS's format: UTC with milliseconds.
    pub fn moment(&mut self, name: &str, moment: Timestamp) -> &mut Self {
        self.plain(name, moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ"))
    }

    /// `<name><item>…</item>…</name>`, as EC2 writes lists (IAM calls its items `member`).
    pub fn list<T>(
        &mut self,
        name: &str,
        item: &str,
        values: impl IntoIterator<Item = T>,
        mut content: impl FnMut(&mut Xml, T),
    ) -> &mut Self {
        self.element(name, |xml| {
            for value in values {
                xml.element(item, |xml| content(xml, value));
            }
        })
    }

    /// Text in the current element, for lists of plain values.
    pub fn value(&mut self, value: &str) -> &mut Self {
        self.out.push_str(&partial_escape(value));
        self
    }

    /// The document so far.
    pub fn into_string(self) -> String {
        self.out
    }

    fn close(&mut self, name: &str) {
        self.out.extend(["</", name, ">"]);
    }
}

impl Default for Xml {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn values_are_escaped_and_lists_have_items() {
        let text = Xml::document("R", "urn:x", |xml| {
            xml.text("a", "<&>").plain("n", 7).optional("none", None::<&str>);
            xml.list("set", "item", ["x", "y"], |xml, value| {
                xml.text("v", value);
            });
        });
        assert!(text.ends_with(
            "<R xmlns=\"urn:x\"><a>&lt;&amp;&gt;</a><n>7</n><set><item><v>x</v></item><item><v>y</v></item></set></R>"
        ));
    }
}
