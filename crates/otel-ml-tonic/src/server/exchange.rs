use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use bytes::Buf;
use http::header::{HeaderMap, HeaderName};
use http::{StatusCode, response};
use otel_ml_tower::otel_ml::hooks::AllHooks;
use otel_ml_tower::otel_ml::opentelemetry::trace::SpanKind;
use otel_ml_tower::otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml_tower::otel_ml::semconv::rpc::grpc_status::SERVER_ERRORS;
use otel_ml_tower::otel_ml::semconv::{network, rpc, server};
use otel_ml_tower::otel_ml::{
    Attributes, CancelReason, Detail, End, ErrorType, Operation, Options, Outcome, Record,
};
use otel_ml_tower::{Exchange, PeerAddress, RequestHead, Streamed};
use tonic::Code;
use tonic::transport::server::TcpConnectInfo;

use super::layer::ServerOptions;
use crate::call::{Call, failed_with};
use crate::carrier::CallHeaders;
use crate::method::{Answer, Called, Method};
use crate::status;

/// One call being served: what its metrics need, and what is learnt of its answer.
pub struct ServerExchange<H> {
    options: Arc<ServerOptions<H>>,
    call: Call,
    method: Method,
    /// Whether a new method was answered by a stream.
    is_served: bool,
    /// Whether a hook has named the span.
    is_named: bool,
    told: Told,
    labels: Vec<KeyValue>,
}

/// Which ends of the call were told when it arrived. What was not is free for the handler.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    server: bool,
    port: bool,
    peer: bool,
}

impl<H> ServerExchange<H>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
{
    pub(super) fn start(
        options: &Arc<ServerOptions<H>>,
        request: &RequestHead<'_>,
        headers: &CallHeaders<'_>,
        sender: Context,
    ) -> Operation<Self> {
        let common = &options.common;
        let called = options.methods.at(request.uri.path());
        let name = common.hooks.span_name(request);
        let is_named = name.is_some();
        let told = Cell::new(Told::default());
        let name = name.unwrap_or_else(|| called.span_name());
        let exchange = || {
            let instruments = common.telemetry.instruments();
            let hook = options.metric_attributes.as_ref();
            let labels = hook.filter(|_| instruments.is_some()).map(|hook| {
                let mut labels = Attributes::unbounded();
                hook.attributes(request, &mut labels);
                labels.into_vec()
            });
            Self {
                options: Arc::clone(options),
                call: Call::served(headers.timeout),
                method: called.kept(),
                is_served: false,
                is_named,
                told: told.get(),
                labels: labels.unwrap_or_default(),
            }
        };
        let baggage = if common.baggage.is_empty() {
            None
        } else {
            Some(common.parent.parent_of(sender.clone()))
        };
        Operation::builder(&common.telemetry, SpanKind::Server, name)
            .sent_by(sender, common.parent)
            .handle(common.handle())
            .attribute_cap(common.attribute_cap)
            .keep_record(options.trace_id_header.is_some())
            .start(exchange, |to| {
                to.push(rpc::SYSTEM_NAME, rpc::system::GRPC);
                match called {
                    Called::Known(name) => to.push(rpc::METHOD, name),
                    Called::Other(name) => {
                        to.push(rpc::METHOD, rpc::METHOD_OTHER);
                        to.push(rpc::METHOD_ORIGINAL, name.to_owned());
                    }
                    // The SDK would keep both what is said now and what the answer tells.
                    Called::New(_) => {}
                }
                if common.detail >= Detail::Standard {
                    told.set(push_ends(request, headers, common, to));
                }
                to.extend(
                    (common.request_headers.iter())
                        .filter_map(|header| header.attribute(request.headers))
                        .map(|(key, value)| KeyValue::new(key, value)),
                );
                to.take_keys();
                if let Some(cx) = &baggage {
                    common.push_baggage(cx, to);
                }
                common.hooks.attributes(request, to);
            })
    }
}

impl<H> ServerExchange<H> {
    /// There is a span: the messages of the answer are counted for it.
    pub(super) const fn record_messages(&mut self) {
        self.call.record_messages();
    }
}

/// Who is called, by whom.
fn push_ends<H>(
    request: &RequestHead<'_>,
    headers: &CallHeaders<'_>,
    options: &Options<H>,
    to: &mut Attributes,
) -> Told {
    let mut told = Told::default();
    let authority = request.uri.authority().map(|text| text.as_str().as_bytes());
    let authority = authority.or(headers.host);
    let interner = options.telemetry.interner();
    if let Some((host, port)) = authority.and_then(|authority| interner.authority(authority)) {
        to.push(server::ADDRESS, host);
        told.server = true;
        if let Some(port) = port {
            to.push(server::PORT, i64::from(port));
            told.port = true;
        }
    }
    if let Some(peer) = peer(request) {
        PeerAddress(peer).push(to);
        told.peer = true;
    }
    told
}

/// The address at the other end, as tonic's server, axum's, or another has left it.
fn peer(request: &RequestHead<'_>) -> Option<SocketAddr> {
    let extensions = request.extensions;
    if let Some(info) = extensions.get::<TcpConnectInfo>() {
        return info.remote_addr();
    }
    let of_axum = extensions.get::<ConnectInfo<SocketAddr>>();
    of_axum
        .map(|info| info.0)
        .or_else(|| extensions.get::<PeerAddress>().map(|peer| peer.0))
}

/// To a server, six statuses are errors of its own.
fn rule(code: Code) -> Outcome {
    if SERVER_ERRORS.contains(&status::name(code)) {
        failed_with(code)
    } else {
        Outcome::Ok
    }
}

impl<H> Exchange for ServerExchange<H> {
    type Hooks = H;

    fn options(&self) -> &Options<H> {
        &self.options.common
    }

    /// An answer with its status in the head has nothing else.
    fn head(&mut self, head: &response::Parts) -> bool {
        let is_all = self.call.head(head, &self.options.common.response_headers);
        // What stands before the methods refuses with the head alone, whatever was asked for.
        if matches!(self.method, Method::New(_)) {
            self.is_served =
                !is_all && head.status == StatusCode::OK && status::is_grpc(&head.headers);
        }
        is_all
    }

    fn trace_id_header(&self) -> Option<&HeaderName> {
        self.options.trace_id_header.as_ref()
    }

    /// The status is behind the messages, however few they are.
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
        let options = &self.options.common;
        self.call.failed(options, error, |_, code| rule(code))
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        let recorded = &self.options.common.response_headers;
        self.call.trailers(trailers, recorded);
    }

    fn outcome(&self) -> Outcome {
        self.call.status().map_or(Outcome::Ok, rule)
    }
}

impl<H> Record for ServerExchange<H> {
    fn owns(&self, key: &str) -> bool {
        match key {
            rpc::SYSTEM_NAME | rpc::METHOD | rpc::METHOD_ORIGINAL => true,
            server::ADDRESS => self.told.server,
            server::PORT => self.told.port,
            network::PEER_ADDRESS | network::PEER_PORT => self.told.peer,
            _ => false,
        }
    }

    fn dropped(&self) -> Outcome {
        self.call.dropped()
    }

    /// A caller that gives up is `CANCELLED`, which is no error of the server's.
    fn error(&self, outcome: &Outcome, kind: &SpanKind) -> Option<ErrorType> {
        match outcome {
            Outcome::Cancelled(CancelReason::Dropped) => None,
            outcome => outcome.error(kind),
        }
    }

    fn record(&mut self, end: &mut End<'_>) {
        let answer = if self.call.is_unimplemented() {
            Answer::HasNot
        } else if self.is_served || self.call.code == Some(Code::Ok) {
            Answer::Has
        } else {
            Answer::Silence
        };
        let method = self.method.end(&self.options.methods, &answer);
        if let Some(instruments) = end.instruments {
            let mut labels = self.call.labels(method.label, end);
            labels.extend(self.labels.drain(..));
            instruments
                .rpc_server_call_duration
                .record(end.duration.as_secs_f64(), &labels);
            end.record_gen_ai_server();
        }
        if end.is_recording() {
            if method.is_renamed && !self.is_named {
                end.rename(rpc::system::GRPC);
            }
            if let Some(method) = method.method {
                end.set(rpc::METHOD, method);
            }
            if let Some(original) = method.original {
                end.set(rpc::METHOD_ORIGINAL, original);
            }
            self.call.record(end);
        }
    }
}

impl<H> fmt::Debug for ServerExchange<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerExchange")
            .field("method", &self.method)
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
