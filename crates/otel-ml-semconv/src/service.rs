//! What a program is, on its resource: `service.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, service";

    /// The service's name, the same for all its instances. Required.
    NAME: String, Stable = "service.name";
    /// What groups several services. Recommended.
    NAMESPACE: String, Stable = "service.namespace";
    /// The service's version. Recommended.
    VERSION: String, Stable = "service.version";
    /// One running instance; unique within name and namespace. Recommended.
    INSTANCE_ID: String, Stable = "service.instance.id";
}
