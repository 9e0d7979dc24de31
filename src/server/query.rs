//! What stands behind the `?` of a request target.

use std::str::FromStr;

use percent_encoding::percent_decode_str;

use super::answer::Answer;

/// A query, still percent-encoded. What nobody asks for is ignored; of a key that is repeated, the
/// last value counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a>(pub &'a str);

impl<'a> Query<'a> {
    fn raw(&self, key: &str) -> Option<&'a str> {
        let pairs = self.0.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.rev().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value of `key`, decoded; what is not UTF-8 in it becomes U+FFFD.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        Some(percent_decode_str(self.raw(key)?).decode_utf8_lossy().into_owned())
    }

    /// The value of `key`, decoded, whatever bytes it has.
    pub(super) fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        Some(percent_decode_str(self.raw(key)?).collect())
    }

    /// Whether `key` is 1: 0, as without it, is no.
    pub(super) fn flag(&self, key: &str) -> Result<bool, Answer> {
        match self.raw(key) {
            None | Some("0") => Ok(false),
            Some("1") => Ok(true),
            Some(value) => Err(refusal(key, value, "0 or 1")),
        }
    }

    /// The value of `key` as what it must be; the answer says that it is none of `accepted`.
    pub(super) fn parsed<T: FromStr>(
        &self,
        key: &str,
        accepted: &str,
    ) -> Result<Option<T>, Answer> {
        let Some(value) = self.raw(key) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| refusal(key, value, accepted))
    }

    /// The answer to a value of `key` that is none of `accepted`.
    pub(super) fn refuse(&self, key: &str, accepted: &str) -> Answer {
        refusal(key, self.raw(key).unwrap_or_default(), accepted)
    }

    /// How many entries of a listing are asked for: `usual`, or another number up to `most`.
    pub(super) fn limit(&self, usual: usize, most: usize) -> Result<usize, Answer> {
        let accepted = format!("1 to {most}");
        match self.parsed("limit", &accepted)? {
            None => Ok(usual),
            Some(limit) if (1..=most).contains(&limit) => Ok(limit),
            Some(_) => Err(self.refuse("limit", &accepted)),
        }
    }
}

/// The answer to a value that is none of `accepted`.
pub(super) fn refusal(key: &str, value: &str, accepted: &str) -> Answer {
    Answer::failure(400, &format!("{key} cannot be '{value}': it is {accepted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_last_one_counts() {
        let query = Query("a=1&b=%E9%9D%92%26&&c&a=2=3");
        assert_eq!(query.text("a").as_deref(), Some("2=3"));
        assert_eq!(query.text("b").as_deref(), Some("青&"));
        assert_eq!(query.text("c").as_deref(), Some(""));
        assert_eq!(query.text("d"), None);
    }

    #[test]
    fn a_limit_is_in_its_range() {
        assert_eq!(Query("").limit(10, 100).unwrap(), 10);
        assert_eq!(Query("limit=100").limit(10, 100).unwrap(), 100);
        for bad in ["limit=0", "limit=101", "limit=", "limit=x", "limit=-1"] {
            assert!(Query(bad).limit(10, 100).is_err(), "{bad}");
        }
    }
}
