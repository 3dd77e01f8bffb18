//! Errors in CBOR (RFC 8949), for clients whose services are not served here.

/// A map of two texts: the type of the error and its message.
pub(crate) fn error(code: &str, message: &str) -> Vec<u8> {
    let mut bytes = vec![0xa2];
    for text in ["__type", code, "message", message] {
        write_text(&mut bytes, text);
    }
    bytes
}

fn write_text(bytes: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..24) => bytes.push(0x60 | length),
        Ok(length) => bytes.extend([0x78, length]),
        Err(_) => {
            bytes.push(0x7a);
            bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
    bytes.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::error;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        assert_eq!(error("A", "b"), *b"\xa2\x66__type\x61A\x67message\x61b");
        let long = "x".repeat(300);
        let bytes = error("A", &long);
        assert!(bytes.ends_with(long.as_bytes()));
        let head = bytes.len() - long.len();
        assert_eq!(bytes.get(head - 5..head), Some(&[0x7a, 0, 0, 1, 44][..]));
    }
}
