"""Execute: carry out an approved change step by step, and put everything back when it does not hold.

`rollout_machine` holds the rules and touches nothing; `driver` feeds it observations, writes each intent down and
then lets an executor act; `port` says what an executor is; `dry_run` and `local/` are two of them.
"""
