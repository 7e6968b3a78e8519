-- A state that was computed from an older one must not be kept.
-- depends: 0001_records

ALTER TABLE rollout ADD COLUMN version bigint NOT NULL DEFAULT 0;
