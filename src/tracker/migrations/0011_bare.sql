-- Chunks that a peer says to have copied although nobody ordered it: they count nowhere until they are proven.
ALTER TABLE replicas ADD COLUMN bare TEXT;
