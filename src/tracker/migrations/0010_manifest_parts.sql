-- Manifests in parts, so that a share is read without its manifest, and the id of one chunk without those of the others.
-- Behind its head, which has 116 bytes, a manifest is cut into parts of 64 KiB; no id lies in two of them.
CREATE TABLE manifest_parts (
    share BLOB NOT NULL REFERENCES shares (id) ON DELETE CASCADE,
    part INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (share, part)
);
WITH RECURSIVE parts (share, part, length) AS (
    SELECT id, 0, length(manifest) FROM shares WHERE length(manifest) > 116
    UNION ALL
    SELECT share, part + 1, length FROM parts WHERE 116 + (part + 1) * 65536 < length
)
INSERT INTO manifest_parts (share, part, bytes)
SELECT share, part, substr(manifest, 117 + part * 65536, 65536) FROM parts JOIN shares ON id = share;

ALTER TABLE shares ADD COLUMN manifest_head BLOB NOT NULL DEFAULT x'';
ALTER TABLE shares ADD COLUMN manifest_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE shares SET manifest_head = substr(manifest, 1, 116), manifest_bytes = length(manifest);
ALTER TABLE shares DROP COLUMN manifest;
