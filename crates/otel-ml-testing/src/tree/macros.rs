//! The short form of an expected tree.

/// Compares ended spans with a tree, written as it looks.
///
/// A span is its name, then, each if wanted: `[flags]` (`server`, `client`,
/// `producer`, `consumer`, `internal`; `error`, `unset`, `ok`; `only_attrs`,
/// `any_children`), `{ "key" = value, .. }`, and `=> [ children ]`. Several roots are
/// separated by commas. For more, use [`span`](crate::span()) and
/// [`assert_tree`](crate::assert_tree()).
///
/// ```
/// use opentelemetry::KeyValue;
/// use opentelemetry::trace::{TraceContextExt as _, Tracer as _, TracerProvider as _};
/// use otel_ml_testing::{TestTelemetry, assert_tree};
///
/// let test = TestTelemetry::new();
/// let tracer = test.tracer_provider().tracer("demo");
/// tracer.in_span("answer", |cx| {
///     cx.span().set_attribute(KeyValue::new("ml.batch.size", 4));
///     tracer.in_span("rerank", |_cx| ());
/// });
/// assert_tree!(test.spans(), {
///     "answer" [internal, unset] { "ml.batch.size" = 4 } => [
///         "rerank" [internal],
///     ]
/// });
/// ```
///
/// # Panics
/// When the spans form another tree, with the two trees line by line.
#[macro_export]
macro_rules! assert_tree {
    ($spans:expr, { $($tree:tt)* }) => {
        $crate::assert_tree(
            &$spans,
            $crate::__expected!(@spans ::std::vec::Vec::new(); $($tree)*),
        )
    };
}

/// Reads one list of spans, piece by piece.
#[doc(hidden)]
#[macro_export]
macro_rules! __expected {
    (@spans $list:expr;) => { $list };
    (@spans $list:expr; $name:literal $($rest:tt)*) => {
        $crate::__expected!(@flags $list; $crate::span($name); $($rest)*)
    };
    (@spans $list:expr; ($name:expr) $($rest:tt)*) => {
        $crate::__expected!(@flags $list; $crate::span($name); $($rest)*)
    };

    (@flags $list:expr; $span:expr; [$($flag:ident),* $(,)?] $($rest:tt)*) => {
        $crate::__expected!(@attributes $list; {
            let span = $span;
            $(let span = $crate::__expected!(@flag span $flag);)*
            span
        }; $($rest)*)
    };
    (@flags $list:expr; $span:expr; $($rest:tt)*) => {
        $crate::__expected!(@attributes $list; $span; $($rest)*)
    };

    (@attributes $list:expr; $span:expr; { $($key:tt = $value:expr),* $(,)? } $($rest:tt)*) => {
        $crate::__expected!(@children $list; $span$(.attr($key, $value))*; $($rest)*)
    };
    (@attributes $list:expr; $span:expr; $($rest:tt)*) => {
        $crate::__expected!(@children $list; $span; $($rest)*)
    };

    (@children $list:expr; $span:expr; => [ $($children:tt)* ] $($rest:tt)*) => {
        $crate::__expected!(@next $list; {
            let children: ::std::vec::Vec<$crate::ExpectedSpan> =
                $crate::__expected!(@spans ::std::vec::Vec::new(); $($children)*);
            children.into_iter().fold($span, $crate::ExpectedSpan::child)
        }; $($rest)*)
    };
    (@children $list:expr; $span:expr; $($rest:tt)*) => {
        $crate::__expected!(@next $list; $span; $($rest)*)
    };

    (@next $list:expr; $span:expr; $(, $($rest:tt)*)?) => {
        $crate::__expected!(@spans {
            let mut list: ::std::vec::Vec<$crate::ExpectedSpan> = $list;
            list.push($span);
            list
        }; $($($rest)*)?)
    };

    (@flag $span:ident server) => { $span.kind($crate::opentelemetry::trace::SpanKind::Server) };
    (@flag $span:ident client) => { $span.kind($crate::opentelemetry::trace::SpanKind::Client) };
    (@flag $span:ident producer) => { $span.kind($crate::opentelemetry::trace::SpanKind::Producer) };
    (@flag $span:ident consumer) => { $span.kind($crate::opentelemetry::trace::SpanKind::Consumer) };
    (@flag $span:ident internal) => { $span.kind($crate::opentelemetry::trace::SpanKind::Internal) };
    (@flag $span:ident error) => { $span.error() };
    (@flag $span:ident unset) => { $span.unset() };
    (@flag $span:ident ok) => { $span.ok() };
    (@flag $span:ident only_attrs) => { $span.only_attrs() };
    (@flag $span:ident any_children) => { $span.any_children() };
}
