//! Who wants to be in the channels whose names a pattern matches: a tree of segments, so that a
//! new channel costs a walk along its name and not a look at every pattern.

use std::collections::{BTreeMap, HashMap};

use super::Pattern;

/// Patterns and those whom they belong to, each of whom has a number.
#[derive(Debug)]
pub struct Interest<T> {
    root: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    /// Behind a segment that stands for itself.
    literal: HashMap<Box<str>, Self>,
    /// Behind a `*`.
    any: Option<Box<Self>>,
    /// Whose pattern ends here.
    here: BTreeMap<u64, T>,
    /// Whose pattern ends with a `>` behind this.
    rest: BTreeMap<u64, T>,
}

impl<T> Default for Interest<T> {
    fn default() -> Self {
        Self { root: Node::default() }
    }
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literal: HashMap::new(), any: None, here: BTreeMap::new(), rest: BTreeMap::new() }
    }
}

impl<T: Clone> Interest<T> {
    /// Notes a pattern of `who`, whose number is `number`; harmless when it is there.
    pub fn insert(&mut self, pattern: &Pattern, number: u64, who: T) {
        let mut node = &mut self.root;
        for segment in pattern.as_str().split('.') {
            match segment {
                ">" => {
                    node.rest.insert(number, who);
                    return;
                }
                "*" => node = node.any.get_or_insert_default(),
                literal => node = node.literal.entry(literal.into()).or_default(),
            }
        }
        node.here.insert(number, who);
    }

    /// Forgets it; harmless when it is not there.
    pub fn remove(&mut self, pattern: &Pattern, number: u64) {
        let segments: Vec<&str> = pattern.as_str().split('.').collect();
        self.root.remove(&segments, number);
    }

    /// Those who have a pattern that matches `name`, each once.
    pub fn matching(&self, name: &str) -> BTreeMap<u64, T> {
        let mut found = BTreeMap::new();
        let segments: Vec<&str> = name.split('.').collect();
        self.root.collect(&segments, &mut found);
        found
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl<T: Clone> Node<T> {
    fn is_empty(&self) -> bool {
        self.literal.is_empty()
            && self.any.is_none()
            && self.here.is_empty()
            && self.rest.is_empty()
    }

    /// What leads nowhere afterwards is gone, too.
    fn remove(&mut self, segments: &[&str], number: u64) {
        match segments {
            [] => drop(self.here.remove(&number)),
            [">"] => drop(self.rest.remove(&number)),
            ["*", behind @ ..] => {
                if let Some(any) = &mut self.any {
                    any.remove(behind, number);
                    if any.is_empty() {
                        self.any = None;
                    }
                }
            }
            [literal, behind @ ..] => {
                if let Some(node) = self.literal.get_mut(*literal) {
                    node.remove(behind, number);
                    if node.is_empty() {
                        self.literal.remove(*literal);
                    }
                }
            }
        }
    }

    /// No deeper than the name and the patterns have segments.
    fn collect(&self, segments: &[&str], found: &mut BTreeMap<u64, T>) {
        let add = |crowd: &BTreeMap<u64, T>, found: &mut BTreeMap<u64, T>| {
            found.extend(crowd.iter().map(|(number, who)| (*number, who.clone())));
        };
        let Some((first, behind)) = segments.split_first() else {
            return add(&self.here, found);
        };
        add(&self.rest, found);
        if let Some(any) = &self.any {
            any.collect(behind, found);
        }
        if let Some(node) = self.literal.get(*first) {
            node.collect(behind, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATTERNS: [&str; 9] = ["a", "a.*", "a.>", "*.b", "*", ">", "a.b.c", "a.*.c", "*.*.>"];
    const NAMES: [&str; 12] =
        ["a", "b", "a.b", "a.c", "c.b", "a.b.c", "a.x.c", "a.b.d", "x.y.z.w", "", ".", "a..c"];

    fn numbers(crowd: &BTreeMap<u64, ()>) -> Vec<u64> {
        crowd.keys().copied().collect()
    }

    #[test]
    fn it_finds_whom_the_patterns_themselves_match() {
        let mut interest = Interest::default();
        let patterns = PATTERNS.map(|text| Pattern::parse(text).unwrap());
        for (number, pattern) in patterns.iter().enumerate() {
            interest.insert(pattern, number as u64, ());
        }
        let check = |interest: &Interest<()>, left: &[usize]| {
            for name in NAMES {
                let expected: Vec<u64> = left
                    .iter()
                    .filter(|at| patterns[**at].matches(name))
                    .map(|at| *at as u64)
                    .collect();
                assert_eq!(numbers(&interest.matching(name)), expected, "{name:?}");
            }
        };
        let mut left: Vec<usize> = (0..patterns.len()).collect();
        check(&interest, &left);
        while let Some(at) = left.pop() {
            interest.remove(&patterns[at], at as u64);
            check(&interest, &left);
        }
        assert!(interest.is_empty());
    }

    #[test]
    fn one_that_several_patterns_match_is_found_once() {
        let mut interest = Interest::default();
        let patterns = ["a.*", "a.>", ">"].map(|text| Pattern::parse(text).unwrap());
        patterns.iter().for_each(|pattern| interest.insert(pattern, 7, ()));
        patterns.iter().for_each(|pattern| interest.insert(pattern, 7, ()));
        assert_eq!(numbers(&interest.matching("a.b")), [7]);
        interest.remove(&patterns[1], 8);
        interest.remove(&patterns[0], 7);
        interest.remove(&patterns[0], 7);
        assert_eq!(numbers(&interest.matching("a.b")), [7]);
        interest.remove(&patterns[1], 7);
        interest.remove(&patterns[2], 7);
        assert!(interest.is_empty());
    }
}
