//! Filters for what is seldom worth a trace.

use http::Method;
use http::request::Parts;
use otel_ml::hooks::Filter;

/// Leaves out health checks: `/health`, `/healthz`, `/livez`, `/readyz`, `/startupz`,
/// `/live`, `/ready`, `/ping` and `/metrics`, alone or below a prefix.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHealthChecks;

impl Filter<Parts> for NoHealthChecks {
    fn accepts(&self, request: &Parts) -> bool {
        !is_health_check(LastSegment::of(request.uri.path()).name)
    }
}

/// Leaves out `GET` and `HEAD` of static files, told by the ending of the path: scripts,
/// styles, images, fonts.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStaticFiles;

impl Filter<Parts> for NoStaticFiles {
    fn accepts(&self, request: &Parts) -> bool {
        let ending = LastSegment::of(request.uri.path()).ending;
        !ending.is_some_and(|ending| is_static_file(request, ending))
    }
}

/// What a server layer records unless told otherwise: all but health checks and static files.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultFilter;

impl Filter<Parts> for DefaultFilter {
    fn accepts(&self, request: &Parts) -> bool {
        let last = LastSegment::of(request.uri.path());
        match last.ending {
            None => !is_health_check(last.name),
            Some(ending) => !is_static_file(request, ending),
        }
    }
}

/// What follows the last slash of a path, and the last dot in that.
struct LastSegment<'a> {
    name: &'a str,
    ending: Option<&'a str>,
}

impl<'a> LastSegment<'a> {
    fn of(path: &'a str) -> Self {
        let mut dot = None;
        for (at, byte) in path.bytes().enumerate().rev() {
            match byte {
                b'/' => {
                    return Self {
                        name: path.get(at + 1..).unwrap_or_default(),
                        ending: dot,
                    };
                }
                b'.' if dot.is_none() => dot = path.get(at + 1..),
                _ => {}
            }
        }
        Self {
            name: path,
            ending: dot,
        }
    }
}

fn is_health_check(name: &str) -> bool {
    let known = [
        "health", "healthz", "livez", "readyz", "startupz", "live", "ready", "ping", "metrics",
    ];
    known.contains(&name)
}

fn is_static_file(request: &Parts, ending: &str) -> bool {
    let known = [
        "js", "mjs", "css", "map", "ico", "png", "jpg", "jpeg", "gif", "svg", "webp", "avif",
        "woff", "woff2", "ttf",
    ];
    known.contains(&ending) && matches!(request.method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(method: &str, path: &str) -> bool {
        let (parts, ()) = http::Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap()
            .into_parts();
        DefaultFilter.accepts(&parts)
    }

    #[test]
    fn requests_for_answers_are_recorded() {
        assert!(accepts("POST", "/v1/chat/completions"));
        assert!(accepts("GET", "/"));
        assert!(accepts("GET", "/models/v1.5"));
        assert!(accepts("POST", "/upload/cat.png"));
        assert!(accepts("GET", "/healthy-food"));
    }

    #[test]
    fn health_checks_and_static_files_are_not() {
        assert!(!accepts("GET", "/healthz"));
        assert!(!accepts("GET", "/internal/ready"));
        assert!(!accepts("GET", "/assets/app.js"));
        assert!(!accepts("HEAD", "/favicon.ico"));
    }
}
