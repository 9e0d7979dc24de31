//! UTF-8 validation of text that arrives in pieces.

/// Holds the at most three bytes of a character that is not complete yet.
#[derive(Debug, Default, Clone, Copy)]
pub struct Utf8Stream {
    tail: [u8; 4],
    len: u8,
}

impl Utf8Stream {
    /// Takes the next piece; false as soon as no continuation could make it valid.
    pub fn push(&mut self, mut bytes: &[u8]) -> bool {
        while self.len > 0 {
            let Some((&first, rest)) = bytes.split_first() else { return true };
            let at = usize::from(self.len);
            let Some(slot) = self.tail.get_mut(at) else { return false };
            *slot = first;
            bytes = rest;
            self.len += 1;
            match std::str::from_utf8(&self.tail[..=at]) {
                Ok(_) => self.len = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                // An incomplete character is at most three bytes long.
                let tail = &bytes[error.valid_up_to()..];
                self.tail[..tail.len()].copy_from_slice(tail);
                self.len = tail.len() as u8;
                true
            }
        }
    }

    /// The bytes of the character that is not complete yet.
    pub(super) fn incomplete(&self) -> &[u8] {
        self.tail.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The state in which these bytes are what there is of a character; `None` if they are not the
    /// beginning of one.
    pub(super) fn of(incomplete: &[u8]) -> Option<Self> {
        let mut state = Self::default();
        let begins = state.push(incomplete) && state.incomplete() == incomplete;
        begins.then_some(state)
    }

    /// Whether no character is left incomplete.
    pub fn is_complete(self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], cuts: &[usize]) -> bool {
        let mut stream = Utf8Stream::default();
        let mut at = 0;
        for &cut in cuts {
            let end = (at + cut).min(bytes.len());
            if !stream.push(&bytes[at..end]) {
                return false;
            }
            at = end;
        }
        stream.push(&bytes[at..]) && stream.is_complete()
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_verdict(text in ".{0,40}", cuts in prop::collection::vec(0usize..4, 0..60)) {
            prop_assert!(check(text.as_bytes(), &cuts));
        }

        #[test]
        fn bytes_are_judged_as_std_does(
            bytes in prop::collection::vec(prop_oneof![Just(0xe4u8), Just(0xbd), Just(0xa0), Just(0xf0), Just(0x9f), Just(0x98), Just(0x80), Just(0xed), any::<u8>()], 0..12),
            cuts in prop::collection::vec(0usize..3, 0..12),
        ) {
            prop_assert_eq!(check(&bytes, &cuts), std::str::from_utf8(&bytes).is_ok());
        }
    }
}
