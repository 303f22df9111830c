use otel_ml::{MlSpan, model};
use otel_ml_semconv::{error, ml};
use otel_ml_testing::{TestTelemetry, assert_tree, assert_types};

use super::QueueFull;
use crate::support::{labels, series};

#[test]
fn loading_and_its_weights_are_spans_and_one_duration() {
    let test = TestTelemetry::new();
    let load = model::load("cross-encoder").telemetry(&test.telemetry());
    load.version("3")
        .quantization("int8")
        .size(2048)
        .in_scope_infallible(|| {
            model::init_weights().size(1024).in_scope_infallible(|| {
                // Known from the file only, and taken by the span around, not by this one.
                MlSpan::current().quantization("fp8");
            });
        });
    assert_tree!(test.spans(), {
        "ml.load_model cross-encoder" [internal, unset, only_attrs] {
            (ml::MODEL_NAME) = "cross-encoder",
            (ml::MODEL_VERSION) = "3",
            (ml::MODEL_QUANTIZATION) = "int8",
            (ml::MODEL_SIZE) = 2048,
        } => [
            "ml.init_weights" [internal, unset, only_attrs] {
                (ml::MODEL_SIZE) = 1024,
                (ml::MODEL_QUANTIZATION) = "fp8",
            },
        ],
    });
    assert_types(&test.spans());
    let labels = labels![ml::MODEL_NAME => "cross-encoder"];
    assert_eq!(
        series(&test, &ml::metric::MODEL_LOAD_DURATION, &labels).count(),
        1
    );
    assert_eq!(
        test.metrics().names(),
        [ml::metric::MODEL_LOAD_DURATION.name]
    );
}

#[test]
fn a_model_that_can_not_be_loaded_is_measured_too() {
    let test = TestTelemetry::new();
    let load = model::load("m").telemetry(&test.telemetry());
    assert_eq!(load.in_scope(|| Err::<(), _>(QueueFull)), Err(QueueFull));
    assert_tree!(test.spans(), {
        "ml.load_model m" [internal, error] { (error::TYPE) = "QueueFull" },
    });
    let labels = labels![ml::MODEL_NAME => "m", error::TYPE => "QueueFull"];
    assert_eq!(
        series(&test, &ml::metric::MODEL_LOAD_DURATION, &labels).count(),
        1
    );
}
