use opentelemetry::trace::SpanKind;
use otel_ml::{MlSpan, db};
use otel_ml_semconv::{db as keys, error, gen_ai, ml, server};
use otel_ml_testing::{SpanExt, TestTelemetry, assert_tree, assert_types};

use super::{QueueFull, only};
use crate::support::{labels, series};

#[test]
fn a_vector_search() {
    let test = TestTelemetry::new();
    let search = db::vector_search("qdrant", "documents").telemetry(&test.telemetry());
    search
        .namespace("prod")
        .server("db.example.com", 6334)
        .batch_size(2)
        .top_k(5)
        .in_scope_infallible(|| {
            MlSpan::current().returned_rows(3);
        });
    assert_tree!(test.spans(), {
        "search documents" [client, unset, only_attrs] {
            (keys::SYSTEM_NAME) = "qdrant",
            (keys::OPERATION_NAME) = "search",
            (keys::COLLECTION_NAME) = "documents",
            (keys::NAMESPACE) = "prod",
            (server::ADDRESS) = "db.example.com",
            (server::PORT) = 6334,
            (keys::OPERATION_BATCH_SIZE) = 2,
            (gen_ai::RETRIEVAL_TOP_K) = 5,
            (keys::RESPONSE_RETURNED_ROWS) = 3,
        }
    });
    assert_types(&test.spans());
    let labels = labels![
        keys::SYSTEM_NAME => "qdrant", keys::OPERATION_NAME => "search",
        keys::COLLECTION_NAME => "documents", keys::NAMESPACE => "prod",
        server::ADDRESS => "db.example.com", server::PORT => 6334,
    ];
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
    let rows = series(&test, &keys::metric::CLIENT_RESPONSE_RETURNED_ROWS, &labels);
    assert_eq!((rows.count(), rows.sum()), (1, 3.0));
}

#[test]
fn feature_look_ups_tell_which_side_of_the_store_answered() {
    for (is_offline, mode) in [(false, "online"), (true, "offline")] {
        let test = TestTelemetry::new();
        let lookup = db::feature_lookup("feast", "users").telemetry(&test.telemetry());
        let lookup = if is_offline { lookup.offline() } else { lookup };
        lookup.in_process().batch_size(1).in_scope_infallible(|| ());
        assert_tree!(test.spans(), {
            "get_features users" [internal, unset, only_attrs] {
                (keys::SYSTEM_NAME) = "feast",
                (keys::OPERATION_NAME) = "get_features",
                (keys::COLLECTION_NAME) = "users",
                (ml::FEATURE_STORE_MODE) = mode,
            }
        });
        let labels = labels![
            keys::SYSTEM_NAME => "feast", keys::OPERATION_NAME => "get_features",
            keys::COLLECTION_NAME => "users",
        ];
        assert_eq!(
            series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &labels).count(),
            1
        );
        assert!(
            !test
                .metrics()
                .has(keys::metric::CLIENT_RESPONSE_RETURNED_ROWS.name)
        );
    }
}

#[test]
fn a_failed_look_up() {
    let test = TestTelemetry::new();
    let search = db::vector_search("qdrant", "documents").telemetry(&test.telemetry());
    assert_eq!(search.in_scope(|| Err::<(), _>(QueueFull)), Err(QueueFull));
    let span = only(&test);
    assert_eq!(
        (span.span_kind.clone(), span.str(error::TYPE)),
        (SpanKind::Client, "QueueFull")
    );
    let labels = labels![
        keys::SYSTEM_NAME => "qdrant", keys::OPERATION_NAME => "search",
        keys::COLLECTION_NAME => "documents", error::TYPE => "QueueFull",
    ];
    assert_eq!(
        series(&test, &keys::metric::CLIENT_OPERATION_DURATION, &labels).count(),
        1
    );
}
