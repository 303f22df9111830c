//! What a message's destination is called.

use otel_ml::messaging::Destination;
use otel_ml::semconv::rabbitmq;

/// Names that brokers and clients make up start so. They mean nothing to a reader, and there is
/// one for each client or more.
const GENERATED: [&str; 4] = [
    "amq.gen-",
    "amq.rabbitmq.reply-to",
    "amq_gen_",
    "spring.gen-",
];

fn is_generated(name: &str) -> bool {
    GENERATED.iter().any(|prefix| name.starts_with(prefix))
}

/// What names a destination: exchange, routing key and queue, joined by colons, without those
/// that are empty or made up. It borrows where it can.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    /// This part is all of it.
    Part(usize),
    /// Several parts.
    Joined(String),
    /// There is nothing but this part, which is made up.
    Generated(usize),
    /// All parts are empty.
    Empty,
}

impl Name {
    pub(crate) fn of(parts: &[&str]) -> Self {
        let stable = |part: &&str| !part.is_empty() && !is_generated(part);
        let mut known = parts.iter().enumerate().filter(|(_, part)| stable(part));
        match (known.next(), known.next()) {
            (Some((only, _)), None) => Self::Part(only),
            (Some(_), Some(_)) => {
                let known: Vec<&str> = parts.iter().copied().filter(stable).collect();
                Self::Joined(known.join(":"))
            }
            (None, _) => {
                let generated = parts.iter().position(|part| !part.is_empty());
                generated.map_or(Self::Empty, Self::Generated)
            }
        }
    }

    pub(crate) fn destination<'a>(&'a self, parts: &[&'a str]) -> Destination<'a> {
        let part = |at: usize| parts.get(at).copied().unwrap_or_default();
        match self {
            Self::Part(at) => Destination::named(part(*at)),
            Self::Joined(name) => Destination::named(name),
            Self::Generated(at) => Destination::named(part(*at)).anonymous(),
            Self::Empty => Destination::default(),
        }
    }
}

/// Where a message is published to.
pub(crate) fn published<'a>(name: &'a Name, parts: &[&'a str; 2]) -> Destination<'a> {
    match name {
        Name::Empty => Destination::named(rabbitmq::DEFAULT_DESTINATION),
        name => name.destination(parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, what names and labels may hold of it, and whether it is anonymous.
    fn told(parts: &[&str]) -> (String, Option<String>, bool) {
        let name = Name::of(parts);
        let destination = name.destination(parts);
        let low = destination.low_cardinality().map(str::to_owned);
        (destination.name.to_owned(), low, destination.is_anonymous)
    }

    #[test]
    fn e14_generated_names_never_enter_names_and_labels() {
        let known = |name: &str| (name.to_owned(), Some(name.to_owned()), false);
        assert_eq!(told(&["", "jobs", ""]), known("jobs"));
        assert_eq!(told(&["logs", "", ""]), known("logs"));
        assert_eq!(told(&["logs", "info", ""]), known("logs:info"));
        assert_eq!(told(&["logs", "info", "all"]), known("logs:info:all"));
        assert_eq!(told(&["logs", "info", "amq.gen-x1"]), known("logs:info"));
        assert_eq!(told(&["logs", "amq.gen-x1", ""]), known("logs"));
        // The application's own, though they look alike.
        assert_eq!(
            told(&["amq.topic", "amq.general", ""]),
            known("amq.topic:amq.general")
        );
        for generated in ["amq.gen-x1", "amq.rabbitmq.reply-to.g2d=", "spring.gen-y"] {
            let anonymous = (generated.to_owned(), None, true);
            assert_eq!(told(&["", generated, ""]), anonymous);
            assert_eq!(told(&["", "", generated]), anonymous);
        }
        assert_eq!(told(&["", "", ""]), (String::new(), None, false));
    }

    #[test]
    fn publishing_to_nothing_is_publishing_to_the_default() {
        let parts = ["", ""];
        let name = Name::of(&parts);
        assert_eq!(published(&name, &parts).name, "amq.default");
    }
}
