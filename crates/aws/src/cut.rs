//! Recognises answers that were cut short although their length is what it says.
//!
//! The SDK reads XML until it has what it looks for and does not miss the rest, and it reads an empty body as an empty
//! answer. So a middlebox that cuts answers would make resources look deleted. A document in XML is whole once its root
//! element has ended; an answer to a read is not empty. JSON and CBOR that are cut are errors for the SDK.

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::calls::row;

/// As many bytes from the start as contain the name of the root element, and as many from the end as its end tag has.
const KEPT: usize = 1024;

/// The answer ended before its document did.
#[derive(Debug, thiserror::Error)]
#[error("the answer was cut short")]
pub(crate) struct CutShort;

/// What is known of an answer's body so far.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    is_xml: bool,
    must_have_content: bool,
    start: Vec<u8>,
    end: Vec<u8>,
}

impl Whole {
    /// For the answer to a call of an AWS service.
    pub fn of(answer: &HttpResponse, operation: Option<&str>) -> Self {
        let is_xml = answer.headers().get("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("xml"));
        // Objects may be empty, and answers to HEAD requests are.
        let is_read =
            |operation: &str| !operation.starts_with("s3:") && row(operation).is_some_and(|call| !call.changes);
        let must_have_content = answer.status().is_success() && operation.is_some_and(is_read);
        Self { is_xml, must_have_content, start: Vec::new(), end: Vec::new() }
    }

    /// The next part of the body.
    pub fn add(&mut self, part: &[u8]) {
        let missing = KEPT.saturating_sub(self.start.len());
        self.start.extend(part.iter().take(missing));
        self.end.extend(part.iter().skip(part.len().saturating_sub(KEPT)));
        let surplus = self.end.len().saturating_sub(KEPT);
        self.end.drain(..surplus);
    }

    /// Whether the body can end here.
    pub fn is_complete(&self) -> bool {
        if self.start.is_empty() {
            return !self.must_have_content;
        }
        !self.is_xml || has_ended(&String::from_utf8_lossy(&self.start), &String::from_utf8_lossy(&self.end))
    }
}

/// Whether a document with this start and this end has its root element's end.
fn has_ended(start: &str, end: &str) -> bool {
    let mut rest = start.trim_start_matches('\u{feff}').trim_start();
    while rest.starts_with("<?") || rest.starts_with("<!") {
        let Some((_, behind)) = rest.split_once('>') else { return false };
        rest = behind.trim_start();
    }
    // S3 answers with a policy in JSON, and some doubles of S3 call that XML.
    let Some(tag) = rest.strip_prefix('<') else { return !rest.is_empty() };
    let name: String = tag.chars().take_while(|c| !c.is_whitespace() && !matches!(c, '/' | '>')).collect();
    let end = end.trim_end();
    let is_one_tag = tag.find('>').is_some_and(|at| tag.get(at + 1..).is_some_and(|rest| rest.trim().is_empty()));
    end.ends_with(&format!("</{name}>")) || (is_one_tag && end.ends_with("/>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(parts: &[&str]) -> bool {
        let mut whole = Whole { is_xml: true, must_have_content: true, start: Vec::new(), end: Vec::new() };
        for part in parts {
            whole.add(part.as_bytes());
        }
        whole.is_complete()
    }

    #[test]
    fn what_is_no_xml_is_not_judged() {
        assert!(whole(&["{\"Version\": \"2012-10-17\"}"]));
        assert!(!whole(&["<?xml version=\"1.0\"?>\n"]) && !whole(&["\u{feff}"]) && !whole(&[" "]));
    }

    #[test]
    fn every_cut_of_a_document_is_recognised() {
        let long = "<item>i-1</item>".repeat(500);
        for document in [
            format!(
                "<?xml version=\"1.0\"?>\n<DescribeInstancesResponse xmlns=\"http://x/\"><a>{long}</a></DescribeInstancesResponse>"
            ),
            "<R><R2/><b></b></R>".to_owned(),
            "<Empty xmlns=\"http://x/\"/>".to_owned(),
        ] {
            assert!(whole(&[&document]) && whole(&[&document, "\n"]), "{document}");
            for at in 0..document.len() {
                let (kept, _) = document.split_at(at);
                let (first, second) = kept.split_at(at / 2);
                assert!(!whole(&[kept]), "{kept}");
                assert!(!whole(&[first, second]), "{kept}");
            }
        }
    }
}
