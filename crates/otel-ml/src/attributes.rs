//! The buffer that attributes are pushed into.

use opentelemetry::{Key, KeyValue, Value};

/// A growing list of span attributes with an upper bound.
///
/// Hooks push into it. Beyond the bound ([`Options`](crate::Options)' attribute cap)
/// attributes are left out, so that a hook can't crowd out what the transport records.
#[derive(Debug)]
pub struct Attributes {
    list: Vec<KeyValue>,
    cap: usize,
    taken_from: usize,
}

impl Attributes {
    /// Room for what a transport sets itself and a handler adds later: 18 entries stay
    /// below the size from which the allocator leaves its fast path.
    const ROOM: usize = 18;

    pub(crate) fn new(cap: usize) -> Self {
        Self {
            list: Vec::with_capacity(Self::ROOM.min(cap)),
            cap,
            taken_from: usize::MAX,
        }
    }

    /// A buffer that holds nothing until something is pushed, without an upper bound.
    #[must_use]
    pub const fn unbounded() -> Self {
        Self {
            list: Vec::new(),
            cap: usize::MAX,
            taken_from: usize::MAX,
        }
    }

    /// Adds one attribute. A key must be pushed once only: the SDK keeps every copy.
    #[inline]
    pub fn push(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        if self.list.len() < self.cap {
            self.list.push(KeyValue::new(key, value));
        }
    }

    /// Adds one attribute, or replaces the one that has its key.
    pub(crate) fn set(&mut self, attribute: KeyValue) {
        let mut known = self.list.iter_mut();
        match known.find(|known| known.key == attribute.key) {
            Some(known) => *known = attribute,
            None => self.push(attribute.key, attribute.value),
        }
    }

    /// Keys pushed from now on can't be written again by a handler: the SDK would keep both.
    pub fn take_keys(&mut self) {
        self.taken_from = self.taken_from.min(self.list.len());
    }

    pub(crate) fn taken(&self) -> Vec<Key> {
        let taken = self.list.get(self.taken_from..).unwrap_or_default();
        taken
            .iter()
            .map(|attribute| attribute.key.clone())
            .collect()
    }

    /// What was pushed so far, in order.
    #[must_use]
    pub fn as_slice(&self) -> &[KeyValue] {
        &self.list
    }

    /// The list itself.
    #[must_use]
    pub fn into_vec(self) -> Vec<KeyValue> {
        self.list
    }
}

/// Sets `key` in `list`: its last value counts.
pub(crate) fn set(list: &mut Vec<KeyValue>, key: impl Into<Key>, value: impl Into<Value>) {
    let attribute = KeyValue::new(key, value);
    match list.iter_mut().find(|known| known.key == attribute.key) {
        Some(known) => *known = attribute,
        None => list.push(attribute),
    }
}

impl Extend<KeyValue> for Attributes {
    fn extend<I: IntoIterator<Item = KeyValue>>(&mut self, attributes: I) {
        for attribute in attributes {
            self.push(attribute.key, attribute.value);
        }
    }
}
