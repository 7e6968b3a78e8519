"""A labelled corpus of profiles: what each of 50 known programs looks like to the agent."""
