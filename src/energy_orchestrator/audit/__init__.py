"""The audit log: hash-chained entries, verified as a whole. Pure; `store/records/audit_log.py` keeps the rows."""
