//! The answers to pipelined requests: counted, and each of them a success (2xx).

/// The longest answer that is read.
const MAX_ANSWER: usize = 64 << 10;

/// The answers of one connection.
///
/// Answers to the same question look the same: after the first one, an answer costs one
/// comparison of its bytes. One that looks different is parsed.
#[derive(Default)]
pub struct Answers {
    usual: Vec<u8>,
    carry: Vec<u8>,
}

impl Answers {
    /// Takes the next bytes that came; tells how many answers they end, or what was refused.
    pub fn feed(&mut self, mut data: &[u8]) -> Result<usize, String> {
        let mut count = 0;
        while !data.is_empty() {
            if self.carry.is_empty() && !self.usual.is_empty() {
                while let Some(rest) = data.strip_prefix(&self.usual[..]) {
                    count += 1;
                    data = rest;
                }
                if data.is_empty() {
                    break;
                }
            }
            let held = self.carry.len();
            self.carry.extend_from_slice(data);
            let Some(length) = success(&self.carry)? else { break };
            count += 1;
            self.usual.clear();
            self.usual.extend_from_slice(&self.carry[..length]);
            self.carry.clear();
            data = &data[length - held..];
        }
        Ok(count)
    }
}

/// The length of the answer at the start of `bytes`, `None` when it is not whole.
fn success(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let head = match answer.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_ANSWER => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("an answer's head does not end".into()),
        Err(error) => return Err(format!("an answer is not HTTP: {error}")),
    };
    let length = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|h| std::str::from_utf8(h.value).ok()?.trim().parse().ok());
    let length: usize = match length {
        Some(length) if length <= MAX_ANSWER => length,
        _ => return Err("an answer has no Content-Length of at most 64 KiB".into()),
    };
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    match answer.code {
        Some(200..300) => Ok(Some(head + length)),
        code => {
            let (code, body) = (code.unwrap_or_default(), String::from_utf8_lossy(body));
            Err(format!("the server answers HTTP {code}: {body}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
    const OTHER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nx: y\r\n\r\nyes";

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let bytes = [OK, OK, OTHER, OTHER, OK, OTHER].concat().into_bytes();
        assert_eq!(Answers::default().feed(&bytes), Ok(6));
        for cut in 0..bytes.len() {
            let mut answers = Answers::default();
            let first = answers.feed(&bytes[..cut]).unwrap();
            assert_eq!(first + answers.feed(&bytes[cut..]).unwrap(), 6, "cut at {cut}");
        }
        let mut answers = Answers::default();
        let total: usize = bytes.iter().map(|byte| answers.feed(&[*byte]).unwrap()).sum();
        assert_eq!(total, 6);
    }

    #[test]
    fn a_refusal_is_told_with_its_body() {
        let refusal = "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope";
        let error = Answers::default().feed([OK, refusal].concat().as_bytes()).unwrap_err();
        assert_eq!(error, "the server answers HTTP 404: nope");
        assert!(Answers::default().feed(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}
