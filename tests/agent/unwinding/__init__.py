"""Programs whose calls are known, and how many samples of them the agent follows to the root.

python -m agent.unwinding.score [--agent PATH] [--hz 99] [--seconds 4]      (in tests: the table, as Markdown)
"""
