//! How the operation of a request begins, for all that is served or sent on top of HTTP.

use http::Request;
use otel_ml::carrier::{ExtractCarrier, HeaderInjector};
use otel_ml::hooks::AllHooks;
use otel_ml::opentelemetry::Context;
use otel_ml::opentelemetry::trace::TraceContextExt as _;
use otel_ml::{Operation, Options};

use crate::body::Exchange;
use crate::future::ResponseFuture;
use crate::request::RequestHead;
use crate::server::Tower;

/// The operation of a request that arrives: what `start` makes of its sender's context where
/// it is recorded, else one that only passes that context on. `carrier` is given a place for what
/// else it finds in the same pass over the headers, where somebody is to look at it.
#[inline]
pub fn receive<H, X, C, T>(
    options: &Options<H>,
    request: &RequestHead<'_>,
    carrier: impl FnOnce(Option<&mut T>) -> C,
    start: impl FnOnce(Context, &T) -> Operation<X>,
) -> Operation<X>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
    X: Exchange,
    C: ExtractCarrier,
    T: Default,
{
    let telemetry = &options.telemetry;
    let is_suppressed = || Context::map_current(Context::is_telemetry_suppressed);
    let sender = if telemetry.is_tracing() || telemetry.instruments().is_some() {
        let mut found = T::default();
        let sender = telemetry.extract(&carrier(Some(&mut found)));
        if !is_suppressed() && options.hooks.accepts(request) {
            return start(sender, &found);
        }
        sender
    } else {
        let Some(sender) = telemetry.extract_if_propagating(|| carrier(None)) else {
            return Operation::none();
        };
        sender
    };
    let sender = options.parent.parent_of(sender);
    Operation::passing(if is_suppressed() {
        sender.with_telemetry_suppressed()
    } else {
        sender
    })
}

/// Sends a request on by `call`, with the context of the operation that `start` makes below
/// the current one, or, where it is not recorded, with the current one.
#[inline]
pub fn send<H, X, B, F>(
    options: &Options<H>,
    mut request: Request<B>,
    start: impl FnOnce(&mut Request<B>, Context) -> Operation<X>,
    call: impl FnOnce(Request<B>) -> F,
) -> ResponseFuture<F, X, Tower>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
    X: Exchange,
{
    let telemetry = &options.telemetry;
    let is_recorded = telemetry.is_tracing() || telemetry.instruments().is_some();
    if !is_recorded && !telemetry.is_propagating() {
        return ResponseFuture::new(call(request), Operation::none());
    }
    let current = Context::current();
    if !is_recorded
        || current.is_telemetry_suppressed()
        || !options.hooks.accepts(&RequestHead::from(&request))
    {
        telemetry.inject(&current, &mut HeaderInjector(request.headers_mut()));
        return ResponseFuture::new(call(request), Operation::none());
    }
    let is_root = !current.has_active_span();
    let mut operation = start(&mut request, current);
    if let Some(cx) = operation.context() {
        telemetry.inject(cx, &mut HeaderInjector(request.headers_mut()));
    }
    let inner = if is_root || operation.record_mut().is_some() {
        let entered = operation.enter();
        let inner = call(request);
        entered.leave();
        inner
    } else {
        // Its context is the one that is current.
        call(request)
    };
    ResponseFuture::new(inner, operation)
}
