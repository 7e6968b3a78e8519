-- What the agent tells since schemas/inventory.v1.json has these columns; rows from before have none of it.

ALTER TABLE inventory
    ADD COLUMN IF NOT EXISTS namespace Nullable(String) AFTER libraries,
    ADD COLUMN IF NOT EXISTS pod_name Nullable(String) AFTER namespace,
    ADD COLUMN IF NOT EXISTS owner Nullable(String) AFTER pod_name,
    ADD COLUMN IF NOT EXISTS labels Array(String) AFTER owner,
    ADD COLUMN IF NOT EXISTS container_name Nullable(String) AFTER labels,
    ADD COLUMN IF NOT EXISTS image_digest Nullable(String) AFTER container_name,
    ADD COLUMN IF NOT EXISTS vm_uuid Nullable(String) AFTER image_digest,
    ADD COLUMN IF NOT EXISTS runtime_settings Array(String) AFTER vm_uuid,
    ADD COLUMN IF NOT EXISTS cpu_min_mhz Nullable(Float64) AFTER runtime_settings,
    ADD COLUMN IF NOT EXISTS cpu_max_mhz Nullable(Float64) AFTER cpu_min_mhz,
    ADD COLUMN IF NOT EXISTS governor Nullable(String) AFTER cpu_max_mhz,
    ADD COLUMN IF NOT EXISTS gpus Array(String) AFTER governor,
    ADD COLUMN IF NOT EXISTS instance_type Nullable(String) AFTER gpus;
