//! What a mistyped word may have been meant to be.

/// The word that is nearest to `typed`, if one is near enough to be meant.
pub fn nearest<'a>(typed: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_ascii_lowercase().replace('-', "_");
    let near = |word: &&str| distance(&typed, &word.to_ascii_lowercase());
    let word = words.min_by_key(near)?;
    (near(&word) <= 1 + typed.chars().count().min(word.len()) / 5).then_some(word)
}

/// How many characters must be put in, taken out, changed, or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // Three rows of the table of distances between beginnings: two before, one before, this one.
    let mut before = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                let swapped: &Vec<usize> = &before;
                least = least.min(swapped[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 4] = ["queue_bytes", "inbox_bytes", "max_channels", "listen"];

    fn near(typed: &str) -> Option<&'static str> {
        nearest(typed, WORDS.into_iter())
    }

    #[test]
    fn slips_of_the_finger_are_understood() {
        for typed in ["queue_byte", "quue_bytes", "qeueu_bytes", "QUEUE_BYTES", "queue-bytes"] {
            assert_eq!(near(typed), Some("queue_bytes"), "{typed}");
        }
        assert_eq!(near("lisetn"), Some("listen"));
        assert_eq!(near("max_chanels"), Some("max_channels"));
    }

    #[test]
    fn other_words_are_not() {
        for typed in ["colour", "", "bytes", "max", "青云"] {
            assert_eq!(near(typed), None, "{typed}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("a", "", 1),
            ("ab", "ba", 1),
            ("abc", "axc", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }
}
