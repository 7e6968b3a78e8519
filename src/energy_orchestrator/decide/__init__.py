"""Decide: may this recommendation be carried out, and does a person have to say so?

`policy` evaluates named CEL rules, `decision` brings mode, policies, pause and budget together. Pure: everything
that is asked of a store comes in as a value.
"""
