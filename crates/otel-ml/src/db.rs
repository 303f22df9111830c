//! Look-ups in feature stores and vector stores, as database operations.
//!
//! ```
//! use otel_ml::{MlSpan, db};
//!
//! let rows = db::vector_search("qdrant", "documents").in_scope(|| {
//!     let found = vec!["a", "b"];
//!     MlSpan::current().returned_rows(found.len() as u64);
//!     Ok::<_, std::io::Error>(found)
//! })?;
//! # assert_eq!(rows.len(), 2);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | recorded | |
//! |---|---|
//! | span | `{operation} {collection}`, CLIENT; INTERNAL when [`in_process`](Db::in_process) |
//! | attributes | `db.system.name`, `db.operation.name`, `db.collection.name`; what [`MlSpan`](crate::MlSpan) is told later |
//! | metrics | `db.client.operation.duration`; `db.client.response.returned_rows` when the rows are told |

use std::borrow::Cow;

use opentelemetry::trace::SpanKind;
use opentelemetry::{KeyValue, StringValue};
use otel_ml_semconv::{db, gen_ai, ml, server};

use crate::attributes::Attributes;
use crate::instruments::Labels;
use crate::ml_span::whole;
use crate::operation::{End, Record};
use crate::stream::Items;
use crate::task::{Task, TaskRecord, name_of};

/// A database operation.
pub type Db = Task<DbRecord>;

/// Reads features of `view` from the feature store `system` (`feast`, `redis`, …). It reads
/// the online store unless [`offline`](Db::offline) is said.
#[inline]
pub fn feature_lookup(system: impl Into<StringValue>, view: impl Into<StringValue>) -> Db {
    let mut task = operation("get_features", system.into(), view.into());
    task.set(ml::FEATURE_STORE_MODE, ml::feature_store_mode::ONLINE);
    task
}

/// Searches `collection` of the vector store `system` (`qdrant`, `milvus`, `postgresql`, …).
#[inline]
pub fn vector_search(system: impl Into<StringValue>, collection: impl Into<StringValue>) -> Db {
    operation("search", system.into(), collection.into())
}

#[inline]
fn operation(operation: &'static str, system: StringValue, collection: StringValue) -> Db {
    Task::new(
        SpanKind::Client,
        DbRecord {
            asked: Some(Asked {
                operation,
                system,
                collection,
                namespace: None,
                server: None,
            }),
            items: Items::default(),
        },
    )
}

impl Db {
    /// The store lives in this process: the span is INTERNAL.
    #[inline]
    pub fn in_process(mut self) -> Self {
        self.kind = SpanKind::Internal;
        self
    }

    /// Where the store is asked. Metric labels.
    #[inline]
    pub fn server(mut self, address: impl Into<StringValue>, port: u16) -> Self {
        if let Some(asked) = &mut self.record.asked {
            asked.server = Some((address.into(), port));
        }
        self
    }

    /// The database or tenant within the store. Metric label.
    #[inline]
    pub fn namespace(mut self, namespace: impl Into<StringValue>) -> Self {
        if let Some(asked) = &mut self.record.asked {
            asked.namespace = Some(namespace.into());
        }
        self
    }

    /// How many keys or vectors are asked for at once; recorded from two on.
    #[inline]
    pub fn batch_size(mut self, size: u64) -> Self {
        if size >= 2 {
            self.set(db::OPERATION_BATCH_SIZE, whole(size));
        }
        self
    }

    /// How many neighbours are asked for.
    #[inline]
    pub fn top_k(mut self, top_k: u64) -> Self {
        self.set(gen_ai::RETRIEVAL_TOP_K, whole(top_k));
        self
    }

    /// History is read, for training and batches, and not current values.
    #[inline]
    pub fn offline(mut self) -> Self {
        self.set(ml::FEATURE_STORE_MODE, ml::feature_store_mode::OFFLINE);
        self
    }
}

/// What a database operation records.
#[derive(Debug)]
pub struct DbRecord {
    /// Taken at the end.
    asked: Option<Asked>,
    items: Items,
}

/// What is asked, and where: the labels of the metrics.
#[derive(Clone, Debug)]
struct Asked {
    operation: &'static str,
    system: StringValue,
    collection: StringValue,
    namespace: Option<StringValue>,
    server: Option<(StringValue, u16)>,
}

impl Asked {
    fn into_labels(self) -> impl Iterator<Item = KeyValue> {
        let (address, port) = self.server.unzip();
        [
            Some(KeyValue::new(db::SYSTEM_NAME, self.system)),
            Some(KeyValue::new(db::OPERATION_NAME, self.operation)),
            Some(KeyValue::new(db::COLLECTION_NAME, self.collection)),
            address.map(|address| KeyValue::new(server::ADDRESS, address)),
            port.map(|port| KeyValue::new(server::PORT, i64::from(port))),
            self.namespace
                .map(|namespace| KeyValue::new(db::NAMESPACE, namespace)),
        ]
        .into_iter()
        .flatten()
    }
}

impl TaskRecord for DbRecord {
    fn name(&self) -> Cow<'static, str> {
        self.asked.as_ref().map_or(Cow::Borrowed(""), |asked| {
            name_of(asked.operation, asked.collection.as_str())
        })
    }

    fn items(&mut self) -> &mut Items {
        &mut self.items
    }

    fn labels(&self, to: &mut Attributes) {
        to.extend(self.asked.clone().into_iter().flat_map(Asked::into_labels));
    }
}

impl Record for DbRecord {
    fn record(&mut self, end: &mut End<'_>) {
        self.items.record(end, ml::RESPONSE_TIME_TO_FIRST_CHUNK);
        let Some(instruments) = end.instruments else {
            return;
        };
        let asked = self.asked.take();
        let mut labels: Labels = asked.into_iter().flat_map(Asked::into_labels).collect();
        if let Some(rows) = end
            .facts()
            .and_then(|facts| facts.integer(db::RESPONSE_RETURNED_ROWS))
        {
            instruments
                .db_client_response_returned_rows
                .record(rows, &labels);
        }
        labels.extend(end.error_label());
        instruments
            .db_client_operation_duration
            .record(end.duration.as_secs_f64(), &labels);
    }
}
