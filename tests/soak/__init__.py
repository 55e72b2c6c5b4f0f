"""What only time brings to light: servers that are killed again and again, and memory that grows.

`python -m tests.soak --minutes 30` does it for as long as one likes; the tests here do a minute of it.
"""
