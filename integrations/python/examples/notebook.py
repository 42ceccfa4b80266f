# %% [markdown]
# # A wrong merge, from Python
#
# Cells of a notebook, as a script: VS Code, Jupytext and Spyder run them one by one, and `python notebook.py` runs them all.

# %%
import os
import subprocess
import tempfile
from pathlib import Path

import identity_ledger
import polars as pl

# %% A ledger to look at: four customers over three days.
shop = Path(tempfile.mkdtemp()) / "shop.ledger"
log = Path(__file__).parents[3] / "examples" / "wrong-merge.jsonl"
program = os.environ.get("IDENTITY_LEDGER", "identity-ledger")
subprocess.run([program, "import", shop, log], check=True, stdout=subprocess.DEVNULL)
ledger = identity_ledger.open(shop)
print(ledger)

# %% Persons with more ids than one would think.
persons = ledger.persons().to_polars()
ids = ledger.table("person_distinct_ids").to_polars()
print(ids.group_by("person_no").len().sort("len", descending=True).head(3))

# %% Why are these two one?
why = ledger.explain("alice@example.com", "bruno@example.com")
print(why)

# %% What did it do to them? The same tables, right before and right after.
print(ledger.at(36).persons().to_polars().height, "persons before,", persons.height, "after")
moved = ledger.changes(36, table="person_distinct_ids", until=37).to_polars()
print(moved.filter(pl.col("_change_type") == "update_postimage").select("distinct_id", "person_id"))

# %% Can the ledger be believed?
report = identity_ledger.verify(shop, expect=ledger.checkpoint)
assert report["is_whole"], report
print("whole:", report["records"], "records")
