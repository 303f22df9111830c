//! What an SDK says of itself: `otel.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, otel";

    /// Which exporter or processor, unique within the program. Recommended on SDK metrics.
    COMPONENT_NAME: String, Development = "otel.component.name";
    /// What kind of exporter or processor: see [`component_type`]. Recommended on SDK metrics.
    COMPONENT_TYPE: String, Development = "otel.component.type";
}

/// Values of [`COMPONENT_TYPE`].
pub mod component_type {
    crate::attribute::values! {
        /// Exports logs by OTLP over gRPC.
        OTLP_GRPC_LOG_EXPORTER = "otlp_grpc_log_exporter";
        /// Exports metrics by OTLP over gRPC.
        OTLP_GRPC_METRIC_EXPORTER = "otlp_grpc_metric_exporter";
        /// Exports spans by OTLP over gRPC.
        OTLP_GRPC_SPAN_EXPORTER = "otlp_grpc_span_exporter";
        /// Exports logs by OTLP over HTTP.
        OTLP_HTTP_LOG_EXPORTER = "otlp_http_log_exporter";
        /// Exports metrics by OTLP over HTTP.
        OTLP_HTTP_METRIC_EXPORTER = "otlp_http_metric_exporter";
        /// Exports spans by OTLP over HTTP.
        OTLP_HTTP_SPAN_EXPORTER = "otlp_http_span_exporter";
    }
}

/// Metrics of exporters. An export that failed is counted with its `error.type`.
pub mod metric {
    use crate::metric::metrics;

    metrics! {
        source: "semantic-conventions 1.45.0, otel";

        "Log records whose export has ended, well or not."
        /// Labels: component; error type where it failed.
        SDK_EXPORTER_LOG_EXPORTED: Counter, Development =
            "otel.sdk.exporter.log.exported", "{log_record}";

        "Metric points whose export has ended, well or not."
        /// Labels: component; error type where it failed.
        SDK_EXPORTER_METRIC_DATA_POINT_EXPORTED: Counter, Development =
            "otel.sdk.exporter.metric_data_point.exported", "{data_point}";

        "Spans whose export has ended, well or not."
        /// Labels: component; error type where it failed.
        SDK_EXPORTER_SPAN_EXPORTED: Counter, Development =
            "otel.sdk.exporter.span.exported", "{span}";
    }
}
