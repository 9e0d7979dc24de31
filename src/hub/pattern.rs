//! Patterns of channel names.
//!
//! A name is read as segments between dots. `*` stands for one segment, `>` at the end for one or
//! more; every other segment stands for itself. A `*` or `>` inside a segment is an ordinary
//! character.

use std::fmt;

use crate::wire::name;
use crate::{Error, ErrorKind, Result};

/// A pattern that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads a pattern: a valid name without empty segments, and `>` only at its end. Error:
    /// `InvalidName`.
    pub fn parse(text: &str) -> Result<Self> {
        name::validate(text)?;
        let refuse = |why| {
            let text = format!("'{text}' is no pattern of channel names: {why}");
            Err(Error::new(ErrorKind::InvalidName, text))
        };
        let mut segments = text.split('.');
        while let Some(segment) = segments.next() {
            match segment {
                "" => return refuse("a segment between dots is empty"),
                ">" if segments.clone().next().is_some() => return refuse("'>' is its end"),
                _ => {}
            }
        }
        Ok(Self(text.into()))
    }

    /// Whether the channel called `name` is one of those meant. Costs one pass over both.
    pub fn matches(&self, name: &str) -> bool {
        let mut names = name.split('.');
        for segment in self.0.split('.') {
            match (segment, names.next()) {
                (">", rest) => return rest.is_some(),
                ("*", Some(_)) => {}
                (literal, Some(name)) if literal == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether it can match more than one name.
    pub fn is_wildcard(&self) -> bool {
        self.0.split('.').any(|segment| matches!(segment, "*" | ">"))
    }

    /// What every name that it matches begins with.
    pub fn prefix(&self) -> &str {
        let mut at = 0;
        for segment in self.0.split('.') {
            if matches!(segment, "*" | ">") {
                return self.0.get(..at).unwrap_or_default();
            }
            at += segment.len() + 1;
        }
        &self.0
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_decide() {
        for (pattern, yes, no) in [
            ("news", &["news"][..], &["news.a", "new", "newss"][..]),
            ("news.*", &["news.a", "news.*"], &["news", "news.a.b", "other.a"]),
            ("news.>", &["news.a", "news.a.b", "news.."], &["news", "newsx.a"]),
            (">", &["a", "a.b"], &[]),
            ("*.b", &["a.b", ".b"], &["a", "b", "a.b.c"]),
            ("a*.>b", &["a*.>b"], &["ax.b", "a*.b"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            yes.iter().for_each(|name| assert!(pattern.matches(name), "{pattern} {name}"));
            no.iter().for_each(|name| assert!(!pattern.matches(name), "{pattern} {name}"));
        }
        assert!(Pattern::parse("a.*").unwrap().is_wildcard());
        assert!(!Pattern::parse("a*.b").unwrap().is_wildcard());
    }

    #[test]
    fn names_begin_with_what_stands_before_the_first_wildcard() {
        for (pattern, prefix) in
            [("a.b", "a.b"), ("a.*", "a."), ("a.b.>", "a.b."), ("*.a", ""), (">", ""), ("a*", "a*")]
        {
            assert_eq!(Pattern::parse(pattern).unwrap().prefix(), prefix, "{pattern}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["", "a..b", ".a", "a.", ">.a", "a\n", &"x".repeat(256)] {
            let error = Pattern::parse(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidName, "{text:?}");
        }
    }
}
