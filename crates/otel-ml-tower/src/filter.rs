//! Filters for what is seldom worth a trace.

use http::Method;
use otel_ml::hooks::Filter;

use crate::request::RequestHead;

/// Leaves out `GET` and `HEAD` of health checks: `/health`, `/healthz`, `/livez`, `/readyz`,
/// `/startupz`, `/live`, `/ready`, `/ping` and `/metrics`, alone or below a prefix.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHealthChecks;

impl Filter<RequestHead<'_>> for NoHealthChecks {
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        !only_reads(request)
            || !matches!(Last::of(request.uri.path()), Last::Segment(name) if is_health_check(name))
    }
}

/// Leaves out `GET` and `HEAD` of static files, told by the ending of the path: scripts,
/// styles, images, fonts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStaticFiles;

impl Filter<RequestHead<'_>> for NoStaticFiles {
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        !only_reads(request)
            || !matches!(Last::of(request.uri.path()), Last::Ending(ending) if is_static_file(ending))
    }
}

/// What a server layer records unless told otherwise: all but health checks and static files.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultFilter;

impl Filter<RequestHead<'_>> for DefaultFilter {
    #[inline]
    fn accepts(&self, request: &RequestHead<'_>) -> bool {
        !only_reads(request) || !is_seldom_worth_it(Last::of(request.uri.path()))
    }
}

/// The end of a path: what follows its last dot or slash.
enum Last<'a> {
    Segment(&'a [u8]),
    Ending(&'a [u8]),
}

impl<'a> Last<'a> {
    #[inline]
    fn of(path: &'a str) -> Self {
        let path = path.as_bytes();
        let sign = path.iter().rposition(|byte| matches!(byte, b'/' | b'.'));
        match sign.and_then(|at| path.get(at..)) {
            Some([b'.', ending @ ..]) => Self::Ending(ending),
            Some([_, segment @ ..]) => Self::Segment(segment),
            _ => Self::Segment(path),
        }
    }
}

// Asked first: a request for an answer is mostly a `POST`, and its path is then not looked at.
#[inline]
fn only_reads(request: &RequestHead<'_>) -> bool {
    matches!(*request.method, Method::GET | Method::HEAD)
}

fn is_seldom_worth_it(last: Last<'_>) -> bool {
    match last {
        Last::Segment(name) => is_health_check(name),
        Last::Ending(ending) => is_static_file(ending),
    }
}

fn is_health_check(name: &[u8]) -> bool {
    matches!(
        name,
        b"health"
            | b"healthz"
            | b"livez"
            | b"readyz"
            | b"startupz"
            | b"live"
            | b"ready"
            | b"ping"
            | b"metrics"
    )
}

fn is_static_file(ending: &[u8]) -> bool {
    let known: [&[u8]; 15] = [
        b"js", b"mjs", b"css", b"map", b"ico", b"png", b"jpg", b"jpeg", b"gif", b"svg", b"webp",
        b"avif", b"woff", b"woff2", b"ttf",
    ];
    known.contains(&ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(method: &str, path: &str) -> bool {
        let request = http::Request::builder().method(method).uri(path);
        DefaultFilter.accepts(&RequestHead::from(&request.body(()).unwrap()))
    }

    #[test]
    fn requests_for_answers_are_recorded() {
        assert!(accepts("POST", "/v1/chat/completions"));
        assert!(accepts("GET", "/"));
        assert!(accepts("GET", "/models/v1.5"));
        assert!(accepts("POST", "/upload/cat.png"));
        assert!(accepts("GET", "/healthy-food"));
        assert!(accepts("POST", "/v1/patients/7/health"));
        assert!(accepts("POST", "/predict/live"));
    }

    #[test]
    fn health_checks_and_static_files_are_not() {
        assert!(!accepts("GET", "/healthz"));
        assert!(!accepts("GET", "/internal/ready"));
        assert!(!accepts("GET", "/assets/app.js"));
        assert!(!accepts("HEAD", "/favicon.ico"));
    }
}
