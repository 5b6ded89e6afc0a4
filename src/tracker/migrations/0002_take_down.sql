-- Whether the operator took the share down. It stays known until its end, so that it cannot come back.
ALTER TABLE shares ADD COLUMN taken_down INTEGER NOT NULL DEFAULT 0;
