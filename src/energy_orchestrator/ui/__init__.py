"""What people see: quantities in words, and the templates and static files of the page.

No I/O and no framework in the code here; `api/page.py` serves it and `cli/` prints with the same words.
"""
