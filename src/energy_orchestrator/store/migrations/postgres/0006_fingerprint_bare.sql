-- A second vector without the program's own names, which a stripped build is compared with. NULL in rows that were made
-- before; they are made again within minutes.
-- depends: 0005_outcome_group

ALTER TABLE fingerprint ADD COLUMN bare real[] CHECK (cardinality(bare) = 256);
ALTER TABLE fingerprint ADD COLUMN nameless boolean NOT NULL DEFAULT false;

DO $$
BEGIN
    IF EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'vector') THEN
        CREATE INDEX fingerprint_by_bare_likeness ON fingerprint USING hnsw ((bare::vector(256)) vector_cosine_ops);
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object OR feature_not_supported THEN
        RAISE NOTICE 'pgvector is not used: %', SQLERRM;
END $$;
