-- W3C tracestate that belongs to the traceparent in jobs.trace.
alter table jobs add column trace_state text;
