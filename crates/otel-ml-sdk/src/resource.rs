//! Who sends: the resource.

use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_resource_detectors::{
    ContainerResourceDetector, HostResourceDetector, K8sResourceDetector, OsResourceDetector,
    ProcessResourceDetector, ServiceInstanceIdResourceDetector,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::{ResourceDetector, TelemetryResourceDetector};
use otel_ml::semconv::{SCHEMA_URL, deployment, service};
use percent_encoding::percent_decode_str;

use crate::error::InitError;
use crate::variables::{Variables, wrong};

/// What a process was started with: never sent unless said.
const ARGUMENTS: [&str; 3] = [
    "process.command_args",
    "process.command_line",
    "process.command",
];

/// Set in every container that Kubernetes starts.
const IN_KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// What is said in code over what the variables say over what is found out.
pub(crate) fn resource(
    said: &[KeyValue],
    detects: bool,
    variables: &Variables,
) -> Result<Resource, InitError> {
    let mut builder = Resource::builder_empty().with_detector(Box::new(TelemetryResourceDetector));
    if detects {
        let mut detectors: Vec<Box<dyn ResourceDetector>> = vec![
            Box::new(OsResourceDetector),
            Box::new(HostResourceDetector::default()),
            Box::new(ProcessResourceDetector),
            Box::new(ContainerResourceDetector),
            Box::new(ServiceInstanceIdResourceDetector),
        ];
        // Anywhere else it would take the name of a host for that of a pod.
        if variables.text(IN_KUBERNETES).is_some() {
            detectors.push(Box::new(K8sResourceDetector));
        }
        let found = Resource::builder_empty().with_detectors(&detectors).build();
        // Arguments may be credentials.
        let found = found
            .iter()
            .filter(|(key, _)| !ARGUMENTS.contains(&key.as_str()));
        let found = found.map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        builder = builder.with_attributes(found.collect::<Vec<_>>());
    }
    builder = builder.with_attributes(by_variables(variables)?);
    builder = builder.with_attributes(said.iter().cloned());
    let known = builder.build();
    let has = |key: &'static str| known.get(&Key::from_static_str(key)).is_some();
    let mut missing = Vec::new();
    if !has(service::NAME) {
        missing.push(KeyValue::new(service::NAME, name_of_program()));
    }
    Ok(Resource::builder_empty()
        .with_schema_url(missing, SCHEMA_URL)
        .with_attributes(
            known
                .iter()
                .map(|(key, value)| KeyValue::new(key.clone(), value.clone())),
        )
        .build())
}

fn by_variables(variables: &Variables) -> Result<Vec<KeyValue>, InitError> {
    let mut attributes = Vec::new();
    let list = variables.text(ATTRIBUTES).unwrap_or_default();
    for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text.trim()).decode_utf8();
            decoded.ok().map(|text| text.into_owned())
        };
        let pair = pair.split_once('=');
        let pair = pair.and_then(|(key, value)| Some((decoded(key)?, decoded(value)?)));
        let Some((key, value)) = pair.filter(|(key, _)| !key.is_empty()) else {
            let wanted = "`key=value` pairs are wanted, separated by commas and percent-encoded";
            return Err(wrong(ATTRIBUTES, &list, wanted));
        };
        // Its older name, which deployments still set.
        let key = match key.as_str() {
            "deployment.environment" => deployment::ENVIRONMENT_NAME.to_owned(),
            _ => key,
        };
        attributes.push(KeyValue::new(key, Value::from(value)));
    }
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        attributes.push(KeyValue::new(service::NAME, name));
    }
    Ok(attributes)
}

/// `unknown_service:{program}`, as the specification has it.
fn name_of_program() -> String {
    let program = std::env::args_os().next();
    let program = program.as_deref().map(std::path::Path::new);
    let name = program.and_then(|path| path.file_name()?.to_str());
    name.map_or_else(
        || "unknown_service".to_owned(),
        |name| format!("unknown_service:{name}"),
    )
}
