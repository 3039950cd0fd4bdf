-- The W3C trace context of the request that a run came from: whichever replica works on it, its spans go there.
ALTER TABLE {{tables.runs}} ADD COLUMN traceparent text;
