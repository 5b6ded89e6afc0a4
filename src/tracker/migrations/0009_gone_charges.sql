-- The token of the peer that told of the deletion of a share of which nothing was known.
ALTER TABLE gone ADD COLUMN token BLOB;
CREATE INDEX gone_by_token ON gone (token) WHERE token IS NOT NULL;
