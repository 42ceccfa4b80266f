"""A shop's back end with posthog-python: client.py URL."""

import sys

from posthog import Posthog

client = Posthog("phc_shop", host=sys.argv[1], max_retries=5, flush_at=100)
client.capture("looked", distinct_id="visitor", properties={"$process_person_profile": True})
client.alias("visitor", "ann")
client.set(distinct_id="ann", properties={"plan": "pro"})
client.alias("phone", "ann")
client.capture("looked", distinct_id="bob")
for number in range(150):
    client.capture(f"bought {number}", distinct_id="ann")
client.shutdown()
