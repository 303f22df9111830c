use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Buf;
use http::header::HeaderMap;
use http::{Request, StatusCode, response};
use otel_ml_tower::otel_ml::hooks::AllHooks;
use otel_ml_tower::otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_tower::otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_tower::otel_ml::semconv::{ml, rpc, server};
use otel_ml_tower::otel_ml::{
    CancelReason, Detail, End, KnownNames, Operation, Options, Outcome, Record,
};
use otel_ml_tower::{Exchange, PeerAddress, RequestHead, Streamed};
use tonic::Code;

use super::layer::ClientOptions;
use crate::body::count_messages;
use crate::call::{Call, failed_with, whole};
use crate::method::Called;
use crate::status;
use crate::target::Target;

/// One call being made: what its metrics need, and what is learnt of its answer.
pub struct ClientExchange<H> {
    options: Arc<ClientOptions<H>>,
    call: Call,
    method: Cow<'static, str>,
    server: Option<Target>,
    peer: Option<PeerAddress>,
    /// Messages sent, counted where they are read.
    sent: Option<Arc<AtomicU64>>,
}

impl<H> ClientExchange<H>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
{
    pub(super) fn start<B: 'static>(
        options: &Arc<ClientOptions<H>>,
        request: &mut Request<B>,
        parent: Context,
    ) -> Operation<Self> {
        // What a client calls is what its program was written to call.
        static METHODS: LazyLock<KnownNames> = LazyLock::new(KnownNames::new);
        let common = &options.common;
        let head = RequestHead::from(&*request);
        let path = head.uri.path();
        let (method, original) = match options.methods.as_ref().map(|list| list.at(path)) {
            None => {
                let path = path.strip_prefix('/').unwrap_or(path);
                let known = METHODS.learn(path);
                let method = known.map_or_else(|| Cow::Owned(path.to_owned()), Cow::Borrowed);
                (method, None)
            }
            Some(Called::Known(name)) => (Cow::Borrowed(name), None),
            Some(Called::Other(name) | Called::New(name)) => {
                (Cow::Borrowed(rpc::METHOD_OTHER), Some(name))
            }
        };
        let name = common.hooks.span_name(&head);
        let name = name.unwrap_or_else(|| match original {
            None => method.clone(),
            Some(_) => Cow::Borrowed(rpc::system::GRPC),
        });
        // Looked up once, and only where it is recorded.
        let server = OnceCell::new();
        let server = || {
            let look = || options.target.clone().or_else(|| server_of(&head, common));
            server.get_or_init(look).clone()
        };
        let exchange = || Self {
            options: Arc::clone(options),
            call: Call::made(head.headers),
            method: method.clone(),
            server: common.telemetry.instruments().and_then(|_| server()),
            peer: None,
            sent: None,
        };
        let baggage = (!common.baggage.is_empty()).then(|| parent.clone());
        let mut operation = Operation::builder(&common.telemetry, SpanKind::Client, name)
            .parent(parent)
            .attribute_cap(common.attribute_cap)
            .start(exchange, |to| {
                to.push(rpc::SYSTEM_NAME, rpc::system::GRPC);
                to.push(rpc::METHOD, method.clone());
                if let Some(original) = original {
                    to.push(rpc::METHOD_ORIGINAL, original.to_owned());
                }
                if let Some(Target { address, port }) = server() {
                    to.push(server::ADDRESS, address);
                    if let Some(port) = port {
                        to.push(server::PORT, i64::from(port));
                    }
                }
                to.extend(
                    (common.request_headers.iter())
                        .filter_map(|header| header.attribute(head.headers))
                        .map(|(key, value)| KeyValue::new(key, value)),
                );
                if let Some(cx) = &baggage {
                    common.push_baggage(cx, to);
                }
                common.hooks.attributes(&head, to);
            });
        if operation.is_recording()
            && let Some(exchange) = operation.record_mut()
        {
            exchange.call.record_messages();
            let sent = Arc::clone(exchange.sent.get_or_insert_default());
            count_messages(request.body_mut(), sent);
        }
        operation
    }
}

/// The server as the request itself names it.
fn server_of<H>(request: &RequestHead<'_>, options: &Options<H>) -> Option<Target> {
    let authority = request.uri.authority()?.as_str().as_bytes();
    let (address, port) = options.telemetry.interner().authority(authority)?;
    let by_scheme = match request.uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    };
    Some(Target {
        address,
        port: port.or(by_scheme),
    })
}

/// To a client, every status but OK is an error. A server that gives up in time says that the
/// call was cancelled, as tonic's does.
fn rule(call: &Call, code: Code) -> Outcome {
    match code {
        Code::Ok => Outcome::Ok,
        Code::Cancelled if call.is_overdue() => Outcome::Cancelled(CancelReason::Deadline),
        code => failed_with(code),
    }
}

impl<H> Exchange for ClientExchange<H> {
    type Hooks = H;

    fn options(&self) -> &Options<H> {
        &self.options.common
    }

    fn head(&mut self, head: &response::Parts) -> bool {
        self.peer = head.extensions.get().copied();
        self.call.is_foreign = head.status != StatusCode::OK || !status::is_grpc(&head.headers);
        self.call.head(head, &self.options.common.response_headers)
    }

    fn untouched_up_to(&self) -> u64 {
        0
    }

    fn streamed(&mut self) -> &mut Streamed {
        &mut self.call.streamed
    }

    fn data<D: Buf>(&mut self, data: &D) {
        self.call.data(data);
    }

    fn failed<E: 'static>(&mut self, error: &E) -> Outcome {
        self.call.failed(&self.options.common, error, rule)
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        let recorded = &self.options.common.response_headers;
        self.call.trailers(trailers, recorded);
    }

    /// A stream that ends without a status was cut: hyper shows a reset with `NO_ERROR` as an end.
    fn outcome(&self) -> Outcome {
        if self.call.is_cut() {
            return Outcome::Cancelled(CancelReason::Reset);
        }
        let code = self.call.status();
        code.map_or(Outcome::Ok, |code| rule(&self.call, code))
    }
}

impl<H> Record for ClientExchange<H> {
    /// tonic's client reads no further where a page is not gRPC's, and says so to its caller.
    fn dropped(&self) -> Outcome {
        match self.call.status() {
            Some(code) if self.call.is_foreign && !self.call.is_overdue() => rule(&self.call, code),
            _ => self.call.dropped(),
        }
    }

    fn record(&mut self, end: &mut End<'_>) {
        if let Some(instruments) = end.instruments {
            let mut labels = self.call.labels(std::mem::take(&mut self.method), end);
            if let Some(Target { address, port }) = self.server.take() {
                labels.push(KeyValue::new(server::ADDRESS, address));
                labels.extend(port.map(|port| KeyValue::new(server::PORT, i64::from(port))));
            }
            instruments
                .rpc_client_call_duration
                .record(end.duration.as_secs_f64(), &labels);
        }
        if end.is_recording() {
            let sent = self.sent.as_ref();
            let sent = sent.map_or(0, |sent| sent.load(Ordering::Relaxed));
            if sent > 1 {
                end.set(ml::REQUEST_MESSAGE_COUNT, whole(sent));
            }
            if let Some(peer) = self
                .peer
                .filter(|_| self.options.common.detail > Detail::Minimal)
            {
                peer.record(end);
            }
            self.call.record(end);
        }
    }
}

impl<H> fmt::Debug for ClientExchange<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientExchange")
            .field("method", &self.method)
            .field("server", &self.server)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
