//! TLS, with certificates made here.

use std::fs;
use std::path::{Path, PathBuf};

use otel_ml_sdk::{ErrorKind, Guard, Otlp, Protocol};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::otelcol::Collector;
use crate::service::serve;
use crate::{AT_ONCE, BY_DEFAULT, over_both, patient, to, within};

const HERE: &str = "127.0.0.1";

/// Certificates and keys in files.
struct Papers(TempDir);

/// The files of a certificate and of its key.
struct Identity {
    certificate: PathBuf,
    key: PathBuf,
}

impl Papers {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn identity(&self, name: &str, certificate: &Certificate, key: &KeyPair) -> Identity {
        Identity {
            certificate: self.write(&format!("{name}.crt"), &certificate.pem()),
            key: self.write(&format!("{name}.key"), &key.serialize_pem()),
        }
    }

    /// A server's, signed by itself, for `host`.
    fn server(&self, name: &str, host: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([host.to_owned()]).unwrap();
        self.identity(name, &certificate.self_signed(&key).unwrap(), &key)
    }

    /// A client's, and the certificate of the authority that has signed it.
    fn client(&self) -> (Identity, PathBuf) {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate().unwrap();
        let signed = authority.self_signed(&authority_key).unwrap();
        let signed = self.write("authority.crt", &signed.pem());
        let issuer = Issuer::new(authority, authority_key);
        let key = KeyPair::generate().unwrap();
        let mut client = CertificateParams::new(["ranker".to_owned()]).unwrap();
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let client = client.signed_by(&key, &issuer).unwrap();
        (self.identity("client", &client, &key), signed)
    }
}

impl Identity {
    /// As the Collector is told of it.
    fn settings(&self) -> Value {
        json!({"cert_file": self.certificate, "key_file": self.key})
    }

    fn served(&self) -> Collector {
        Collector::new().with_tls(&self.settings()).started()
    }
}

fn secure(collector: &Collector, protocol: Protocol, trusted: &Path) -> Otlp {
    to(collector.secure_endpoint(protocol), protocol).certificate(trusted)
}

fn service(otlp: Otlp) -> Guard {
    within(AT_ONCE, || patient(otlp).build().unwrap())
}

fn assert_arrives(collector: &Collector, otlp: Otlp) {
    let guard = service(otlp);
    let requests = serve(&guard);
    let report = within(BY_DEFAULT, || guard.shutdown());
    assert!(report.in_time);
    assert_eq!((report.spans.exported, report.log_records.exported), (3, 1));
    let received = collector.received();
    assert_eq!(received.spans.len(), 3);
    for request in requests {
        let id = request.span_id().to_string();
        assert!(received.span_ids().contains(&id));
    }
    assert_eq!(received.records.len(), 1);
    assert!(!received.metrics.is_empty());
}

fn assert_lost(collector: &Collector, otlp: Otlp) {
    let guard = service(otlp);
    serve(&guard);
    let report = within(BY_DEFAULT, || guard.shutdown());
    assert!(report.in_time);
    assert_eq!((report.spans.exported, report.spans.failed), (0, 3));
    assert_eq!(report.log_records.exported, 0);
    assert_eq!(report.log_records.failed, 1);
    assert_eq!(report.metric_points.exported, 0);
    assert!(report.metric_points.failed > 0);
    assert!(collector.received().spans.is_empty());
}

#[test]
fn a_certificate_that_is_trusted() {
    over_both(|protocol| {
        let papers = Papers::new();
        let server = papers.server("server", HERE);
        let collector = server.served();
        let otlp = secure(&collector, protocol, &server.certificate);
        assert_arrives(&collector, otlp);
    });
}

#[test]
fn a_certificate_that_is_not_trusted() {
    over_both(|protocol| {
        let papers = Papers::new();
        let collector = papers.server("server", HERE).served();
        let other = papers.server("other", HERE);
        let otlp = secure(&collector, protocol, &other.certificate);
        assert_lost(&collector, otlp);
    });
}

#[test]
fn a_certificate_that_the_system_does_not_know() {
    over_both(|protocol| {
        let papers = Papers::new();
        let collector = papers.server("server", HERE).served();
        let otlp = to(collector.secure_endpoint(protocol), protocol);
        assert_lost(&collector, otlp);
    });
}

#[test]
fn a_certificate_for_another_host() {
    over_both(|protocol| {
        let papers = Papers::new();
        let server = papers.server("server", "collector.test");
        let collector = server.served();
        let otlp = secure(&collector, protocol, &server.certificate);
        assert_lost(&collector, otlp);
    });
}

#[test]
fn a_collector_that_speaks_no_tls() {
    over_both(|protocol| {
        let papers = Papers::new();
        let collector = Collector::new().started();
        let trusted = papers.server("server", HERE).certificate;
        let otlp = secure(&collector, protocol, &trusted);
        assert_lost(&collector, otlp);
    });
}

#[test]
fn a_collector_that_asks_who_is_there() {
    over_both(|protocol| {
        let papers = Papers::new();
        let server = papers.server("server", HERE);
        let (client, authority) = papers.client();
        let mut settings = server.settings();
        settings["client_ca_file"] = json!(authority);
        let collector = Collector::new().with_tls(&settings).started();
        let otlp = secure(&collector, protocol, &server.certificate);
        assert_lost(&collector, otlp.clone());
        let otlp = otlp.client_certificate(&client.certificate, &client.key);
        assert_arrives(&collector, otlp);
    });
}

/// Files without a certificate or key: missing, empty, of something else, or broken.
fn no_papers(papers: &Papers) -> [PathBuf; 4] {
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    [
        papers.0.path().join("missing.pem"),
        papers.write("empty.pem", ""),
        papers.write("prose.pem", "no certificate is in here"),
        papers.write("broken.pem", broken),
    ]
}

/// The start-up fails for each, and names the file.
fn assert_named<'a>(wrong: impl IntoIterator<Item = (Otlp, &'a PathBuf)>) {
    let mut unnamed = Vec::new();
    for (otlp, file) in wrong {
        let file = file.to_str().unwrap();
        match patient(otlp).build() {
            Ok(_) => unnamed.push(format!("{file}: not noticed")),
            Err(error) if error.kind() == ErrorKind::Tls && error.to_string().contains(file) => {}
            Err(error) => unnamed.push(format!("{file}: {:?}: {error}", error.kind())),
        }
    }
    assert!(unnamed.is_empty(), "{unnamed:#?}");
}

fn nowhere(protocol: Protocol) -> Otlp {
    to(format!("https://{HERE}:1"), protocol)
}

#[test]
fn a_file_without_a_certificate_to_trust_is_named() {
    over_both(|protocol| {
        let papers = Papers::new();
        let files = no_papers(&papers);
        let otlp = |file| (nowhere(protocol).certificate(file), file);
        assert_named(files.iter().map(otlp));
    });
}

#[test]
fn a_file_without_a_client_certificate_is_named() {
    over_both(|protocol| {
        let papers = Papers::new();
        let key = papers.server("client", HERE).key;
        let files = no_papers(&papers);
        let otlp = |file| (nowhere(protocol).client_certificate(file, &key), file);
        assert_named(files.iter().map(otlp));
    });
}

#[test]
fn a_file_without_a_clients_key_is_named() {
    over_both(|protocol| {
        let papers = Papers::new();
        let certificate = papers.server("client", HERE).certificate;
        let mut files = no_papers(&papers).to_vec();
        files.push(certificate.clone());
        let otlp = |file| {
            (
                nowhere(protocol).client_certificate(&certificate, file),
                file,
            )
        };
        assert_named(files.iter().map(otlp));
    });
}
