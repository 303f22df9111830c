//! gRPC metadata as what carries the propagation fields across a hop.
//!
//! The layers use it; it is public for code that passes context on by hand.

use http::HeaderMap;
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
        Self::of_headers(metadata.as_ref())
    }

    pub(crate) fn of_headers(headers: &'a HeaderMap) -> Self {
        Self(HeaderExtractor::new(headers))
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
