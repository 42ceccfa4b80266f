-- The tables of an export under names of other products, so that queries written for those run. For DuckDB, in the directory of an
-- export as Parquet; elsewhere the tables are loaded first, and the views of files below are left out.

CREATE OR REPLACE VIEW persons AS FROM 'persons.parquet';
CREATE OR REPLACE VIEW person_distinct_ids AS FROM 'person_distinct_ids.parquet';
CREATE OR REPLACE VIEW person_distinct_ids_history AS FROM 'person_distinct_ids_history.parquet';
CREATE OR REPLACE VIEW person_distinct_ids_corrected AS FROM 'person_distinct_ids_corrected.parquet';
CREATE OR REPLACE VIEW person_redirects AS FROM 'person_redirects.parquet';
CREATE OR REPLACE VIEW shared_id_periods AS FROM 'shared_id_periods.parquet';
CREATE OR REPLACE VIEW events AS FROM 'events.parquet';
CREATE OR REPLACE VIEW outcomes AS FROM 'outcomes.parquet';
CREATE OR REPLACE VIEW property_writes AS FROM 'property_writes.parquet';
CREATE OR REPLACE VIEW policies AS FROM 'policies.parquet';
CREATE OR REPLACE VIEW erasures AS FROM 'erasures.parquet';
CREATE OR REPLACE VIEW checkpoints AS FROM 'checkpoints.parquet';

-- PostHog: its batch export of persons, a row for each distinct id. Versions are the last record of the export, so those of a later export are
-- higher. An id that was erased has the name that the program gives it. There is no `team_id`: a ledger has one tenant.
CREATE OR REPLACE VIEW posthog_persons AS
SELECT coalesce(distinct_id, '$erased:' || id_no) AS distinct_id, person_id, properties,
       (SELECT max(seq) FROM checkpoints) AS person_distinct_id_version,
       (SELECT max(seq) FROM checkpoints) AS person_version,
       created_at, false AS is_deleted, persons.is_identified
FROM person_distinct_ids JOIN persons USING (person_id);

-- PostHog: its batch export of events. `person_id` is the person of now.
CREATE OR REPLACE VIEW posthog_events AS
SELECT event_id AS uuid, event, coalesce(distinct_id, '$erased:' || id_no) AS distinct_id, person_id, properties, timestamp, recorded_at AS created_at
FROM events;

-- Segment, Profiles Sync: every id that a profile ever had, and the one it has now.
CREATE OR REPLACE VIEW segment_id_graph AS
SELECT person_id AS segment_id, person_id AS canonical_segment_id FROM persons
UNION ALL
SELECT old_person_id, person_id FROM person_redirects;

-- Segment, Profiles Sync: whose an external id is. Placeholders and shared ids are no one's.
CREATE OR REPLACE VIEW segment_external_id_mapping AS
SELECT person_id AS canonical_segment_id,
       CASE id_type WHEN 'anonymous' THEN 'anonymous_id' ELSE 'user_id' END AS external_id_type,
       distinct_id AS external_id_value
FROM person_distinct_ids
WHERE distinct_id IS NOT NULL AND id_type IN ('anonymous', 'named', 'user');

-- Segment, Profiles Sync: a row for each profile. Traits are one JSON object and not a column each.
CREATE OR REPLACE VIEW segment_profile_traits AS
SELECT person_id AS canonical_segment_id, properties AS traits FROM persons;

-- Mixpanel: which distinct id stands for a person: its first user, or else its first id.
CREATE OR REPLACE VIEW mixpanel_identity_mappings AS
SELECT distinct_id, first(distinct_id) OVER (PARTITION BY person_id ORDER BY id_type <> 'user', id_no) AS resolved_distinct_id
FROM person_distinct_ids
WHERE distinct_id IS NOT NULL;

-- Mixpanel: a row for each profile.
CREATE OR REPLACE VIEW mixpanel_people AS
SELECT resolved_distinct_id AS distinct_id, first(properties) AS properties
FROM mixpanel_identity_mappings JOIN posthog_persons USING (distinct_id)
GROUP BY resolved_distinct_id;

-- Snowplow Identities: the id that stood on an event when it was recorded, and the one that is in use.
CREATE OR REPLACE VIEW snowplow_identities_id_mapping AS
SELECT segment_id AS snowplow_id, canonical_segment_id AS active_snowplow_id FROM segment_id_graph;

-- Snowplow Identities: whose an identifier is.
CREATE OR REPLACE VIEW snowplow_identities_identifier_mapping AS
SELECT id_type AS identifier_type, distinct_id AS identifier_value, person_id AS active_snowplow_id
FROM person_distinct_ids
WHERE distinct_id IS NOT NULL;
