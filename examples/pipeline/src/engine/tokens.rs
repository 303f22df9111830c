//! The model's tokens: pieces of words, as a language model counts and streams them.

/// The longest piece of a word, in characters.
const LONGEST_PIECE: usize = 6;

/// How many tokens `text` is.
pub fn count(text: &str) -> usize {
    split(text).count()
}

/// The tokens of `text`; put together again they are exactly `text`.
///
/// White space belongs to the token that follows it. A word of up to six letters is one
/// token, a longer one several, any other character one.
pub fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (token, after) = rest.split_at_checked(first_length(rest))?;
        rest = after;
        (!token.is_empty()).then_some(token)
    })
}

/// Bytes of the first token of `text`, 0 only when there is none.
fn first_length(text: &str) -> usize {
    let mut letters = 0;
    for (at, c) in text.char_indices() {
        if c.is_alphanumeric() {
            if letters == LONGEST_PIECE {
                return at;
            }
            letters += 1;
        } else if letters > 0 {
            return at;
        } else if !c.is_whitespace() {
            return at + c.len_utf8();
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_break_into_pieces() {
        let tokens: Vec<_> = split("Wrap a Kafka consumer, now. ").collect();
        assert_eq!(
            tokens,
            [
                "Wrap", " a", " Kafka", " consum", "er", ",", " now", ".", " "
            ]
        );
        assert_eq!(count(""), 0);
    }

    proptest! {
        #[test]
        fn tokens_concatenate_to_the_text(text in any::<String>()) {
            prop_assert_eq!(split(&text).collect::<String>(), text);
        }

        #[test]
        fn no_token_is_empty(text in any::<String>()) {
            prop_assert!(split(&text).all(|token| !token.is_empty()));
        }
    }
}
