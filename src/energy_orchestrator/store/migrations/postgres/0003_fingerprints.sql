-- Fingerprints of workloads. The vector is kept as real[], so that a server without pgvector can hold it and is searched
-- exactly; where pgvector can be had, an HNSW index over the same values makes search fast.
-- depends: 0002_rollout_version

CREATE TABLE fingerprint (
    tenant text NOT NULL, workload text NOT NULL, model text NOT NULL,
    vector real[] NOT NULL CHECK (cardinality(vector) = 256), samples bigint NOT NULL, at timestamptz NOT NULL,
    does jsonb NOT NULL, functions jsonb NOT NULL, cluster_id bigint,
    PRIMARY KEY (tenant, workload)
);
CREATE INDEX fingerprint_by_cluster ON fingerprint (tenant, cluster_id);

-- An id of a group is never given twice.
CREATE TABLE fingerprint_next_cluster (tenant text PRIMARY KEY, next_id bigint NOT NULL);

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'vector') THEN
        CREATE EXTENSION IF NOT EXISTS vector;
        CREATE INDEX fingerprint_by_likeness ON fingerprint USING hnsw ((vector::vector(256)) vector_cosine_ops);
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR feature_not_supported THEN
        RAISE NOTICE 'pgvector is not used: %', SQLERRM;
END $$;
