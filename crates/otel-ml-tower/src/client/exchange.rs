use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode, Version, response};
use otel_ml::hooks::AllHooks;
use otel_ml::opentelemetry::trace::SpanKind;
use otel_ml::opentelemetry::{Context, KeyValue};
use otel_ml::semconv::{http as keys, network, server, url};
use otel_ml::{
    Attributes, CancelReason, Detail, End, ErrorType, Labels, Operation, Options, Outcome, Record,
    Telemetry, span_name,
};

use super::layer::ClientOptions;
use super::service::{ResendCount, UrlTemplate};
use crate::body::{Exchange, Streamed, UNTOUCHED_UP_TO};
use crate::peer::PeerAddress;
use crate::request::{RequestHead, content_length, full_url, known_method, protocol_version};

/// One request being sent: what its metrics need, and what is learnt of its answer.
pub struct ClientExchange<H> {
    options: Arc<ClientOptions<H>>,
    method: &'static str,
    template: Option<&'static str>,
    server: Option<(Arc<str>, u16)>,
    version: Option<Version>,
    status: Option<StatusCode>,
    peer: Option<PeerAddress>,
    streamed: Streamed,
    response_headers: Vec<KeyValue>,
}

impl<H> ClientExchange<H>
where
    H: for<'a> AllHooks<RequestHead<'a>>,
{
    #[inline]
    pub(super) fn start(
        options: &Arc<ClientOptions<H>>,
        request: &RequestHead<'_>,
        parent: Context,
    ) -> Operation<Self> {
        let common = &options.common;
        let method = known_method(request.method);
        let named = if method == keys::method::OTHER {
            keys::SPAN_NAME_METHOD_OTHER
        } else {
            method
        };
        let template = request
            .extensions
            .get::<UrlTemplate>()
            .map(|template| template.0);
        let name = match template {
            None => Cow::Borrowed(named),
            Some(template) => span_name(named, template).map_or_else(
                || Cow::Owned(format!("{named} {template}")),
                |known| Cow::Borrowed(known.name),
            ),
        };
        let name = common.hooks.span_name(request).unwrap_or(name);
        // Looked up once, and only where it is recorded.
        let server = OnceCell::new();
        let server = || {
            server
                .get_or_init(|| server_of(request, &common.telemetry))
                .clone()
        };
        let exchange = || Self {
            options: Arc::clone(options),
            method,
            template,
            server: common.telemetry.instruments().and_then(|_| server()),
            version: None,
            status: None,
            peer: None,
            streamed: Streamed::default(),
            response_headers: Vec::new(),
        };
        let baggage = if common.baggage.is_empty() {
            None
        } else {
            Some(parent.clone())
        };
        Operation::builder(&common.telemetry, SpanKind::Client, name)
            .parent(parent)
            .attribute_cap(common.attribute_cap)
            .start(exchange, |to| {
                to.push(keys::REQUEST_METHOD, method);
                to.push(url::FULL, full_url(request.uri));
                if let Some((address, port)) = server() {
                    to.push(server::ADDRESS, address);
                    to.push(server::PORT, i64::from(port));
                }
                if method == keys::method::OTHER {
                    to.push(
                        keys::REQUEST_METHOD_ORIGINAL,
                        request.method.as_str().to_owned(),
                    );
                }
                push_optional(request, common, template, to);
                if let Some(cx) = &baggage {
                    common.push_baggage(cx, to);
                }
                common.hooks.attributes(request, to);
            })
    }
}

/// The server and its port as the URI names them, or the `Host` header.
fn server_of(request: &RequestHead<'_>, telemetry: &Telemetry) -> Option<(Arc<str>, u16)> {
    let authority = request.uri.authority();
    let authority = authority.map(|authority| authority.as_str().as_bytes());
    let authority =
        authority.or_else(|| request.headers.get(header::HOST).map(HeaderValue::as_bytes));
    let (host, port) = telemetry.interner().authority(authority?)?;
    let by_scheme = if request.uri.scheme() == Some(&http::uri::Scheme::HTTPS) {
        443
    } else {
        80
    };
    Some((host, port.unwrap_or(by_scheme)))
}

fn push_optional<H>(
    request: &RequestHead<'_>,
    options: &Options<H>,
    template: Option<&'static str>,
    to: &mut Attributes,
) {
    if let Some(template) = template {
        to.push(url::TEMPLATE, template);
    }
    if let Some(ResendCount(count)) = request
        .extensions
        .get::<ResendCount>()
        .filter(|count| count.0 > 0)
    {
        to.push(keys::REQUEST_RESEND_COUNT, i64::from(*count));
    }
    if options.detail == Detail::Full
        && let Some(size) = request
            .headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| content_length(length.as_bytes()))
    {
        to.push(keys::REQUEST_BODY_SIZE, size);
    }
    for header in options.request_headers.iter() {
        to.extend(
            header
                .attribute(request.headers)
                .map(|(key, value)| KeyValue::new(key, value)),
        );
    }
}

impl<H> Exchange for ClientExchange<H> {
    type Hooks = H;

    fn options(&self) -> &Options<H> {
        &self.options.common
    }

    fn head(&mut self, head: &response::Parts) -> bool {
        self.status = Some(head.status);
        self.version = Some(head.version);
        self.peer = head.extensions.get().copied();
        let recorded = &self.options.common.response_headers;
        if !recorded.is_empty() {
            let headers = recorded
                .iter()
                .filter_map(|header| header.attribute(&head.headers));
            self.response_headers = headers
                .map(|(key, value)| KeyValue::new(key, value))
                .collect();
        }
        head.status == StatusCode::SWITCHING_PROTOCOLS || self.method == Method::CONNECT.as_str()
    }

    /// A client's body may still fail or be given up, however short it says it is.
    fn untouched_up_to(&self) -> u64 {
        0
    }

    fn uncounted_up_to(&self) -> u64 {
        UNTOUCHED_UP_TO
    }

    fn watched(&mut self, head: &response::Parts) {
        self.streamed.announce(&head.headers);
    }

    fn streamed(&mut self) -> &mut Streamed {
        &mut self.streamed
    }

    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// To a client, 4xx and 5xx are errors.
    fn outcome(&self) -> Outcome {
        match self.status {
            Some(status) if status.is_client_error() || status.is_server_error() => {
                Outcome::Failed(ErrorType::from_status(status.as_u16()))
            }
            _ => Outcome::Ok,
        }
    }
}

impl<H> Record for ClientExchange<H> {
    fn dropped(&self) -> Outcome {
        match self.outcome() {
            Outcome::Ok if !self.streamed.is_whole() => Outcome::Cancelled(CancelReason::Dropped),
            known => known,
        }
    }

    fn record(&mut self, end: &mut End<'_>) {
        let status = self.status.map(|status| i64::from(status.as_u16()));
        let version = self.version.map(protocol_version);
        if let Some(instruments) = end.instruments {
            let mut labels = Labels::new();
            labels.push(KeyValue::new(keys::REQUEST_METHOD, self.method));
            if let Some((address, port)) = self.server.take() {
                labels.push(KeyValue::new(server::ADDRESS, address));
                labels.push(KeyValue::new(server::PORT, i64::from(port)));
            }
            labels.extend(
                self.template
                    .map(|template| KeyValue::new(url::TEMPLATE, template)),
            );
            labels.extend(status.map(|status| KeyValue::new(keys::RESPONSE_STATUS_CODE, status)));
            labels.extend(version.map(|version| KeyValue::new(network::PROTOCOL_VERSION, version)));
            labels.extend(end.error_label());
            instruments
                .http_client_request_duration
                .record(end.duration.as_secs_f64(), &labels);
        }
        if end.is_recording() {
            if let Some(status) = status {
                end.set(keys::RESPONSE_STATUS_CODE, status);
            }
            let is_wanted = self.options.common.detail > Detail::Minimal;
            if let Some(version) = version.filter(|_| is_wanted) {
                end.set(network::PROTOCOL_VERSION, version);
            }
            if let Some(peer) = self.peer.filter(|_| is_wanted) {
                peer.record(end);
            }
            for header in self.response_headers.drain(..) {
                end.set(header.key, header.value);
            }
            self.streamed.record(end);
        }
    }
}

impl<H> fmt::Debug for ClientExchange<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientExchange")
            .field("method", &self.method)
            .field("server", &self.server)
            .field("status", &self.status)
            .field("streamed", &self.streamed)
            .finish_non_exhaustive()
    }
}
