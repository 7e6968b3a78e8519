-- Fingerprints by shard (the first hexadecimal digit of the workload's MD5), so that workers and a grouping in parts read
-- their own only.
-- depends: 0003_fingerprints

CREATE INDEX fingerprint_by_shard ON fingerprint (tenant, model, left(md5(workload), 1));
