-- The token that a share is charged to, and the bytes that it takes of the swarm's disks, replicas counted.
ALTER TABLE shares ADD COLUMN token BLOB;
ALTER TABLE shares ADD COLUMN charged_bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX shares_by_token ON shares (token);
