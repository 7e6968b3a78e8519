-- The fingerprint group of the target when the outcome was kept: what worked for a neighbour counts more.
-- depends: 0004_fingerprint_shards

ALTER TABLE outcome ADD COLUMN cluster_id bigint;
