//! Where a channel goes, by the name that it was given.

use std::sync::Arc;

/// `server.address` and `server.port` of a channel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    pub(crate) address: Arc<str>,
    pub(crate) port: Option<u16>,
}

impl Target {
    /// Reads gRPC's names of targets: `host:port`, `dns://resolver/host:port`, `unix:///path`,
    /// URIs. What names several servers, or is none of these, is kept as it is.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let whole = || Self {
            address: text.into(),
            port: None,
        };
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None => match text.split_once(':') {
                Some((scheme @ ("dns" | "unix" | "ipv4" | "ipv6"), rest)) => (scheme, rest),
                _ => ("", text),
            },
        };
        let endpoint = match scheme {
            "unix" => {
                return Some(Self {
                    address: rest.into(),
                    port: None,
                });
            }
            "dns" => rest.rsplit('/').next().unwrap_or(rest),
            "" | "ipv4" | "ipv6" => rest,
            "http" | "https" => rest.split(['/', '?', '#']).next().unwrap_or(rest),
            _ => return Some(whole()),
        };
        let by_scheme = match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        };
        Some(Self::of_authority(endpoint, by_scheme).unwrap_or_else(whole))
    }

    fn of_authority(text: &str, by_scheme: Option<u16>) -> Option<Self> {
        let text = text.rsplit('@').next().unwrap_or(text);
        let (host, port) = if let Some(v6) = text.strip_prefix('[') {
            let (host, rest) = v6.split_once(']')?;
            (host, rest.strip_prefix(':'))
        } else {
            match text.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') => (host, Some(port)),
                _ => (text, None),
            }
        };
        let port = match port {
            Some(port) => Some(port.parse().ok()?),
            None => by_scheme,
        };
        let is_host = !host.is_empty() && !host.contains([',', '/', ' ']);
        is_host.then(|| Self {
            address: host.into(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_the_conventions_say() {
        for (text, address, port) in [
            ("grpc.io:50051", "grpc.io", Some(50_051)),
            ("grpc.io", "grpc.io", None),
            ("dns://1.2.3.4/grpc.io:50051", "grpc.io", Some(50_051)),
            ("dns:///grpc.io:50051", "grpc.io", Some(50_051)),
            ("dns:grpc.io", "grpc.io", None),
            ("unix:///run/x.sock", "/run/x.sock", None),
            ("unix:/run/x.sock", "/run/x.sock", None),
            ("http://models.example", "models.example", Some(80)),
            (
                "https://me:pass@models.example/base",
                "models.example",
                Some(443),
            ),
            ("https://[::1]:8443", "::1", Some(8443)),
            ("ipv6:[::1]:80", "::1", Some(80)),
            (
                "ipv4:10.0.0.1:80,10.0.0.2:80",
                "ipv4:10.0.0.1:80,10.0.0.2:80",
                None,
            ),
            ("xds:///service", "xds:///service", None),
            ("host:port", "host:port", None),
        ] {
            let target = Target::parse(text).unwrap();
            assert_eq!((&*target.address, target.port), (address, port), "{text}");
        }
        assert_eq!(Target::parse(""), None);
    }
}
