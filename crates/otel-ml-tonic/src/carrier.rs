//! gRPC metadata as what carries the propagation fields across a hop.
//!
//! The layers use it; it is public for code that passes context on by hand.

use http::{HeaderMap, HeaderValue};
use otel_ml_tower::otel_ml::carrier::{
    ExtractCarrier, Field, HeaderExtractor, HeaderInjector, InjectCarrier, Only,
};
use otel_ml_tower::otel_ml::opentelemetry::propagation::{Extractor, Injector};
use tonic::metadata::MetadataMap;

/// Metadata that is read from.
#[derive(Debug)]
pub struct MetadataExtractor<'a>(HeaderExtractor<'a>);

impl<'a> MetadataExtractor<'a> {
    /// Reads from `metadata`.
    #[must_use]
    pub fn new(metadata: &'a MetadataMap) -> Self {
        Self(HeaderExtractor::new(metadata.as_ref()))
    }

    /// Reads from `headers`; in the same pass, what `found` is to hold.
    #[inline]
    pub(crate) fn scan(headers: &'a HeaderMap, found: Option<&mut CallHeaders<'a>>) -> Self {
        Self(match found {
            Some(found) => HeaderExtractor::scan(headers, |name, value| found.take(name, value)),
            None => HeaderExtractor::new(headers),
        })
    }
}

/// What a server reads of a call besides.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CallHeaders<'a> {
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) timeout: Option<&'a [u8]>,
    pub(crate) host: Option<&'a [u8]>,
}

impl<'a> CallHeaders<'a> {
    #[inline]
    fn take(&mut self, name: &str, value: &'a HeaderValue) {
        let slot = match name {
            "content-type" => &mut self.content_type,
            "grpc-timeout" => &mut self.timeout,
            "host" => &mut self.host,
            _ => return,
        };
        slot.get_or_insert(value.as_bytes());
    }
}

impl ExtractCarrier for MetadataExtractor<'_> {
    const TRANSPORT: &'static str = otel_ml_tower::otel_ml::semconv::ml::transport::GRPC;

    fn values(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.0.values(field)
    }

    fn only(&self, field: Field) -> Only<'_> {
        self.0.only(field)
    }
}

impl Extractor for MetadataExtractor<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        self.0.get_all(key)
    }
}

/// Metadata that is written to.
#[derive(Debug)]
pub struct MetadataInjector<'a>(pub &'a mut MetadataMap);

impl InjectCarrier for MetadataInjector<'_> {
    fn replace(&mut self, field: Field, value: &[u8]) {
        HeaderInjector(self.0.as_mut()).replace(field, value);
    }

    fn remove(&mut self, field: Field) {
        HeaderInjector(self.0.as_mut()).remove(field);
    }
}

impl Injector for MetadataInjector<'_> {
    fn set(&mut self, key: &str, value: String) {
        HeaderInjector(self.0.as_mut()).set(key, value);
    }
}
