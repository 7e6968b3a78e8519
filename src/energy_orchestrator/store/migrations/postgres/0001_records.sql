-- Records: what was advised, decided and done. `tenant` is in every key.

CREATE TABLE recommendation (
    tenant text NOT NULL, id uuid NOT NULL, created_at timestamptz NOT NULL, expires_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, target text NOT NULL, host text, suggestion_type text NOT NULL,
    expected_savings_j double precision NOT NULL, confidence double precision NOT NULL,
    risk_score double precision NOT NULL, rank_score double precision NOT NULL, status text NOT NULL,
    source text NOT NULL, dedupe_key text NOT NULL, detail jsonb NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX recommendation_one_open ON recommendation (tenant, dedupe_key) WHERE status IN ('open', 'approved', 'executing');
CREATE INDEX recommendation_by_status ON recommendation (tenant, status, rank_score DESC);

CREATE TABLE decision (
    tenant text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, recommendation_id uuid NOT NULL,
    at timestamptz NOT NULL, outcome text NOT NULL, mode text NOT NULL, reasons jsonb NOT NULL,
    policies jsonb NOT NULL, actor text NOT NULL,
    PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, recommendation_id) REFERENCES recommendation (tenant, id)
);
CREATE INDEX decision_by_recommendation ON decision (tenant, recommendation_id, id DESC);

CREATE TABLE rollout (
    tenant text NOT NULL, id uuid NOT NULL, recommendation_id uuid NOT NULL, workload text NOT NULL,
    executor text NOT NULL, phase text NOT NULL, started_at timestamptz NOT NULL, finished_at timestamptz,
    state jsonb NOT NULL, savings_per_operation jsonb,
    PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, recommendation_id) REFERENCES recommendation (tenant, id)
);
-- One change at a time on a workload.
CREATE UNIQUE INDEX rollout_one_active ON rollout (tenant, workload) WHERE finished_at IS NULL;

CREATE TABLE rollout_event (
    tenant text NOT NULL, rollout_id uuid NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL, step integer, phase text NOT NULL, message text NOT NULL,
    PRIMARY KEY (tenant, rollout_id, id), FOREIGN KEY (tenant, rollout_id) REFERENCES rollout (tenant, id)
);

-- The intent journal: a row is written before the act and marked done after it.
CREATE TABLE action (
    tenant text NOT NULL, id text NOT NULL, rollout_id uuid NOT NULL, kind text NOT NULL, payload jsonb NOT NULL,
    state text NOT NULL CHECK (state IN ('intended', 'done', 'failed')), intended_at timestamptz NOT NULL,
    finished_at timestamptz, message text NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, rollout_id) REFERENCES rollout (tenant, id)
);

CREATE TABLE analysis_run (
    tenant text NOT NULL, rollout_id uuid NOT NULL, step integer NOT NULL, attempt integer NOT NULL,
    at timestamptz NOT NULL, phase text NOT NULL, detail jsonb NOT NULL,
    PRIMARY KEY (tenant, rollout_id, step, attempt),
    FOREIGN KEY (tenant, rollout_id) REFERENCES rollout (tenant, id)
);

-- Desired state of the local executor: what is promoted on top of the file, and what the canary tries.
CREATE TABLE local_desired (
    tenant text NOT NULL, workload text NOT NULL, promoted jsonb NOT NULL, canary_patch jsonb,
    canary_replicas integer NOT NULL DEFAULT 0, updated_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, workload)
);

CREATE TABLE pause (
    tenant text NOT NULL, id uuid NOT NULL, by text NOT NULL, reason text NOT NULL, created_at timestamptz NOT NULL,
    lifted_at timestamptz, lifted_by text,
    PRIMARY KEY (tenant, id)
);

-- What was tried and what came of it: the playbook, the cool-downs and the rate limits read it.
CREATE TABLE outcome (
    tenant text NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, recommendation_id uuid NOT NULL, at timestamptz NOT NULL,
    target text NOT NULL, suggestion_type text NOT NULL, dedupe_key text NOT NULL, result text NOT NULL,
    saving_ratio double precision, saving_ratio_lower double precision, saving_ratio_upper double precision,
    PRIMARY KEY (tenant, id), FOREIGN KEY (tenant, recommendation_id) REFERENCES recommendation (tenant, id)
);

CREATE TABLE run (
    tenant text NOT NULL, run_id text NOT NULL, workload text NOT NULL, started_at timestamptz, finished_at timestamptz,
    operations double precision, energy_joules double precision, energy_reason text, metadata jsonb NOT NULL,
    imported_from text NOT NULL, imported_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id)
);

-- One log for all tenants, one sequence without gaps. `at` is text and `body` json, not jsonb: both are hashed as they stand.
CREATE TABLE audit_entry (
    sequence bigint PRIMARY KEY, at text NOT NULL, tenant text NOT NULL, actor text NOT NULL, action text NOT NULL,
    subject text NOT NULL, body json NOT NULL, previous_hash text NOT NULL, hash text NOT NULL UNIQUE
);
CREATE INDEX audit_entry_by_tenant ON audit_entry (tenant, sequence);
CREATE TABLE audit_head (one boolean PRIMARY KEY DEFAULT true CHECK (one), sequence bigint NOT NULL, hash text NOT NULL);
INSERT INTO audit_head (sequence, hash) VALUES (0, repeat('0', 64));

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % is refused', TG_OP;
END $$;
CREATE TRIGGER audit_entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
