//! First hop: cleans the question up and tells what kind it is.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::text;

/// The longest question accepted, in characters after white space is cleaned up.
pub const LONGEST_QUESTION: usize = 2_000;

/// A question that can be searched for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// In one line, without control characters.
    pub text: String,
    /// What to search for: word stems without stop words, each once, at least one.
    pub terms: Vec<String>,
    /// What kind of question it is.
    pub class: InputClass,
}

/// The kind of a question.
///
/// # Cardinality
/// Three values: fit for a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InputClass {
    /// Asks for a fact: "Which header carries the trace?"
    Question,
    /// Asks for a way: "How do I wrap a consumer?"
    HowTo,
    /// Anything else: "kafka consumer".
    Keyword,
}

impl InputClass {
    /// The value as recorded.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::HowTo => "howto",
            Self::Keyword => "keyword",
        }
    }

    fn of(text: &str) -> Self {
        let words: Vec<_> = text.split(' ').map(str::to_lowercase).collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            [
                "how",
                "much" | "many" | "long" | "often" | "large" | "big",
                ..,
            ] => Self::Question,
            ["how", _, ..] | ["show", "me", ..] | [.., "steps", "to", _] => Self::HowTo,
            [first, _, ..] if ASKING.contains(first) => Self::Question,
            _ if text.ends_with('?') => Self::Question,
            _ => Self::Keyword,
        }
    }
}

/// Words that open a question even when its mark is missing.
const ASKING: [&str; 18] = [
    "what", "what's", "which", "who", "whose", "when", "where", "why", "is", "are", "does", "do",
    "did", "can", "could", "should", "will", "may",
];

/// Why a question was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum QuestionError {
    /// Nothing but white space.
    #[error("the question is empty: say what you want to know")]
    Empty,
    /// More than [`LONGEST_QUESTION`] characters.
    #[error("the question has {characters} characters: shorten it to {LONGEST_QUESTION}")]
    TooLong {
        /// How many it has.
        characters: usize,
    },
    /// Only punctuation or symbols.
    #[error("the question has no word in it: say what you want to know")]
    NoWords,
}

impl Question {
    /// Cleans `raw` up.
    ///
    /// # Errors
    /// When it is empty, too long, or has no word in it.
    pub fn parse(raw: &str) -> Result<Self, QuestionError> {
        let text = text::one_line(raw);
        let characters = text.chars().count();
        if text.trim().is_empty() {
            return Err(QuestionError::Empty);
        }
        if characters > LONGEST_QUESTION {
            return Err(QuestionError::TooLong { characters });
        }
        let mut terms = text::terms(&text);
        if terms.is_empty() {
            terms = text::terms_with_stop_words(&text);
        }
        let mut seen = std::collections::HashSet::new();
        terms.retain(|term| seen.insert(term.clone()));
        if terms.is_empty() {
            return Err(QuestionError::NoWords);
        }
        let class = InputClass::of(&text);
        Ok(Self { text, terms, class })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn white_space_and_control_characters_are_cleaned_up() {
        let question = Question::parse("\u{3000} Wrap\u{a0}a\n\tKafka\u{7} consumer ").unwrap();
        assert_eq!(question.text, "Wrap a Kafka consumer");
        assert_eq!(question.terms, ["wrap", "kafka", "consum"]);
    }

    #[test]
    fn a_question_of_stop_words_keeps_them() {
        assert_eq!(
            Question::parse("what is it?").unwrap().terms,
            ["what", "is", "it"]
        );
    }

    #[test]
    fn kinds_of_questions() {
        for (text, class) in [
            ("How do I wrap a Kafka consumer?", InputClass::HowTo),
            ("show me the layer", InputClass::HowTo),
            ("How many spans are there", InputClass::Question),
            ("which header carries the trace", InputClass::Question),
            ("The layer?", InputClass::Question),
            ("kafka consumer", InputClass::Keyword),
            ("how", InputClass::Keyword),
        ] {
            assert_eq!(Question::parse(text).unwrap().class, class, "{text}");
        }
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(Question::parse(" \n\u{2003}"), Err(QuestionError::Empty));
        assert_eq!(Question::parse("?!"), Err(QuestionError::NoWords));
        let error = Question::parse(&"é".repeat(2_001)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the question has 2001 characters: shorten it to 2000"
        );
        assert!(Question::parse(&"é".repeat(2_000)).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_accepted_or_refused(raw in any::<String>()) {
            if let Ok(question) = Question::parse(&raw) {
                prop_assert!(!question.terms.is_empty());
                prop_assert_eq!(Question::parse(&question.text).unwrap(), question);
            }
        }
    }
}
