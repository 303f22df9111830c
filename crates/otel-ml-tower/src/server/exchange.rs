use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode, response};
use otel_ml::hooks::AllHooks;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::opentelemetry::{Context, KeyValue, Value};
use otel_ml::semconv::{client, http as keys, network, server, url, user_agent};
use otel_ml::{
    Attributes, CancelReason, Detail, End, ErrorType, InFlight, Instruments, Labels, Operation,
    Options, Outcome, Record, span_name,
};

use super::layer::ServerOptions;
use super::service::Framework;
use crate::body::{Exchange, Streamed};
use crate::request::{
    Forwarded, Headers, RequestHead, content_length, known_method, protocol_version, redact_query,
};

/// One request being served: what its metrics need, and what is learnt of its answer.
pub struct ServerExchange<H> {
    options: Arc<ServerOptions<H>>,
    method: &'static str,
    scheme: &'static str,
    version: &'static str,
    route: Option<Cow<'static, str>>,
    status: Option<StatusCode>,
    streamed: Streamed,
    in_flight: Option<InFlight>,
    told: Told,
    /// Labels and response headers: seldom there, so not in the future's own size.
    extra: Option<Box<Extra>>,
}

/// Which of the attributes that not every request has were told when it arrived. An attribute
/// that was not is free for the handler to write.
#[derive(Clone, Copy, Debug, Default)]
struct Told(u8);

impl Told {
    const QUERY: Self = Self(1);
    const SERVER_ADDRESS: Self = Self(1 << 1);
    const SERVER_PORT: Self = Self(1 << 2);
    const CLIENT: Self = Self(1 << 3);
    const PEER: Self = Self(1 << 4);
    const USER_AGENT: Self = Self(1 << 5);
    const SIZE: Self = Self(1 << 6);

    const fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }
}

#[derive(Default)]
struct Extra {
    labels: Vec<KeyValue>,
    response_headers: Vec<KeyValue>,
}

impl<H> ServerExchange<H>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
{
    #[inline]
    pub(super) fn start<W: Framework>(
        options: &Arc<ServerOptions<H>>,
        request: &RequestHead<'_>,
        headers: &Headers<'_>,
        sender: Context,
    ) -> Operation<Self> {
        let common = &options.common;
        let method = known_method(request.method);
        let (name, route) = name_and_route(method, W::route(request));
        let name = common.hooks.span_name(request).unwrap_or(name);
        let instruments = common.telemetry.instruments();
        let baggage = if common.baggage.is_empty() {
            None
        } else {
            Some(common.parent.parent_of(sender.clone()))
        };
        let read = Read {
            request,
            headers,
            method,
            route,
            version: protocol_version(request.version),
            scheme: Cell::new(None),
            told: Cell::default(),
        };
        let exchange = || {
            let scheme = match read.scheme.get() {
                Some(scheme) => scheme,
                None if instruments.is_some() => read.headers.forwarded().scheme_of(read.request),
                None => "http",
            };
            let hook = options.metric_attributes.as_ref();
            let extra = hook.filter(|_| instruments.is_some()).map(|hook| {
                let mut labels = Attributes::unbounded();
                hook.attributes(read.request, &mut labels);
                Box::new(Extra {
                    labels: labels.into_vec(),
                    response_headers: Vec::new(),
                })
            });
            Self {
                options: Arc::clone(options),
                method: read.method,
                scheme,
                version: read.version,
                route: read.route.clone(),
                status: None,
                streamed: Streamed::default(),
                in_flight: instruments
                    .map(|it| it.http_server_active_requests.enter(read.method, scheme)),
                told: read.told.get(),
                extra,
            }
        };
        Operation::builder(&common.telemetry, SpanKind::Server, name)
            .sent_by(sender, common.parent)
            .handle(common.handle())
            .attribute_cap(common.attribute_cap)
            .keep_record(options.trace_id_header.is_some())
            .start(exchange, |to| {
                read.push::<H, W>(common, to);
                to.take_keys();
                if let Some(cx) = &baggage {
                    common.push_baggage(cx, to);
                }
                common.hooks.attributes(read.request, to);
            })
    }
}

/// The span's name, and the route in it.
fn name_and_route(
    method: &'static str,
    route: Option<&str>,
) -> (Cow<'static, str>, Option<Cow<'static, str>>) {
    let named = if method == keys::method::OTHER {
        keys::SPAN_NAME_METHOD_OTHER
    } else {
        method
    };
    match route {
        None => (Cow::Borrowed(named), None),
        Some(route) => match span_name(named, route) {
            Some(known) => (Cow::Borrowed(known.name), Some(Cow::Borrowed(known.target))),
            None => (
                Cow::Owned(format!("{named} {route}")),
                Some(Cow::Owned(route.to_owned())),
            ),
        },
    }
}

/// A request, and what its span and its metrics both say of it.
struct Read<'a> {
    request: &'a RequestHead<'a>,
    headers: &'a Headers<'a>,
    method: &'static str,
    route: Option<Cow<'static, str>>,
    version: &'static str,
    /// Found out for the span, with much else. Metrics alone need no more.
    scheme: Cell<Option<&'static str>>,
    told: Cell<Told>,
}

impl Read<'_> {
    fn tell(&self, one: Told, key: &'static str, value: impl Into<Value>, to: &mut Attributes) {
        self.told.set(Told(self.told.get().0 | one.0));
        to.push(key, value);
    }

    fn push<H, W: Framework>(&self, options: &Options<H>, to: &mut Attributes) {
        let request = self.request;
        let forwarded = self.headers.forwarded();
        let scheme = forwarded.scheme_of(request);
        self.scheme.set(Some(scheme));
        to.push(keys::REQUEST_METHOD, self.method);
        to.push(url::SCHEME, scheme);
        self.push_request::<H, W>(&forwarded, options, to);
        if self.method == keys::method::OTHER {
            to.push(
                keys::REQUEST_METHOD_ORIGINAL,
                request.method.as_str().to_owned(),
            );
        }
        if options.detail >= Detail::Standard {
            to.push(network::PROTOCOL_VERSION, self.version);
        }
        for header in options.request_headers.iter() {
            to.extend(
                header
                    .attribute(request.headers)
                    .map(|(key, value)| KeyValue::new(key, value)),
            );
        }
    }

    fn push_request<H, W: Framework>(
        &self,
        forwarded: &Forwarded<'_>,
        options: &Options<H>,
        to: &mut Attributes,
    ) {
        let (request, headers) = (self.request, self.headers);
        let uri = W::uri(request);
        let path = uri.path();
        match &self.route {
            // A route without parameters is its own path: nothing to copy.
            Some(Cow::Borrowed(route)) if *route == path => to.push(url::PATH, *route),
            _ => to.push(url::PATH, path.to_owned()),
        }
        if let Some(route) = &self.route {
            to.push(keys::ROUTE, route.clone());
        }
        if let Some(query) = uri.query() {
            self.tell(
                Told::QUERY,
                url::QUERY,
                redact_query(query).into_owned(),
                to,
            );
        }
        if options.detail == Detail::Minimal {
            return;
        }
        let interner = options.telemetry.interner();
        let authority = forwarded
            .host
            .or_else(|| request.uri.authority().map(http::uri::Authority::as_str))
            .map(str::as_bytes)
            .or(headers.host);
        if let Some((host, port)) = authority.and_then(|authority| interner.authority(authority)) {
            self.tell(Told::SERVER_ADDRESS, server::ADDRESS, host, to);
            if let Some(port) = port {
                self.tell(Told::SERVER_PORT, server::PORT, i64::from(port), to);
            }
        }
        if let Some(agent) = headers.user_agent.and_then(|agent| interner.text(agent)) {
            self.tell(Told::USER_AGENT, user_agent::ORIGINAL, agent, to);
        }
        let peer = W::peer(request)
            .map(|peer| (Value::from(peer.ip().to_string()), i64::from(peer.port())));
        match (forwarded.client, &peer) {
            (Some(client), _) => self.tell(Told::CLIENT, client::ADDRESS, client.to_owned(), to),
            (None, Some((address, _))) => {
                self.tell(Told::CLIENT, client::ADDRESS, address.clone(), to);
            }
            (None, None) => {}
        }
        if let Some((address, port)) = peer {
            self.tell(Told::PEER, network::PEER_ADDRESS, address, to);
            to.push(network::PEER_PORT, port);
        }
        if options.detail == Detail::Full
            && let Some(size) = headers.content_length.and_then(content_length)
        {
            self.tell(Told::SIZE, keys::REQUEST_BODY_SIZE, size, to);
        }
    }
}

impl<H> fmt::Debug for ServerExchange<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerExchange")
            .field("method", &self.method)
            .field("route", &self.route)
            .field("status", &self.status)
            .field("streamed", &self.streamed)
            .finish_non_exhaustive()
    }
}

impl<H> Exchange for ServerExchange<H> {
    type Hooks = H;

    fn options(&self) -> &Options<H> {
        &self.options.common
    }

    /// An upgraded connection, a tunnel, the answer to a `HEAD` and one that has no content by its
    /// status end at their head: no server asks for a body then.
    fn head(&mut self, head: &response::Parts) -> bool {
        self.status = Some(head.status);
        let recorded = &self.options.common.response_headers;
        if !recorded.is_empty() {
            let headers = recorded
                .iter()
                .filter_map(|header| header.attribute(&head.headers));
            let headers = headers
                .map(|(key, value)| KeyValue::new(key, value))
                .collect();
            self.extra.get_or_insert_default().response_headers = headers;
        }
        let is_tunnel = self.method == Method::CONNECT.as_str() && head.status.is_success();
        let ends = matches!(
            head.status,
            StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        ends || is_tunnel || self.method == Method::HEAD.as_str()
    }

    fn trace_id_header(&self) -> Option<&HeaderName> {
        self.options.trace_id_header.as_ref()
    }

    fn untouched_up_to(&self) -> u64 {
        self.options.untouched_up_to
    }

    fn watched(&mut self, head: &response::Parts) {
        self.streamed.announce(&head.headers);
    }

    fn streamed(&mut self) -> &mut Streamed {
        &mut self.streamed
    }

    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// A 5xx is the server's error; a 4xx is not.
    fn outcome(&self) -> Outcome {
        match self.status {
            Some(status) if status.is_server_error() => {
                Outcome::Failed(ErrorType::from_status(status.as_u16()))
            }
            _ => Outcome::Ok,
        }
    }
}

impl<H> ServerExchange<H> {
    fn record_duration(&self, instruments: &Instruments, end: &End<'_>) {
        let status = self.status.map(|status| status.as_u16());
        let labels = || {
            let mut labels = Labels::new();
            labels.push(KeyValue::new(keys::REQUEST_METHOD, self.method));
            labels.push(KeyValue::new(url::SCHEME, self.scheme));
            labels.push(KeyValue::new(network::PROTOCOL_VERSION, self.version));
            labels.extend(
                status.map(|status| KeyValue::new(keys::RESPONSE_STATUS_CODE, i64::from(status))),
            );
            labels.extend(
                self.route
                    .clone()
                    .map(|route| KeyValue::new(keys::ROUTE, route)),
            );
            labels
        };
        let seconds = end.duration.as_secs_f64();
        let histogram = &instruments.http_server_request_duration;
        let route = match &self.route {
            None => Some(""),
            Some(Cow::Borrowed(route)) => Some(*route),
            Some(Cow::Owned(_)) => None,
        };
        match route {
            Some(route) if end.error.is_none() && self.extra.is_none() => {
                let texts = [self.method, self.scheme, self.version, route];
                let known = &instruments.http_server_request_labels;
                known.record(
                    histogram,
                    seconds,
                    texts,
                    status.unwrap_or_default(),
                    labels,
                );
            }
            _ => {
                let mut labels = labels();
                labels.extend(end.error_label());
                let extra = self.extra.iter().flat_map(|extra| &extra.labels);
                labels.extend(extra.cloned());
                histogram.record(seconds, &labels);
            }
        }
    }
}

impl<H> Record for ServerExchange<H> {
    fn owns(&self, key: &str) -> bool {
        match key {
            keys::REQUEST_METHOD | url::SCHEME | url::PATH => true,
            keys::REQUEST_METHOD_ORIGINAL => self.method == keys::method::OTHER,
            keys::ROUTE => self.route.is_some(),
            network::PROTOCOL_VERSION => self.options.common.detail >= Detail::Standard,
            url::QUERY => self.told.has(Told::QUERY),
            server::ADDRESS => self.told.has(Told::SERVER_ADDRESS),
            server::PORT => self.told.has(Told::SERVER_PORT),
            client::ADDRESS => self.told.has(Told::CLIENT),
            network::PEER_ADDRESS | network::PEER_PORT => self.told.has(Told::PEER),
            user_agent::ORIGINAL => self.told.has(Told::USER_AGENT),
            keys::REQUEST_BODY_SIZE => self.told.has(Told::SIZE),
            _ => false,
        }
    }

    fn dropped(&self) -> Outcome {
        match self.outcome() {
            Outcome::Ok if !self.streamed.is_whole() => Outcome::Cancelled(CancelReason::Dropped),
            known => known,
        }
    }

    fn record(&mut self, end: &mut End<'_>) {
        // Before the span is exported: whoever sees the span sees the gauge without it.
        drop(self.in_flight.take());
        if let Some(instruments) = end.instruments {
            self.record_duration(instruments, end);
            end.record_gen_ai_server();
        }
        if end.is_recording() {
            if let Some(status) = self.status {
                end.set(keys::RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
            }
            self.streamed.record(end);
            for header in self
                .extra
                .iter_mut()
                .flat_map(|extra| extra.response_headers.drain(..))
            {
                end.set(header.key, header.value);
            }
        }
    }
}
