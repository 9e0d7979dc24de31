//! Who a client of the packet dialect is: the query of its upgrade.

use std::borrow::Cow;
use std::fmt::Write;

use crate::wire::percent;
use crate::{Error, ErrorKind, Result};

/// The longest id, in bytes.
pub const MAX_ID_BYTES: usize = 1024;

/// What the query `uid=U&type=T&device=D&source=S&version=V&charset=C` says. All but `uid` are
/// optional.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// The user. Never empty in an identity that was parsed.
    pub uid: String,
    /// The kind of client; its meaning is the program's. 0 unless told.
    pub kind: u32,
    /// The device; empty unless told.
    pub device: String,
    /// Where the client comes from ("android", "web"); empty unless told.
    pub source: String,
    /// The client's version; empty unless told. Not part of the id.
    pub version: String,
    /// The client's character set; empty unless told. Not part of the id.
    pub charset: String,
}

impl Identity {
    /// Reads a query, without its `?`. Values are percent-decoded once, and `+` is a space, as forms
    /// and every language's query encoder write it. Of a key that occurs twice the first counts;
    /// keys that are not known are ignored.
    ///
    /// Errors: `InvalidArgument` when `uid` is missing or empty, `type` is no decimal number of 32
    /// bits, or the id would have a control character or more than [`MAX_ID_BYTES`]; `InvalidUtf8`
    /// for a bad escape and for what is not UTF-8.
    pub fn parse(query: &str) -> Result<Self> {
        let [uid, kind, device, source, version, charset] =
            values(query, ["uid", "type", "device", "source", "version", "charset"])?;
        let kind = match kind.as_str() {
            "" => 0,
            digits if !digits.bytes().all(|byte| byte.is_ascii_digit()) => return bad_type(digits),
            digits => match digits.parse() {
                Ok(kind) => kind,
                Err(_) => return bad_type(digits),
            },
        };
        let identity = Self { uid, kind, device, source, version, charset };
        identity.check()?;
        Ok(identity)
    }

    /// The connection's id, `U-T-D-S`: `100-0--` for uid 100 alone.
    pub fn id(&self) -> String {
        format!("{}-{}-{}-{}", self.uid, self.kind, self.device, self.source)
    }

    /// The query that says this, without its `?`. What has its default value is left out.
    pub fn query(&self) -> String {
        let mut query = format!("uid={}", percent::encode(&self.uid));
        if self.kind != 0 {
            // Writing to a String cannot fail.
            let _ = write!(query, "&type={}", self.kind);
        }
        for (key, value) in [
            ("device", &self.device),
            ("source", &self.source),
            ("version", &self.version),
            ("charset", &self.charset),
        ] {
            if !value.is_empty() {
                let _ = write!(query, "&{key}={}", percent::encode(value));
            }
        }
        query
    }

    fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if self.uid.is_empty() {
            return refuse("The query needs a uid, as in ?uid=100".into());
        }
        let id = self.id();
        if id.len() > MAX_ID_BYTES {
            let size = id.len();
            return refuse(format!("The id has {size} bytes; the limit is {MAX_ID_BYTES}"));
        }
        match id.chars().position(char::is_control) {
            None => Ok(()),
            Some(at) => refuse(format!("The id has a control character at position {at}")),
        }
    }
}

fn bad_type<T>(value: &str) -> Result<T> {
    let value: String = value.chars().take(32).collect();
    let text = format!("type cannot be {value:?}: it is a decimal number, 0 to {}", u32::MAX);
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// The decoded values of `keys`; empty where a key is missing.
fn values<const N: usize>(query: &str, keys: [&str; N]) -> Result<[String; N]> {
    let mut found: [Option<String>; N] = [const { None }; N];
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(at) = keys.iter().position(|known| *known == key) else { continue };
        if found[at].is_none() {
            found[at] = Some(decode(value).map_err(|error| error.context(key))?);
        }
    }
    Ok(found.map(Option::unwrap_or_default))
}

fn decode(value: &str) -> Result<String> {
    let spaced = match value.contains('+') {
        true => Cow::Owned(value.replace('+', " ")),
        false => Cow::Borrowed(value),
    };
    percent::decode(&spaced).map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_id_is_uid_type_device_source() {
        for (query, id) in [
            ("uid=100", "100-0--"),
            ("uid=100&type=2&device=D&source=S&version=V&charset=C", "100-2-D-S"),
            ("source=web&uid=u%2D1&x=y&&type=", "u-1-0--web"),
            ("uid=a+b&device=%E9%9D%92%E4%BA%91", "a b-0-青云-"),
            ("uid=a%2Bb&type=007", "a+b-7--"),
            ("uid=1&uid=2", "1-0--"),
            ("uid=1&type=4294967295", "1-4294967295--"),
        ] {
            assert_eq!(Identity::parse(query).unwrap().id(), id, "{query}");
        }
        let whole = Identity::parse("uid=1&version=3&charset=utf8").unwrap();
        assert_eq!((whole.version.as_str(), whole.charset.as_str()), ("3", "utf8"));
    }

    #[test]
    fn what_is_no_identity_is_refused() {
        let long = format!("uid={}", "x".repeat(MAX_ID_BYTES));
        for (query, kind) in [
            ("", ErrorKind::InvalidArgument),
            ("uid=", ErrorKind::InvalidArgument),
            ("uid", ErrorKind::InvalidArgument),
            ("UID=1", ErrorKind::InvalidArgument),
            ("uid=1&type=x", ErrorKind::InvalidArgument),
            ("uid=1&type=-1", ErrorKind::InvalidArgument),
            ("uid=1&type=%2B1", ErrorKind::InvalidArgument),
            ("uid=1&type=4294967296", ErrorKind::InvalidArgument),
            ("uid=a%0Ab", ErrorKind::InvalidArgument),
            ("uid=1&device=%00", ErrorKind::InvalidArgument),
            (&long, ErrorKind::InvalidArgument),
            ("uid=%", ErrorKind::InvalidUtf8),
            ("uid=1&source=%ff", ErrorKind::InvalidUtf8),
        ] {
            assert_eq!(Identity::parse(query).unwrap_err().kind(), kind, "{query}");
        }
    }

    proptest! {
        #[test]
        fn what_a_client_says_the_server_reads(
            uid in "[^\\p{Cc}]{1,20}", kind: u32, device in "[^\\p{Cc}]{0,20}",
            source in "[^\\p{Cc}]{0,20}", version in ".{0,9}", charset in ".{0,9}",
        ) {
            let identity = Identity { uid, kind, device, source, version, charset };
            prop_assert_eq!(Identity::parse(&identity.query()).unwrap(), identity);
        }

        #[test]
        fn no_query_breaks_the_parser(query in ".{0,80}") {
            let _ = Identity::parse(&query);
        }
    }
}
