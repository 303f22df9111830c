//! Text analysis shared by the hops: index terms and sentences.

use std::collections::HashSet;
use std::sync::LazyLock;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation as _;

static STOP_WORDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    stop_words::lookup("en")
        .unwrap_or_default()
        .iter()
        .copied()
        .collect()
});

/// Past this length (bytes) an unclosed bracket or backtick no longer holds a sentence together.
const LONGEST_JOINED: usize = 400;

/// Abbreviations whose full stop ends no sentence.
const ABBREVIATIONS: [&str; 7] = ["e.g.", "i.e.", "cf.", "vs.", "etc.", "approx.", "no."];

/// The stemmed terms of `text` in reading order, without stop words.
///
/// An identifier gives its parts and itself: `OtelMlLayer` is found by `layer` and by its
/// full name.
pub(super) fn terms(text: &str) -> Vec<String> {
    collect_terms(text, false)
}

/// Like [`terms`], with the stop words kept: for a question that is made of nothing else.
pub(super) fn terms_with_stop_words(text: &str) -> Vec<String> {
    collect_terms(text, true)
}

/// How many words `text` has.
pub(super) fn word_count(text: &str) -> usize {
    text.unicode_words().count()
}

/// Whether `text` has any word.
pub(super) fn has_word(text: &str) -> bool {
    text.unicode_words().next().is_some()
}

/// `text` in one line: runs of white space become one space, control characters vanish.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().filter(|c| !c.is_control()));
    }
    line
}

/// The sentences of a paragraph, none empty, in order.
pub(super) fn sentences(paragraph: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut open = String::new();
    for piece in paragraph.split_sentence_bounds() {
        open.push_str(piece);
        if !is_unfinished(open.trim_end()) {
            push_trimmed(&mut sentences, &open);
            open.clear();
        }
    }
    push_trimmed(&mut sentences, &open);
    sentences
}

fn push_trimmed(sentences: &mut Vec<String>, sentence: &str) {
    let sentence = sentence.trim();
    if !sentence.is_empty() {
        sentences.push(sentence.to_owned());
    }
}

fn is_unfinished(sentence: &str) -> bool {
    if sentence.len() > LONGEST_JOINED {
        return false;
    }
    let count = |wanted| sentence.matches(wanted).count();
    count('`') % 2 == 1
        || count('(') > count(')')
        || count('[') > count(']')
        || !sentence.contains(char::is_alphanumeric)
        || sentence
            .rsplit([' ', '('])
            .next()
            .is_some_and(|last| ABBREVIATIONS.contains(&last.to_lowercase().as_str()))
}

fn collect_terms(text: &str, keep_stop_words: bool) -> Vec<String> {
    let stemmer = Stemmer::create(Algorithm::English);
    let mut terms = Vec::new();
    for word in text.unicode_words() {
        let word = word
            .strip_suffix("'s")
            .or_else(|| word.strip_suffix("’s"))
            .unwrap_or(word);
        // A space can be inside a word when a combining mark sits on it.
        let whole: String = word.to_lowercase().split_whitespace().collect();
        let is_stop = |word: &str| !keep_stop_words && STOP_WORDS.contains(word);
        if is_stop(&whole.replace('’', "'")) {
            continue;
        }
        let parts = identifier_parts(word);
        terms.extend(
            parts
                .iter()
                .filter(|part| !is_stop(part))
                .map(|part| stemmer.stem(part).into_owned()),
        );
        if parts.len() > 1 {
            terms.push(whole);
        }
    }
    terms
}

/// `error.type` → error, type; `OtelMlLayer` → otel, ml, layer; all in lower case.
fn identifier_parts(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut previous: Option<char> = None;
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            parts.push(String::new());
            previous = None;
            continue;
        }
        let hump = c.is_uppercase()
            && previous.is_some_and(|previous| {
                previous.is_lowercase()
                    || (previous.is_uppercase() && starts_capitalised_word(chars.as_str()))
            });
        if hump {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut() {
            part.extend(c.to_lowercase());
        }
        previous = Some(c);
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// Whether the letters after a capital make it the first of a word, as in `HTTPServer`;
/// a plural as in `APIs` does not.
fn starts_capitalised_word(rest: &str) -> bool {
    rest != "s" && rest.starts_with(char::is_lowercase)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terms_are_stemmed_and_without_stop_words() {
        assert_eq!(
            terms("How do I wrap the Kafka consumers?"),
            ["wrap", "kafka", "consum"]
        );
        assert_eq!(terms("Kafka's wrapping, don't"), ["kafka", "wrap"]);
        assert_eq!(terms_with_stop_words("what is it"), ["what", "is", "it"]);
    }

    #[test]
    fn identifiers_are_found_by_part_and_whole() {
        assert_eq!(terms("OtelMlLayer"), ["otel", "ml", "layer", "otelmllayer"]);
        assert_eq!(terms("error.type"), ["error", "type", "error.type"]);
        assert_eq!(terms("max_tokens"), ["max", "token", "max_tokens"]);
        assert_eq!(terms("HTTPServer"), ["http", "server", "httpserver"]);
        assert_eq!(terms("APIs"), ["api"]);
        assert_eq!(terms(" \u{ae2}"), ["\u{ae2}"], "a mark on a space");
    }

    #[test]
    fn sentences_keep_code_brackets_and_abbreviations_together() {
        let text = "Call `a. B` first. Use a server (e.g. Axum. Or tonic.) here. Then stop!";
        assert_eq!(
            sentences(text),
            [
                "Call `a. B` first.",
                "Use a server (e.g. Axum. Or tonic.) here.",
                "Then stop!"
            ]
        );
    }

    #[test]
    fn an_unclosed_bracket_does_not_swallow_the_rest() {
        let text = format!(
            "Sad :( but so. {}",
            "A sentence of some length. ".repeat(40)
        );
        assert!(sentences(&text).len() > 10);
    }

    proptest! {
        #[test]
        fn sentences_lose_nothing_but_space(text in "\\PC{0,200}") {
            let solid = |text: &str| text.split_whitespace().collect::<String>();
            prop_assert_eq!(solid(&sentences(&text).concat()), solid(&text));
        }

        #[test]
        fn a_line_has_no_control_characters(text in any::<String>()) {
            let line = one_line(&text);
            prop_assert!(!line.contains(char::is_control));
            prop_assert!(!line.contains("  "));
        }

        #[test]
        fn terms_hold_no_white_space(text in any::<String>()) {
            for term in terms(&text) {
                prop_assert!(!term.is_empty() && !term.contains(char::is_whitespace));
            }
        }
    }
}
