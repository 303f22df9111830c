//! OTLP/JSON lines, as the Collector's file exporter and ours write them, taken apart.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Spans, metrics and log records, each with the resource and the scope it came with.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) spans: Vec<Item>,
    pub(crate) metrics: Vec<Item>,
    pub(crate) records: Vec<Item>,
}

/// A span, a metric or a log record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) resource: Value,
    pub(crate) resource_schema: Value,
    pub(crate) scope: Value,
    pub(crate) scope_schema: Value,
    /// The fields of the item itself.
    pub(crate) own: Value,
}

impl Received {
    /// What whole lines hold. The last one may still be being written.
    pub(crate) fn read(lines: &str) -> Self {
        let mut received = Self::default();
        for line in lines.split_inclusive('\n').filter(|it| it.ends_with('\n')) {
            let line: Value = serde_json::from_str(line).unwrap();
            let items = |resources, scopes, own| flatten(&line, resources, scopes, own);
            let spans = items("resourceSpans", "scopeSpans", "spans");
            let metrics = items("resourceMetrics", "scopeMetrics", "metrics");
            let records = items("resourceLogs", "scopeLogs", "logRecords");
            received = received.and(Self {
                spans,
                metrics,
                records,
            });
        }
        received
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.spans.extend(other.spans);
        self.metrics.extend(other.metrics);
        self.records.extend(other.records);
        self
    }

    /// The span of that name.
    pub(crate) fn span(&self, name: &str) -> &Item {
        named(&self.spans, name)
    }

    /// The metric of that name.
    pub(crate) fn metric(&self, name: &str) -> &Item {
        named(&self.metrics, name)
    }

    /// The ids of all spans. An export that was tried again after its answer was lost may have
    /// come twice.
    pub(crate) fn span_ids(&self) -> BTreeSet<String> {
        let ids = self.spans.iter().map(|span| span.text("spanId").to_owned());
        ids.collect()
    }
}

impl Item {
    /// A field that is a text.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.own[field].as_str().unwrap_or_default()
    }

    /// An attribute's value, with its type: `{"intValue": "3"}`.
    pub(crate) fn attribute(&self, key: &str) -> &Value {
        attribute(&self.own, key)
    }

    /// An attribute of the resource.
    pub(crate) fn of_resource(&self, key: &str) -> &Value {
        attribute(&self.resource, key)
    }

    /// A metric as any reader collects it: without the times, its points in one order, and its
    /// sums without their last digits, as each reader adds up in an order of its own.
    pub(crate) fn timeless(&self) -> Self {
        fn forget(value: &mut Value) {
            match value {
                Value::Array(items) => items.iter_mut().for_each(forget),
                Value::Object(fields) => {
                    fields.retain(|name, _| !name.ends_with("imeUnixNano"));
                    fields.values_mut().for_each(forget);
                    for sum in ["sum", "asDouble"] {
                        if let Some(sum) = fields.get_mut(sum).filter(|sum| sum.is_f64()) {
                            *sum = json!(format!("{:.9e}", sum.as_f64().unwrap()));
                        }
                    }
                    if let Some(Value::Array(points)) = fields.get_mut("dataPoints") {
                        points.sort_by_key(|point| point["attributes"].to_string());
                    }
                }
                _ => {}
            }
        }
        let mut metric = self.clone();
        forget(&mut metric.own);
        metric
    }
}

/// One field at a time, so that a failure can be read.
pub(crate) fn assert_same(received: &Item, written: &Item) {
    for (name, value) in received.own.as_object().unwrap() {
        let item = received.text("name");
        assert_eq!(value, &written.own[name], "{name} of {item:?}");
    }
    assert_eq!(received.resource, written.resource);
    assert_eq!(received, written);
}

fn named<'a>(items: &'a [Item], name: &str) -> &'a Item {
    let mut found = items.iter().filter(|item| item.text("name") == name);
    let (Some(item), None) = (found.next(), found.next()) else {
        let names: Vec<_> = items.iter().map(|item| item.text("name")).collect();
        panic!("not one {name:?} among {names:?}");
    };
    item
}

fn attribute<'a>(of: &'a Value, key: &str) -> &'a Value {
    let all = of["attributes"].as_array().into_iter().flatten();
    let mut found = all.filter(|known| known["key"] == key);
    match (found.next(), found.next()) {
        (Some(attribute), None) => &attribute["value"],
        (None, _) => &Value::Null,
        (Some(_), Some(_)) => panic!("{key} is there twice"),
    }
}

fn flatten(line: &Value, resources: &str, scopes: &str, own: &str) -> Vec<Item> {
    let list = |of: &Value, field: &str| of[field].as_array().cloned().unwrap_or_default();
    let mut items = Vec::new();
    for resource in list(line, resources) {
        for scope in list(&resource, scopes) {
            items.extend(list(&scope, own).into_iter().map(|own| Item {
                resource: plain(&resource["resource"]),
                resource_schema: resource["schemaUrl"].clone(),
                scope: plain(&scope["scope"]),
                scope_schema: scope["schemaUrl"].clone(),
                own: plain(&own),
            }));
        }
    }
    items
}

/// What two writers may well do differently is made the same: fields that say nothing are left
/// out (values are kept, whatever they are), attributes are in the order of their keys, and a
/// double that is whole is `2` also where it is written as `2.0`: its field's name tells the type.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            let nothing = [json!(null), json!(""), json!([]), json!({}), json!(0)];
            let is_value = |name: &str| {
                let is_point = matches!(name, "min" | "max" | "sum" | "asInt" | "asDouble");
                is_point || name.ends_with("Value")
            };
            let all = fields
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)));
            let mut told: Map<_, _> = all
                .filter(|(name, value)| is_value(name) || !nothing.contains(value))
                .collect();
            if let Some(Value::Array(attributes)) = told.get_mut("attributes") {
                attributes.sort_by_key(|attribute| attribute["key"].to_string());
            }
            Value::Object(told)
        }
        Value::Number(number) => match number.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole, and small")]
            Some(whole) if whole.fract() == 0.0 && whole.abs() < 1e15 => json!(whole as i64),
            _ => value.clone(),
        },
        value => value.clone(),
    }
}
