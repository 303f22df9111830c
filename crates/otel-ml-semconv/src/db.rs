//! Calls to databases, feature stores and vector indexes: `db.*`.

use crate::attribute::attributes;

attributes! {
    source: "semantic-conventions 1.45.0, db";

    /// The product, one of [`system`] or, where upstream has no value, of [`own_system`]. Required.
    SYSTEM_NAME: String, Stable = "db.system.name";
    /// The table, collection, index or feature view. Required where known.
    COLLECTION_NAME: String, Stable = "db.collection.name";
    /// The database within the server. Required where known.
    NAMESPACE: String, Stable = "db.namespace";
    /// What is done, as the product calls it. Required where known.
    OPERATION_NAME: String, Stable = "db.operation.name";
    /// How many operations travel in one call. Recommended from 2 on.
    OPERATION_BATCH_SIZE: Int, Stable = "db.operation.batch.size";
    /// A low-cardinality summary of the query, fit for a span's name. Recommended.
    QUERY_SUMMARY: String, Stable = "db.query.summary";
    /// The query with its literals replaced. Recommended.
    QUERY_TEXT: String, Stable = "db.query.text";
    /// Prefix, followed by a parameter's name or index: its value. Opt-in: it is user content.
    QUERY_PARAMETER_PREFIX: String, Development = "db.query.parameter.";
    /// Rows, documents or vectors that came back. Opt-in.
    RESPONSE_RETURNED_ROWS: Int, Development = "db.response.returned_rows";
    /// The product's status code. Required when the call failed with one.
    RESPONSE_STATUS_CODE: String, Stable = "db.response.status_code";
    /// The stored procedure called. Recommended.
    STORED_PROCEDURE_NAME: String, Stable = "db.stored_procedure.name";
}

/// Values of [`SYSTEM_NAME`] that OpenTelemetry knows.
pub mod system {
    crate::attribute::values! {
        /// Amazon DynamoDB.
        AWS_DYNAMODB = "aws.dynamodb";
        /// Azure Cosmos DB.
        AZURE_COSMOSDB = "azure.cosmosdb";
        /// Apache Cassandra.
        CASSANDRA = "cassandra";
        /// ClickHouse.
        CLICKHOUSE = "clickhouse";
        /// Couchbase.
        COUCHBASE = "couchbase";
        /// Elasticsearch.
        ELASTICSEARCH = "elasticsearch";
        /// MongoDB.
        MONGODB = "mongodb";
        /// Neo4j.
        NEO4J = "neo4j";
        /// OpenSearch.
        OPENSEARCH = "opensearch";
        /// PostgreSQL, pgvector included.
        POSTGRESQL = "postgresql";
        /// Redis.
        REDIS = "redis";
        /// SQLite.
        SQLITE = "sqlite";
    }
}

/// Values of [`SYSTEM_NAME`] for products OpenTelemetry has no value for: the product's name in
/// lower case, as the conventions allow. Ours.
pub mod own_system {
    crate::attribute::values! {
        /// Chroma.
        CHROMA = "chroma";
        /// Feast.
        FEAST = "feast";
        /// LanceDB.
        LANCEDB = "lancedb";
        /// Milvus.
        MILVUS = "milvus";
        /// Pinecone.
        PINECONE = "pinecone";
        /// Qdrant.
        QDRANT = "qdrant";
        /// Weaviate.
        WEAVIATE = "weaviate";
    }
}

/// Metrics of database clients.
pub mod metric {
    use crate::metric::metrics;

    metrics! {
        source: "semantic-conventions 1.45.0, db";

        "Time a call to a database takes."
        /// Labels: system; where they apply collection, namespace, operation, status code, error
        /// type, server address and port.
        CLIENT_OPERATION_DURATION: Histogram, Stable = "db.client.operation.duration", "s",
            &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

        "Rows a call to a database returned."
        /// Labels: as the duration.
        CLIENT_RESPONSE_RETURNED_ROWS: Histogram, Development =
            "db.client.response.returned_rows", "{row}",
            &[
                1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0,
                10000.0,
            ];
    }
}
