"""TURN: what touches the models of a process is done by one thread at a time.

Searches in several threads share the backbone that a process keeps, and transformers changes global
state while it imports and loads.
"""

from threading import RLock

TURN = RLock()
