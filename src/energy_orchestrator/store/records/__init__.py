"""Records in Postgres: recommendations, decisions, rollouts, pauses, outcomes, imported runs and the audit log.

`database` owns the pool and the migrations; each other module is the SQL of one noun: plain functions that take a
connection, so that several of them share a transaction. Every statement is parameterised and names the tenant.
"""
