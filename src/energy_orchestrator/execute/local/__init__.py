"""The local executor: declared workloads as processes of this machine.

`desired` computes what each replica should be; `processes` finds, starts and ends what is; `supervisor` makes the
second like the first and is what the driver sees as an `Executor`.
"""
