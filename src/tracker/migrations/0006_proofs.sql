-- Proofs that peers gave for what they hold of a share: the first, the first without a gap, and the last, in
-- milliseconds that this tracker has run.
ALTER TABLE replicas ADD COLUMN proven_since_ms INTEGER;
ALTER TABLE replicas ADD COLUMN proven_steady_ms INTEGER;
ALTER TABLE replicas ADD COLUMN proven_ms INTEGER;
-- The BLAKE3 hash of the manifest, when it was needed once; and, of a share that was learnt from a peer, when that was.
ALTER TABLE shares ADD COLUMN digest BLOB;
ALTER TABLE shares ADD COLUMN learnt_ms INTEGER;
-- For how long this tracker has run in its life.
CREATE TABLE lived (ms INTEGER NOT NULL);
INSERT INTO lived (ms) VALUES (0);
