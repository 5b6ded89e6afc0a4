-- Peers that the operator has emptied. They stay so until the operator says otherwise, also if they leave and return.
CREATE TABLE draining (peer BLOB PRIMARY KEY NOT NULL);
