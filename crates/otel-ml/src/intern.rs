//! Bounded tables that turn repeated text into text that costs nothing to pass on.

use std::hash::Hasher;
use std::sync::{Arc, OnceLock};

use rustc_hash::FxHasher;

/// How many neighbouring slots a value may lie in.
const PROBES: usize = 8;

/// An append-only hash table of fixed size. Look-ups take no lock; when a value's slots
/// are taken the caller makes its own, so that traffic from outside can't grow it.
#[derive(Debug)]
pub(crate) struct Table<T, const SLOTS: usize> {
    slots: [OnceLock<T>; SLOTS],
}

impl<T, const SLOTS: usize> Table<T, SLOTS> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: [const { OnceLock::new() }; SLOTS],
        }
    }

    /// The value for which `is` holds, made by `make` where there is none; `None` when its
    /// slots are taken, or there is nothing to make.
    pub(crate) fn find(
        &self,
        hash: u64,
        is: impl Fn(&T) -> bool,
        make: impl Fn() -> Option<T>,
    ) -> Option<&T> {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let start = (hash >> 32) as usize;
        for probe in 0..PROBES {
            let slot = self.slots.get(start.wrapping_add(probe) % SLOTS)?;
            let value = match slot.get() {
                Some(value) => value,
                None => {
                    let made = make()?;
                    slot.get_or_init(|| made)
                }
            };
            if is(value) {
                return Some(value);
            }
        }
        None
    }
}

pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut hasher = FxHasher::default();
    for part in parts {
        hasher.write(part);
    }
    hasher.finish()
}

/// Text from the wire that comes again and again: host names, user agents.
///
/// Holds at most 256 values of each kind, of at most 256 bytes each; others are copied anew
/// each time.
#[derive(Debug)]
pub struct Interner {
    texts: Table<Arc<str>, 256>,
    authorities: Table<Authority, 256>,
}

/// A host, and the port named with it.
#[derive(Clone, Debug)]
struct Authority {
    text: Box<[u8]>,
    host: Arc<str>,
    port: Option<u16>,
}

impl Interner {
    const LONGEST: usize = 256;

    pub(crate) const fn new() -> Self {
        Self {
            texts: Table::new(),
            authorities: Table::new(),
        }
    }

    /// `text`, shared with everyone who asked for the same; `None` if it is not UTF-8.
    #[must_use]
    pub fn text(&self, text: &[u8]) -> Option<Arc<str>> {
        let copy = || std::str::from_utf8(text).ok().map(Arc::from);
        if text.len() > Self::LONGEST {
            return copy();
        }
        let known = self
            .texts
            .find(hash(&[text]), |known| known.as_bytes() == text, copy);
        known.cloned().or_else(copy)
    }

    /// The host and the port of an authority such as `example.com:8080`, without user
    /// information and brackets; `None` if it names no host.
    #[must_use]
    pub fn authority(&self, text: &[u8]) -> Option<(Arc<str>, Option<u16>)> {
        let parse = || {
            let (host, port) = host_and_port(std::str::from_utf8(text).ok()?);
            (!host.is_empty()).then(|| Authority {
                text: text.into(),
                host: host.into(),
                port,
            })
        };
        let parts = |authority: Authority| (authority.host, authority.port);
        if text.len() > Self::LONGEST {
            return parse().map(parts);
        }
        let known = self
            .authorities
            .find(hash(&[text]), |known| *known.text == *text, parse);
        match known {
            Some(known) => Some((Arc::clone(&known.host), known.port)),
            None => parse().map(parts),
        }
    }
}

/// A host and the port it names. IPv6 addresses lose their brackets.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    if let Some(v6) = authority.strip_prefix('[') {
        let (address, rest) = v6.split_once(']').unwrap_or((v6, ""));
        return (
            address,
            rest.strip_prefix(':').and_then(|port| port.parse().ok()),
        );
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// Names that were found good, such as the methods that a server has: what comes from the wire
/// is looked up here, and only what the caller vouches for is added.
///
/// # Cardinality
/// Up to 512 names, kept for the life of the process.
#[derive(Debug)]
pub struct KnownNames(Table<&'static str, 512>);

impl KnownNames {
    /// No names yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Table::new())
    }

    /// `name`, if it was added.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&'static str> {
        self.look(name, || None)
    }

    /// Adds `name`. `None` when there is no room for it.
    pub fn learn(&self, name: &str) -> Option<&'static str> {
        self.look(name, || Some(Box::leak(name.into())))
    }

    fn look(&self, name: &str, make: impl Fn() -> Option<&'static str>) -> Option<&'static str> {
        let known = self
            .0
            .find(hash(&[name.as_bytes()]), |known| *known == name, make);
        known.copied()
    }
}

impl Default for KnownNames {
    fn default() -> Self {
        Self::new()
    }
}

/// A name made of two parts, and its second part: a span name and the route in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanAndTarget {
    /// `{operation} {target}`.
    pub name: &'static str,
    /// The target alone.
    pub target: &'static str,
}

struct Named {
    operation: &'static str,
    both: SpanAndTarget,
}

/// The span name `{operation} {target}` of a low-cardinality target, made once.
///
/// `None` when the table of 1024 names is full, or the target longer than 256 bytes: the caller
/// then formats its own.
///
/// # Cardinality
/// Names are kept for the life of the process. Pass route templates, topic names and the
/// like, never anything that holds an id.
#[must_use]
pub fn span_name(operation: &'static str, target: &str) -> Option<SpanAndTarget> {
    static NAMES: Table<Named, 1024> = Table::new();
    if target.len() > Interner::LONGEST {
        return None;
    }
    // Operations are constants: most often it is the very same one.
    let is_operation = |known: &'static str| std::ptr::eq(known, operation) || known == operation;
    let is = |known: &Named| is_operation(known.operation) && known.both.target == target;
    let make = || {
        let name: &'static str = Box::leak(format!("{operation} {target}").into_boxed_str());
        let target = name.get(operation.len() + 1..).unwrap_or_default();
        Some(Named {
            operation,
            both: SpanAndTarget { name, target },
        })
    };
    NAMES
        .find(hash(&[operation.as_bytes(), target.as_bytes()]), is, make)
        .map(|known| known.both)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(interner: &Interner, text: &str) -> Arc<str> {
        interner.text(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_same_text_is_shared_and_long_text_is_not() {
        let interner = Interner::new();
        assert!(Arc::ptr_eq(
            &get(&interner, "host"),
            &get(&interner, "host")
        ));
        let long = "x".repeat(300);
        assert!(!Arc::ptr_eq(&get(&interner, &long), &get(&interner, &long)));
        assert_eq!(interner.text(b"\xff"), None);
    }

    #[test]
    fn a_full_table_still_answers() {
        let interner = Interner::new();
        for i in 0..10_000 {
            let text = format!("agent/{i}");
            assert_eq!(&*get(&interner, &text), text);
        }
    }

    #[test]
    fn only_what_was_learnt_is_known() {
        let names = KnownNames::new();
        assert_eq!(names.find("a.B/C"), None);
        let learnt = names.learn("a.B/C").unwrap();
        assert_eq!(names.find("a.B/C").map(str::as_ptr), Some(learnt.as_ptr()));
        assert_eq!(names.find("a.B/D"), None);
        let added = (0..5000).filter(|i| names.learn(&i.to_string()).is_some());
        assert!(added.count() < 512, "the table is bounded");
        assert_eq!(names.find("a.B/C"), Some("a.B/C"));
    }

    #[test]
    fn authorities_have_hosts_and_ports() {
        let interner = Interner::new();
        for (authority, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:8080", "example.com", Some(8080)),
            ("[::1]:443", "::1", Some(443)),
            ("[::1]", "::1", None),
            ("::1", "::1", None),
            ("user:pass@host:1", "host", Some(1)),
            ("host:99999", "host", None),
            ("host:", "host", None),
        ] {
            for _ in 0..2 {
                let found = interner.authority(authority.as_bytes()).unwrap();
                assert_eq!((&*found.0, found.1), (host, port), "{authority}");
            }
        }
        for none in [b"".as_slice(), b":80", b"\xff"] {
            assert_eq!(interner.authority(none), None);
        }
    }

    #[test]
    fn a_span_name_holds_its_target() {
        let named = span_name("GET", "/models/{model}").unwrap();
        assert_eq!(named.name, "GET /models/{model}");
        assert_eq!(named.target, "/models/{model}");
        let again = span_name("GET", "/models/{model}").unwrap();
        assert_eq!(again.name.as_ptr(), named.name.as_ptr());
        assert_eq!(span_name("GET", &"x".repeat(257)), None);
        assert_eq!(
            span_name("POST", "").unwrap(),
            SpanAndTarget {
                name: "POST ",
                target: ""
            }
        );
    }
}
