"""Read an identity ledger: questions as dicts, tables as Arrow. Nothing here can write to one."""

from ._identity_ledger import Ledger, LedgerError, Table, open, verify

__all__ = ["Ledger", "LedgerError", "Table", "open", "verify"]
