//! Which method is called: one that there is, or whatever a caller made up.

use std::borrow::Cow;
use std::collections::HashSet;

use otel_ml_tower::otel_ml::KnownNames;
use otel_ml_tower::otel_ml::opentelemetry::Value;
use otel_ml_tower::otel_ml::semconv::rpc::{METHOD_OTHER, system};

/// The methods of a server. Told none, they are learnt from what is answered, so that a name
/// made up by a caller is neither a metric's label nor kept.
#[derive(Debug, Default)]
pub(crate) struct Methods {
    known: KnownNames,
    /// Those of the list that `known` had no room for.
    others: HashSet<&'static str>,
    is_listed: bool,
}

impl Methods {
    pub(crate) fn listed(names: &[String]) -> Self {
        let known = KnownNames::new();
        let mut others = HashSet::new();
        for name in names {
            let name = name.trim_start_matches('/');
            if known.learn(name).is_none() && !others.contains(name) {
                others.insert(&*Box::leak(Box::from(name)));
            }
        }
        Self {
            known,
            others,
            is_listed: true,
        }
    }

    /// The method at `path`.
    pub(crate) fn at<'a>(&self, path: &'a str) -> Called<'a> {
        let name = path.strip_prefix('/').unwrap_or(path);
        let known = self.known.find(name);
        match known.or_else(|| self.others.get(name).copied()) {
            Some(name) => Called::Known(name),
            None if self.is_listed => Called::Other(name),
            None => Called::New(name),
        }
    }
}

/// A method as it is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Called<'a> {
    /// The server has it.
    Known(&'static str),
    /// The server doesn't have it.
    Other(&'a str),
    /// The answer will tell.
    New(&'a str),
}

impl Called<'_> {
    pub(crate) fn span_name(self) -> Cow<'static, str> {
        match self {
            Self::Known(name) => Cow::Borrowed(name),
            Self::Other(_) => Cow::Borrowed(system::GRPC),
            Self::New(name) => Cow::Owned(name.to_owned()),
        }
    }

    pub(crate) fn kept(self) -> Method {
        match self {
            Self::Known(name) => Method::Known(name),
            Self::Other(_) => Method::Other,
            Self::New(name) => Method::New(name.to_owned()),
        }
    }
}

/// The method of a call that runs.
#[derive(Debug)]
pub(crate) enum Method {
    Known(&'static str),
    Other,
    New(String),
}

/// What the end of a call tells of a method that was new.
pub(crate) enum Answer {
    /// The server has it.
    Has,
    /// The server doesn't have it.
    HasNot,
    /// Nothing came that tells.
    Silence,
}

/// A method at the end of a call: what its metric is labelled by, and what its span is still to
/// be told.
pub(crate) struct Ended {
    pub(crate) label: Value,
    pub(crate) is_renamed: bool,
    /// `rpc.method` and `rpc.method_original`, where the start could not tell.
    pub(crate) method: Option<Value>,
    pub(crate) original: Option<Value>,
}

impl Method {
    /// What `methods` learns from the answer, and records of it.
    pub(crate) fn end(&mut self, methods: &Methods, answer: &Answer) -> Ended {
        let told = |label: Value| Ended {
            label,
            is_renamed: false,
            method: None,
            original: None,
        };
        let name = match std::mem::replace(self, Self::Other) {
            Self::Known(name) => return told(name.into()),
            Self::Other => return told(METHOD_OTHER.into()),
            Self::New(name) => name,
        };
        match answer {
            Answer::Has => {
                let known = methods.known.learn(&name);
                Ended {
                    method: Some(name.into()),
                    // Where there is no more room, labels are to stay as few as they are.
                    ..told(known.unwrap_or(METHOD_OTHER).into())
                }
            }
            Answer::HasNot => Ended {
                is_renamed: true,
                method: Some(METHOD_OTHER.into()),
                original: Some(name.into()),
                ..told(METHOD_OTHER.into())
            },
            // It may be real, and the span may say so; a label must not.
            Answer::Silence => Ended {
                method: Some(name.into()),
                ..told(METHOD_OTHER.into())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_a_list_is_known_however_long_it_is() {
        let names: Vec<_> = (0..2_000).map(|i| format!("/a.B/C{i}")).collect();
        let methods = Methods::listed(&names);
        for name in &names {
            let called = methods.at(name);
            assert!(matches!(called, Called::Known(known) if known == &name[1..]));
        }
        assert!(matches!(methods.at("/a.B/D"), Called::Other("a.B/D")));
    }

    #[test]
    fn a_method_that_there_is_no_room_for_is_no_label() {
        let methods = Methods::default();
        let mut labels: HashSet<String> = HashSet::new();
        for i in 0..2_000 {
            let path = format!("/a.B/C{i}");
            let ended = methods.at(&path).kept().end(&methods, &Answer::Has);
            assert_eq!(ended.method.unwrap().as_str(), &path[1..]);
            labels.insert(ended.label.as_str().into_owned());
        }
        assert!(labels.contains(METHOD_OTHER));
        assert!(labels.len() <= 513, "{} labels", labels.len());
    }
}
