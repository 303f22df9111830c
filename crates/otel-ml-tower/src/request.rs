//! Reading a request: what the conventions ask for, from what HTTP says.

use std::borrow::Cow;
use std::sync::LazyLock;

use http::header::{HeaderMap, HeaderValue};
use http::{Extensions, Method, Request, Uri, Version};
use otel_ml::semconv::http::{KNOWN_METHODS_ENV, method};
use otel_ml::semconv::network::protocol_version;
use otel_ml::semconv::url::{CREDENTIAL_QUERY_KEYS, REDACTED, REDACTED_QUERY_KEYS};

/// What a request says before its body: what filters and hooks are shown.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// Where to.
    pub uri: &'a Uri,
    /// The protocol's version.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What layers further out have added.
    pub extensions: &'a Extensions,
}

impl<'a, B> From<&'a Request<B>> for RequestHead<'a> {
    fn from(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

/// The method as recorded: one that is known, or `_OTHER`.
pub(crate) fn known_method(method: &Method) -> &'static str {
    static KNOWN: LazyLock<Option<Vec<&'static str>>> = LazyLock::new(|| {
        let list = std::env::var(KNOWN_METHODS_ENV)
            .ok()
            .filter(|list| !list.trim().is_empty())?;
        let list: &'static str = Box::leak(list.into_boxed_str());
        Some(list.split(',').map(str::trim).collect())
    });
    if let Some(known) = KNOWN.as_deref() {
        return known
            .iter()
            .find(|known| **known == method.as_str())
            .copied()
            .unwrap_or(method::OTHER);
    }
    match *method {
        Method::GET => method::GET,
        Method::POST => method::POST,
        Method::PUT => method::PUT,
        Method::DELETE => method::DELETE,
        Method::HEAD => method::HEAD,
        Method::OPTIONS => method::OPTIONS,
        Method::PATCH => method::PATCH,
        Method::CONNECT => method::CONNECT,
        Method::TRACE => method::TRACE,
        _ if method.as_str() == method::QUERY => method::QUERY,
        _ => method::OTHER,
    }
}

/// The protocol version as recorded: `1.1`, `2`, ….
pub(crate) const fn protocol_version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => protocol_version::HTTP_1_0,
        Version::HTTP_2 => protocol_version::HTTP_2,
        Version::HTTP_3 => protocol_version::HTTP_3,
        _ => protocol_version::HTTP_1_1,
    }
}

/// `https` or `http`; other schemes carry no HTTP request.
pub(crate) fn known_scheme(scheme: &str) -> Option<&'static str> {
    if scheme.eq_ignore_ascii_case("https") {
        Some("https")
    } else if scheme.eq_ignore_ascii_case("http") {
        Some("http")
    } else {
        None
    }
}

/// The headers that a server reads, found in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Headers<'a> {
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) content_length: Option<&'a [u8]>,
    forwarded: Option<&'a [u8]>,
    forwarded_for: Option<&'a [u8]>,
    forwarded_host: Option<&'a [u8]>,
    forwarded_proto: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    #[inline]
    pub(crate) fn take(&mut self, name: &str, value: &'a HeaderValue) {
        let slot = match name {
            "host" => &mut self.host,
            "user-agent" => &mut self.user_agent,
            "content-length" => &mut self.content_length,
            "forwarded" => &mut self.forwarded,
            "x-forwarded-for" => &mut self.forwarded_for,
            "x-forwarded-host" => &mut self.forwarded_host,
            "x-forwarded-proto" => &mut self.forwarded_proto,
            _ => return,
        };
        slot.get_or_insert(value.as_bytes());
    }

    /// What proxies say of the request's way.
    #[inline]
    pub(crate) fn forwarded(&self) -> Forwarded<'a> {
        let said = [
            self.forwarded,
            self.forwarded_for,
            self.forwarded_host,
            self.forwarded_proto,
        ];
        if said.iter().all(Option::is_none) {
            return Forwarded::default();
        }
        Forwarded::read(self)
    }
}

impl Forwarded<'_> {
    /// The scheme by which the request was sent.
    pub(crate) fn scheme_of(&self, request: &RequestHead<'_>) -> &'static str {
        let immediate = || request.uri.scheme_str().and_then(known_scheme);
        self.scheme.or_else(immediate).unwrap_or("http")
    }
}

/// What proxies say of the request's way, as far as they say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forwarded<'a> {
    /// Who sent it: an address, without port.
    pub(crate) client: Option<&'a str>,
    /// To which host, maybe with a port.
    pub(crate) host: Option<&'a str>,
    /// By which scheme.
    pub(crate) scheme: Option<&'static str>,
}

impl<'a> Forwarded<'a> {
    /// Reads `Forwarded`, and `X-Forwarded-*` for what that does not say.
    pub(crate) fn read(headers: &Headers<'a>) -> Self {
        let text = |value: Option<&'a [u8]>| std::str::from_utf8(value?).ok();
        let mut way = text(headers.forwarded).map(Self::parse).unwrap_or_default();
        way.client = way
            .client
            .or_else(|| text(headers.forwarded_for).and_then(first).and_then(node));
        way.host = way
            .host
            .or_else(|| text(headers.forwarded_host).and_then(first));
        way.scheme = way.scheme.or_else(|| {
            text(headers.forwarded_proto)
                .and_then(first)
                .and_then(known_scheme)
        });
        way
    }

    /// The first element of a `Forwarded` field: the one nearest to the client.
    fn parse(field: &'a str) -> Self {
        let mut way = Self::default();
        for pair in field.split(',').next().unwrap_or_default().split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("for") => way.client = node(value),
                name if name.eq_ignore_ascii_case("host") => {
                    way.host = Some(value).filter(|host| !host.is_empty());
                }
                name if name.eq_ignore_ascii_case("proto") => way.scheme = known_scheme(value),
                _ => {}
            }
        }
        way
    }
}

/// The address of a forwarding node, without port and brackets. `unknown` is none.
fn node(node: &str) -> Option<&str> {
    let address = match node.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None if node.matches(':').count() == 1 => node.split(':').next().unwrap_or_default(),
        None => node,
    };
    (!address.is_empty() && !address.eq_ignore_ascii_case("unknown")).then_some(address)
}

/// What a `Content-Length` says.
pub(crate) fn content_length(value: &[u8]) -> Option<i64> {
    let length: u64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    i64::try_from(length).ok()
}

fn is_credential(key: &str) -> bool {
    REDACTED_QUERY_KEYS.contains(&key)
        || (CREDENTIAL_QUERY_KEYS.iter()).any(|known| known.eq_ignore_ascii_case(key))
}

/// The query with the values of credentials replaced.
pub(crate) fn redact_query(query: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| {
        pair.split_once('=')
            .is_some_and(|(key, value)| !value.is_empty() && is_credential(key))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for (i, pair) in query.split('&').enumerate() {
        if i > 0 {
            redacted.push('&');
        }
        match pair.split_once('=').filter(|_| is_secret(pair)) {
            Some((key, _)) => redacted.extend([key, "=", REDACTED]),
            None => redacted.push_str(pair),
        }
    }
    Cow::Owned(redacted)
}

/// The whole URL with credentials replaced.
pub(crate) fn full_url(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or("http");
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let query = uri.query().map(redact_query);
    // Mostly just the right length: an attribute's value is moved into a box of its own size.
    let length = scheme.len() + 3 + authority.len() + uri.path().len();
    let mut url = String::with_capacity(length + query.as_ref().map_or(0, |query| query.len() + 1));
    if !authority.is_empty() {
        url.push_str(scheme);
        url.push_str("://");
        match authority.rsplit_once('@') {
            Some((user, host)) => {
                let has_password = user.contains(':');
                if has_password {
                    url.extend([REDACTED, ":"]);
                }
                url.extend([REDACTED, "@"]);
                url.push_str(host);
            }
            None => url.push_str(authority),
        }
    }
    url.push_str(uri.path());
    if let Some(query) = &query {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// The first element of a list.
fn first(list: &str) -> Option<&str> {
    let value = list.split(',').next()?.trim();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use http::header::HeaderName;

    use super::*;

    fn read(headers: &HeaderMap) -> Headers<'_> {
        let mut read = Headers::default();
        for (name, value) in headers {
            read.take(name.as_str(), value);
        }
        read
    }

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn forwarded_is_preferred_and_completed() {
        let all = headers(&[
            (
                "forwarded",
                "for=\"[2001:db8::1]:4711\";proto=HTTPS, for=10.0.0.1",
            ),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.1"),
            ("x-forwarded-host", "shop.example, internal"),
            ("x-forwarded-proto", "http"),
        ]);
        let expected = Forwarded {
            client: Some("2001:db8::1"),
            host: Some("shop.example"),
            scheme: Some("https"),
        };
        assert_eq!(Forwarded::read(&read(&all)), expected);
    }

    #[test]
    fn rubbish_in_forwarded_is_absent() {
        for field in [
            "",
            ";;;",
            "for=unknown",
            "proto=gopher",
            "for",
            "host=",
            "for=\"\"",
        ] {
            assert_eq!(Forwarded::parse(field), Forwarded::default(), "{field}");
        }
        assert_eq!(
            Forwarded::read(&read(&headers(&[("x-forwarded-for", " , ")]))),
            Forwarded::default()
        );
    }

    #[test]
    fn credentials_never_stay() {
        assert_eq!(redact_query("a=1&sig=secret&b"), "a=1&sig=REDACTED&b");
        assert_eq!(redact_query("a=1"), "a=1");
        assert_eq!(
            redact_query("Key=s&api_key=s&sort_key=1&key="),
            "Key=REDACTED&api_key=REDACTED&sort_key=1&key="
        );
        let url = full_url(
            &"https://me:secret@host:1/p?X-Amz-Signature=s&q=1"
                .parse()
                .unwrap(),
        );
        assert_eq!(
            url,
            "https://REDACTED:REDACTED@host:1/p?X-Amz-Signature=REDACTED&q=1"
        );
        assert_eq!(
            full_url(&"https://me@host/".parse().unwrap()),
            "https://REDACTED@host/"
        );
        assert_eq!(full_url(&"/p?q".parse().unwrap()), "/p?q");
    }

    #[test]
    fn e34_methods_and_versions_have_the_conventions_form() {
        assert_eq!(known_method(&Method::GET), "GET");
        assert_eq!(known_method(&Method::from_bytes(b"get").unwrap()), "_OTHER");
        assert_eq!(known_method(&Method::from_bytes(b"FOO").unwrap()), "_OTHER");
        assert_eq!(protocol_version(Version::HTTP_2), "2");
        assert_eq!(protocol_version(Version::HTTP_11), "1.1");
    }
}
